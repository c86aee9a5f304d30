"""Planning: how many queries each comparison of a study takes to show an effect, and what it shows with those it has.

Knows result frames; draws nothing. A number of queries is planned once: raising it until something is decided is not
covered by any error rate here, since each look is a chance of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import chi2
from statsmodels.stats.power import TTestPower

from ablations.core.schema import Schema
from ablations.core.statistics import ENDLESS, Ends
from analysis.effects.paired import baseline_trial, one_factor_effects
from analysis.frames import condition_scores, trial_scores, trial_table

SEEDS = (1, 2, 4)
POWER, ALPHA = 0.8, 0.05
MOST_QUERIES = 100_000
PLAN_SCHEMA: Schema = {
    "change": pl.String,
    "effect": pl.Float64,
    "seeds": pl.Int64,
    **dict.fromkeys(("spread", "power"), pl.Float64),
    "n": pl.Int64,
    **dict.fromkeys(("queries", "queries_low", "queries_high"), pl.Int64),
}


@dataclass(frozen=True)
class Contrast:
    """A comparison of two conditions, as far as planning needs it.

    Attributes:
        change: in words.
        spread: standard deviation of the differences over queries, points, with one seed a condition.
        noise: the part of it that other seeds would change, likewise; 0 where no condition samples, and where no A/A
            replicate tells.
        n: queries that both conditions share, at least 2.
    """

    change: str
    spread: float
    noise: float
    n: int

    def with_seeds(self, seeds: int) -> float:
        """Return the spread where each condition that samples is asked with so many seeds."""
        return float(np.sqrt(self.spread**2 - self.noise**2 * (1 - 1 / seeds)))


@dataclass(frozen=True)
class Level:
    """Level and scale that comparisons are tested on.

    Attributes:
        comparisons: of the family, which share the level 0.05 (Šidák).
        ends: of the differences; pseudo queries count.
    """

    comparisons: int = 1
    ends: Ends = ENDLESS

    @property
    def alpha(self) -> float:
        """Chance that one comparison without a difference is decided."""
        return float(1 - (1 - ALPHA) ** (1 / max(self.comparisons, 1)))

    def power(self, effect: float, spread: float, queries: int) -> float:
        """Return the chance that an effect is decided, 0 to 1: the noncentral t's (Cohen 1988), pseudo queries in."""
        total = queries + self.ends.counted
        mean = effect * queries / total
        squares = (queries - 1) * spread**2 + queries * (effect - mean) ** 2
        variance = (squares + self.ends.weight * sum((one - mean) ** 2 for one in self.ends.pseudo)) / (total - 1)
        if variance <= 0:
            return 1.0 if effect else self.alpha
        return float(TTestPower().power(mean / np.sqrt(variance), total, self.alpha))

    def queries(self, effect: float, spread: float, power: float = POWER) -> int | None:
        """Return the least number of queries with this power, at least 2; None above 100,000."""
        low, high = 1, 2
        while high < MOST_QUERIES and self.power(effect, spread, high) < power:
            low, high = high, min(2 * high, MOST_QUERIES)
        if self.power(effect, spread, high) < power:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(effect, spread, middle) >= power else (middle, high)
        return high

    def detectable(self, spread: float, queries: int, power: float = POWER) -> float:
        """Return the smallest effect that so many queries decide with this power, in points, to a thousandth of it."""
        low, high = 0.0, max(spread, 1e-9)
        while self.power(high, spread, queries) < power and high < 1e6:
            low, high = high, 2 * high
        while high - low > 1e-3 * high:
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(middle, spread, queries) >= power else (middle, high)
        return high


def observed_contrasts(results: pl.DataFrame) -> list[Contrast]:
    """Return the comparisons of a study that share two queries or more, each with its own spread.

    They are the changes of one parameter, or where there are none, every other condition against the baseline. Trials
    are compared, not conditions: averaged replicates would hide a part of the noise of one seed.
    """
    single, baseline = one_factor_effects(results), baseline_trial(results)
    pairs = dict.fromkeys(single.select("trial", "reference_trial").iter_rows())
    if not pairs and baseline is not None:
        pairs = {(trial, baseline): None for trial in condition_scores(results).trials if trial != baseline}
    rows = {row["trial"]: row for row in trial_table(results).iter_rows(named=True)}
    noise, scores, found = _noise(results), trial_scores(results), []
    for trial, reference in pairs:
        differences = scores.of([trial, reference]) @ np.array([1.0, -1.0])
        known = differences[~np.isnan(differences)]
        if len(known) > 1:
            spread = float(known.std(ddof=1))
            sampling = sum(rows[one]["param.temperature"] > 0 for one in (trial, reference))
            own = min(noise * float(np.sqrt(sampling)), spread)
            found.append(Contrast(rows[trial]["change"], spread, own, len(known)))
    return found


def _noise(results: pl.DataFrame) -> float:
    """Return the standard deviation of a query's score between seeds, from A/A replicates; 0 without any."""
    table = trial_table(results).filter((pl.col("state") == "complete") & (pl.col("param.temperature") > 0))
    first = dict(table.filter(pl.col("replicate") == 0).select("condition_id", "trial").iter_rows())
    again = table.filter((pl.col("replicate") > 0) & pl.col("condition_id").is_in(list(first)))
    if again.is_empty():
        return 0.0
    scores = trial_scores(results)
    twins = [first[condition] for condition in again.get_column("condition_id")]
    differences = scores.of(again.get_column("trial").to_list()) - scores.of(twins)
    known = differences[~np.isnan(differences)]
    return float(np.sqrt((known**2).mean() / 2)) if len(known) else 0.0


def needed_queries(
    contrasts: Sequence[Contrast],
    effects: Sequence[float],
    level: Level,
    seeds: Sequence[int] = SEEDS,
    power: float = POWER,
) -> pl.DataFrame:
    """Return how many queries show effects of these sizes with the given power, for each comparison.

    Columns: change, effect (points), seeds (of conditions that sample; the first number alone where seeds change
    nothing), spread (points), power (of the study's own queries), n (those), queries, queries_low, queries_high (with
    the ends of the 95 % interval of the spread, by the chi-square distribution, which is that of normal differences;
    null above 100,000).
    """
    rows = []
    for one in contrasts:
        for effect in effects:
            for number in seeds if one.noise else seeds[:1]:
                spread = one.with_seeds(number)
                ends = [spread * np.sqrt((one.n - 1) / chi2.ppf(tail, one.n - 1)) for tail in (0.975, 0.025)]
                counts = [level.queries(effect, own, power) for own in (spread, *ends)]
                rows.append((one.change, effect, number, spread, level.power(effect, spread, one.n), one.n, *counts))
    return pl.DataFrame(rows, schema=PLAN_SCHEMA, orient="row")
