"""Intervals: paired bootstrap over queries, means of clusters, shares.

Knows arrays, neither frames nor figures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from ablations.core.statistics import ENDLESS, Ends, counted_means

Floats = NDArray[np.float64]
DRAWS = 2_000
FEW_QUERIES = 12
SAME = 1e-5
"""Points below which two scores are equal: embeddings of one text in two batches differ by about 1e-7."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval, 95 % where nothing else is said; `low` and `high` are None below two queries."""

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


def paired_interval(
    first: Floats,
    second: Floats,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = 0.95,
    ends: Ends = ENDLESS,
) -> Interval:
    """Return mean(first − second) with its interval over queries, as `mean_intervals` gives it.

    Args:
        first: scores of the queries, shape (queries,); NaN where a query has no score.
        second: scores of the same queries; a query without both scores is left out.
        seed: of the generator.
        draws: bootstrap draws.
        level: of the interval, 0 to 1.
        ends: of the scores, where they are known.

    Raises:
        ValueError: no query has both scores.
    """
    of_differences = ends.differences()
    (found,) = mean_intervals(difference(first, second)[:, None], seed, draws, level, of_differences)
    if found is None:
        raise ValueError("no query was scored under both conditions")
    return found


def difference(first: Floats, second: Floats) -> Floats:
    """Return first − second, 0 where the two differ by numerical noise alone (`SAME`)."""
    differences: Floats = first - second
    differences[np.abs(differences) < SAME] = 0.0
    return differences


def mean_intervals(
    values: Floats, seed: int = 0, draws: int = DRAWS, level: float = 0.95, ends: Ends = ENDLESS
) -> list[Interval | None]:
    """Return the mean of each column with an interval over rows; None for a column without a value.

    Args:
        values: such as differences of scores, shape (queries, columns); NaN where a query has none.
        seed: of the generator; columns with values of the same queries share their draws.
        draws: bootstrap draws.
        level: of the interval, 0 to 1.
        ends: of the values, where they are known.

    Where the ends are known, it is Student's t with pseudo queries (`core.statistics.Ends`). Elsewhere it is a
    bootstrap's, whose percentiles are those of `expanded_tail`, and below twelve queries, where resampling cannot
    cover, plain Student's t. Without pseudo queries no interval knows of changes that no query showed: with eight
    queries of which three in ten change, all upwards, it covers the truth in three studies of four.
    """
    found: list[Interval | None] = [None] * values.shape[1]
    upper = 0.5 + level / 2
    for rows, columns in alike(values):
        n, own = len(rows), values[np.ix_(rows, columns)]
        means = own.mean(axis=0)
        low = high = np.full(len(columns), np.nan)
        if (ends.pseudo and n >= 2) or 2 <= n < FEW_QUERIES:
            middles, errors, freedom = counted_means(own, ends)
            half = stdtrit(freedom, upper) * errors
            low, high = middles - half, middles + half
        elif n >= FEW_QUERIES:
            samples = resampled_counts(n, draws, seed) @ own / n
            tail = expanded_tail(n, level)
            low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
        for column, mean, below, above in zip(columns, means, low, high, strict=True):
            if n < 2:
                found[column] = Interval(float(mean), None, None, n)
            else:
                found[column] = Interval(float(mean), *ends.clip(float(below), float(above)), n)
    return found


def expanded_tail(n: int, level: float = 0.95) -> float:
    """Return the share of bootstrap means below an interval, and above it, for a mean of n units.

    Hesterberg's expanded percentile interval (2015, The American Statistician 69:4): plain percentiles are too narrow
    at the few queries of a small study. At least two units.

    >>> [round(expanded_tail(n), 4) for n in (12, 1000)]
    [0.0108, 0.0248]
    """
    return float(ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.5 + level / 2)))


