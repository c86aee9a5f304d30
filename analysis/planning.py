"""Planning: how many queries and seeds a study needs to see an effect of a given size.

Knows result frames; draws nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import norm
from statsmodels.stats.power import TTestPower

from ablations.core.schema import Schema
from analysis.effects.paired import baseline_trial
from analysis.frames import condition_scores, scale_of, trial_scores, trial_table

EFFECTS = (0.1, 0.2, 0.5, 1.0)
"""Points of a judge that rates from 1 to 10 or 5; a tenth of them where scores lie between 0 and 1."""
SEEDS = (1, 2, 4)
POWER, ALPHA = 0.8, 0.05
_MOST_QUERIES = 100_000
PLAN_SCHEMA: Schema = {
    "effect": pl.Float64,
    "seeds": pl.Int64,
    "spread": pl.Float64,
    **dict.fromkeys(("queries", "queries_corrected"), pl.Int64),
}


@dataclass(frozen=True)
class Spread:
    """How the differences between two conditions vary, in points.

    Attributes:
        of_differences: standard deviation over queries of a condition's score less the baseline's, with one seed:
            the root of the mean variance over conditions.
        of_seeds: standard deviation of a query's score between two seeds of one condition, from the A/A replicates;
            0 where all are identical, None where there are none.
        conditions: how many conditions are compared with the baseline.
        queries: how many queries a condition shares with the baseline, the median over conditions.
    """

    of_differences: float
    of_seeds: float | None
    conditions: int
    queries: int

    def with_seeds(self, seeds: int) -> float:
        """Return the standard deviation of a query's difference where each condition is asked with so many seeds.

        The variance of one seed is twice that of the noise (both conditions are noisy) plus that of the effect over
        queries; more seeds divide the first. With no estimate of the noise it stays as it is.
        """
        noise = 2 * (self.of_seeds or 0.0) ** 2
        effect = max(self.of_differences**2 - noise, 0.0)
        return float(np.sqrt(effect + min(noise, self.of_differences**2) / seeds))


def observed_spread(results: pl.DataFrame) -> Spread | None:
    """Return how much differences vary in a study; None without a baseline, another condition, or two queries."""
    # Trials, not conditions: averaged replicates of the baseline would hide a part of the noise of one seed.
    baseline, scores = baseline_trial(results), trial_scores(results)
    others = [trial for trial in condition_scores(results).trials if trial != baseline]
    if baseline is None or not others:
        return None
    differences = scores.of(others) - scores.of([baseline])
    shared = (~np.isnan(differences)).sum(axis=0)
    enough = shared >= 2
    if not enough.any():
        return None
    variances = np.nanvar(differences[:, enough], axis=0, ddof=1)
    queries = int(np.median(shared[enough]))
    return Spread(float(np.sqrt(variances.mean())), _seed_spread(results), int(enough.sum()), queries)


def _seed_spread(results: pl.DataFrame) -> float | None:
    table = trial_table(results).filter(pl.col("state") == "complete")
    first = dict(table.filter(pl.col("replicate") == 0).select("condition_id", "trial").iter_rows())
    pairs = [
        (trial, first[condition])
        for trial, condition in table.filter(pl.col("replicate") > 0).select("trial", "condition_id").iter_rows()
        if condition in first
    ]
    if not pairs:
        return None
    scores = trial_scores(results)
    differences = scores.of([one for one, _ in pairs]) - scores.of([other for _, other in pairs])
    known = differences[~np.isnan(differences)]
    return float(np.sqrt((known**2).mean() / 2)) if len(known) else None


def planned_effects(results: pl.DataFrame) -> tuple[float, ...]:
    """Return the effects worth planning for, in points of the judge that gave the scores."""
    scale = scale_of(results)
    return tuple(effect / 10 for effect in EFFECTS) if scale is not None and scale.high <= 1 else EFFECTS


def needed_queries(
    spread: Spread, effects: Sequence[float] = EFFECTS, seeds: Sequence[int] = SEEDS, power: float = POWER
) -> pl.DataFrame:
    """Return how many queries show an effect with the given power.

    Columns: effect (points), seeds (per condition; the first number alone where seeds showed no noise), spread
    (standard deviation of a query's difference, points), queries (by the paired two-sided t test at 0.05),
    queries_corrected (the same with 0.05 shared among the study's conditions, as its strictest Holm step demands);
    null above 100,000. The power is the noncentral t's (Cohen 1988).
    """
    rows = [
        (effect, number, deviation, *(_queries(effect, deviation, alpha, power) for alpha in levels))
        for levels in [(ALPHA, ALPHA / max(spread.conditions, 1))]
        for effect in effects
        for number in (seeds if spread.of_seeds else seeds[:1])
        for deviation in [spread.with_seeds(number)]
    ]
    return pl.DataFrame(rows, schema=PLAN_SCHEMA, orient="row")


def detectable_effect(spread: Spread, power: float = POWER, alpha: float = ALPHA) -> float | None:
    """Return the smallest effect, in points, that the study's own queries show with this power; None below three."""
    if spread.queries < 3:
        return None
    size = TTestPower().solve_power(nobs=spread.queries, alpha=alpha, power=power)
    return float(size) * spread.of_differences


def _queries(effect: float, spread: float, alpha: float, power: float) -> int | None:
    """Return the least number of queries with this power, at least 2."""
    if spread == 0:
        return 2
    size = effect / spread
    # The normal distribution's number is a little too small, so that a few steps up lead to Student's.
    number = max(2, int(((norm.ppf(1 - alpha / 2) + norm.ppf(power)) / size) ** 2))
    while number <= _MOST_QUERIES and TTestPower().power(size, number, alpha) < power:
        number += 1
    return number if number <= _MOST_QUERIES else None
