"""Intervals: paired bootstrap over queries.

Knows arrays, neither frames nor figures.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

Floats = NDArray[np.float64]
DRAWS = 2_000


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; `low` and `high` are None below two queries."""

    value: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:+.2f} (n = {self.n})"
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def paired_interval(first: Floats, second: Floats, seed: int = 0, draws: int = DRAWS) -> Interval:
    """Return mean(first − second) with a 95 % bootstrap-t interval over queries.

    Args:
        first: scores of the queries, shape (queries,); NaN where a query has no score.
        second: scores of the same queries; a query without both scores is left out.
        seed: of the generator.
        draws: bootstrap draws.

    The bootstrap-t (Efron and Tibshirani 1993, chapter 12.5) resamples queries and studentises each
    draw, because percentile intervals are too narrow at the few queries of a small study. Where a draw
    has no spread, or all differences are equal, Student's t takes its place.
    """
    differences = first - second
    differences = differences[~np.isnan(differences)]
    n = len(differences)
    if n == 0:
        raise ValueError("no query was scored under both conditions")
    mean = float(differences.mean())
    if n < 2:
        return Interval(mean, None, None, n)
    error = float(differences.std(ddof=1)) / np.sqrt(n)
    if error == 0:
        return Interval(mean, mean, mean, n)
    low, high = _studentised_quantiles(differences, seed, draws)
    return Interval(mean, mean - high * error, mean - low * error, n)


def _studentised_quantiles(values: Floats, seed: int, draws: int) -> tuple[float, float]:
    n = len(values)
    samples = values[np.random.default_rng(seed).integers(0, n, size=(draws, n))]
    errors = samples.std(axis=1, ddof=1) / np.sqrt(n)
    usable = errors > 0
    limit = float(student_t.ppf(0.975, n - 1))
    if usable.mean() < 0.95 or n < 6:
        return -limit, limit
    ratios = (samples.mean(axis=1)[usable] - values.mean()) / errors[usable]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)