def alike(values: Floats) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows and columns of the parts of a table without NaN: columns that have values in the same rows."""
    known = ~np.isnan(values)
    patterns: dict[bytes, list[int]] = {}
    for column in range(values.shape[1]):
        patterns.setdefault(known[:, column].tobytes(), []).append(column)
    for columns in patterns.values():
        rows = np.flatnonzero(known[:, columns[0]])
        if len(rows):
            yield rows, np.array(columns)


@lru_cache(maxsize=8)
def resampled_counts(n: int, draws: int, seed: int, taken: int | None = None) -> Floats:
    """Return how often each of n units is in each draw with replacement, shape (draws, n); not to be written to.

    Each draw takes `taken` units, n where that is None.
    """
    if n == 0:
        return np.zeros((draws, 0))
    taken = n if taken is None else taken
    counts = np.random.default_rng(seed).multinomial(taken, np.full(n, 1 / n), size=draws).astype(np.float64)
    counts.flags.writeable = False
    return counts


def welch_interval(first: Floats, second: Floats, level: float = 0.95, ends: Ends = ENDLESS) -> Interval:
    """Return mean(first) − mean(second) of independent values with its interval; n counts the values of both.

    Args:
        first: shape (n,), without NaN, at least one.
        second: of other queries, shape (m,), likewise.
        level: of the interval, 0 to 1.
        ends: of the values, where they are known; each side has its pseudo queries.

    The quantile is Student's t with Welch's degrees of freedom (1947, Biometrika 34:1-2), which lets the two spreads
    differ. There is no interval where one side has fewer than two values.
    """
    value, n = float(first.mean() - second.mean()), len(first) + len(second)
    if min(len(first), len(second)) < 2:
        return Interval(value, None, None, n)
    sides = [counted_means(side[:, None], ends) for side in (first, second)]
    middle = float(sides[0][0][0] - sides[1][0][0])
    parts = np.array([errors[0] ** 2 for _, errors, _ in sides])
    if not parts.any():
        return Interval(value, value, value, n)
    freedom = parts.sum() ** 2 / sum(part**2 / own for part, (_, _, own) in zip(parts, sides, strict=True))
    half = float(stdtrit(freedom, 0.5 + level / 2) * np.sqrt(parts.sum()))
    return Interval(value, *ends.differences().clip(middle - half, middle + half), n)


def clustered_mean(values: Floats, clusters: Sequence[object], level: float = 0.95, ends: Ends = ENDLESS) -> Interval:
    """Return the mean of all values with an interval that allows for values of a cluster being alike.

    Args:
        values: shape (values,), without NaN, at least one.
        clusters: what each value belongs to, such as its query, same length.
        level: of the interval, 0 to 1.
        ends: of the values, where they are known; a pseudo query is a cluster of the usual size.

    The standard error is the cluster-robust one of a mean (Cameron and Miller 2015, The Journal of Human Resources
    50:2, eq. 11 for a constant, with the correction c / (c - 1) for c clusters), and the quantile Student's t with
    c - 1 degrees of freedom. Where all clusters are of one size, that is the t interval of the clusters' means.
    """
    mean, n = float(values.mean()), len(set(clusters))
    if n < 2:
        return Interval(mean, None, None, n)
    size, pseudo = len(values) / n, np.array(ends.pseudo)
    counted = n + ends.counted
    middle = (mean * n + ends.weight * pseudo.sum()) / counted
    sums: dict[object, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + (float(value) - middle) / size
    squares = sum(total**2 for total in sums.values()) + ends.weight * ((pseudo - middle) ** 2).sum()
    error = np.sqrt(squares / (counted - 1) / counted)
    half = float(stdtrit(counted - 1, 0.5 + level / 2) * error)
    return Interval(mean, *ends.clip(middle - half, middle + half), n)


def wilson_interval(share: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a share, 0 to 1, that was seen in n independent cases.

    >>> [round(bound, 4) for bound in wilson_interval(1.0, 6)]
    [0.6097, 1.0]
    """
    z = float(ndtri(0.5 + level / 2))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return max(centre - half, 0.0), min(centre + half, 1.0)
