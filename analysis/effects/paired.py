"""Effects: paired differences of conditions on the same queries, corrected for all that are looked at together.

Knows result frames; draws nothing. Single changes are one family, all other conditions against the baseline another
one; each effect has the same numbers in every table.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.special import gammaln
from scipy.stats import binomtest

from ablations.core.condition import format_value
from ablations.core.schema import PARAMETER_PREFIX, Schema
from ablations.core.statistics import best_first
from analysis.effects.families import family
from analysis.effects.intervals import SAME, Floats, Interval, difference
from analysis.frames import (
    Row,
    Scores,
    condition_scores,
    nested_scores,
    scale_of,
    trial_scores,
    trial_table,
    varied_parameters,
)

BETTER, WORSE, WITHIN, OPEN = "better", "worse", "within", "open"
EFFECT_SCHEMA: Schema = {
    "trial": pl.Int64,
    "reference_trial": pl.Int64,
    **dict.fromkeys(("difference", "low", "high", "p_value", "p_family", "p_exact", "standardised"), pl.Float64),
    **dict.fromkeys(("wins", "draws", "losses", "n"), pl.Int64),
    "verdict": pl.String,
}
"""Columns of every frame of effects: the trial and what it is compared with; difference, low, high (points of the
judge's scale; 95 % over queries, simultaneous over the frame's family); p_value of the effect alone and p_family,
which is below 0.05 exactly where the interval excludes 0; p_exact (McNemar's test of wins and losses, of scores from 0
to 1, else null); standardised (in standard deviations of the queries' differences); wins, draws, losses (queries); n
(queries that both scored); verdict (see `verdict`)."""


def paired_effects(scores: Scores, pairs: Sequence[tuple[int, int]], size: int = 0) -> pl.DataFrame:
    """Return the effect of each pair's first trial against its second, with the columns of `EFFECT_SCHEMA`.

    The rows are one family (`families.family`), of `size` members where more were looked at than are there. `p_exact`
    is the exact binomial test of wins against losses: McNemar's (1947, Psychometrika 12:2) where each score is 0 or 1.
    `standardised` is the mean difference over its standard deviation (Cohen's d_z) with Hedges' correction for few
    queries (1981, Journal of Educational Statistics 6:2), null below three queries and where all differences are alike
    and not 0. A pair without a common query is left out.
    """
    differences = difference(scores.of([one for one, _ in pairs]), scores.of([other for _, other in pairs]))
    ends = scores.ends.differences()
    rows = []
    for at, found in enumerate(family(differences, [ends] * len(pairs), size=size)):
        if found is None:
            continue
        own = differences[~np.isnan(differences[:, at]), at]
        outcomes = [int((own > SAME).sum()), int((np.abs(own) <= SAME).sum()), int((own < -SAME).sum())]
        exact = mcnemar(outcomes[0], outcomes[2]) if (ends.low, ends.high) == (-1.0, 1.0) else None
        numbers = (found.value, found.low, found.high, found.p_value, found.p_family, exact, _standardised(own))
        rows.append((*pairs[at], *numbers, *outcomes, found.n, verdict(found.low, found.high, scores.margin)))
    return pl.DataFrame(rows, schema=EFFECT_SCHEMA, orient="row")


def verdict(
    low: float | None,
    high: float | None,
    margin: float | None,
    above: str = BETTER,
    below: str = WORSE,
    within: str = WITHIN,
) -> str:
    """Return what an interval decides: above or below 0, within a margin around it, or `open`, which is no absence.

    >>> [verdict(low, high, 0.1) for low, high in ((0.02, 0.4), (-0.4, -0.02), (-0.08, 0.09), (-0.3, 0.2))]
    ['better', 'worse', 'within 0.1', 'open']
    """
    if low is None or high is None:
        return OPEN
    if low > 0 or high < 0:
        return above if low > 0 else below
    return f"{within} {margin:g}" if margin is not None and -margin <= low and high <= margin else OPEN


def mcnemar(wins: int, losses: int) -> float:
    """Return the p-value of so many wins and losses being as likely as each other, by the exact two-sided test.

    >>> mcnemar(1, 9)
    0.021484375
    """
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _standardised(own: Floats) -> float | None:
    spread = own.std(ddof=1) if len(own) > 1 else 0.0
    if spread <= SAME:
        return 0.0 if len(own) > 1 and abs(own.mean()) <= SAME else None
    freedom = len(own) - 1
    if freedom < 2:
        return None
    unbiased = float(np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2))
    return float(own.mean() / spread) * unbiased


def condition_effects(results: pl.DataFrame) -> pl.DataFrame:
    """Return the effect of every complete condition against the baseline: label, then `EFFECT_SCHEMA`.

    Replicates of a condition are averaged for each query. Single changes are those of `one_factor_effects`; all others
    are a family of their own, in which those count that a search stopped early, since they could have been the best.
    Empty where the baseline did not complete.
    """
    baseline, scores = baseline_trial(results), condition_scores(results)
    single = (
        one_factor_effects(results)
        .filter(pl.col("reference_trial") == pl.lit(baseline, pl.Int64))
        .select(*EFFECT_SCHEMA)
    )
    known = set(single.get_column("trial"))
    others = (
        [] if baseline is None else [(trial, baseline) for trial in scores.trials if trial not in (*known, baseline)]
    )
    rest = paired_effects(scores, others, max(rivals(results) - len(known), len(others)))
    labels = trial_table(results).select("trial", "label")
    both = pl.concat([single, rest]).sort("trial")
    return labels.join(both, on="trial", how="right", maintain_order="right").select("label", *EFFECT_SCHEMA)


def baseline_trial(results: pl.DataFrame) -> int | None:
    """Return the number of the baseline's trial, or None where it did not complete."""
    found = results.filter((pl.col("role") == "baseline") & (pl.col("state") == "complete"))
    return None if found.is_empty() else int(found.get_column("trial").min())  # type: ignore[arg-type]


def ranked_trials(results: pl.DataFrame, worst: bool = False) -> list[int]:
    """Return the trials of all complete conditions, the best (or `worst`) first; see `core.statistics.best_first`.

    Replicates are averaged for each query; a condition stands under its first unreplicated trial.
    """
    scores: dict[int, dict[str, float]] = {}
    for trial, query, score in nested_scores(results).sort("trial").select("trial", "query_id", "score").iter_rows():
        scores.setdefault(trial, {})[query] = -score if worst else score
    return best_first(scores)


def best_trial(results: pl.DataFrame) -> int | None:
    """Return the trial of the best condition; None where none is complete, or such scores may not choose one.

    Scores that pay a wrong answer for its end would choose what ends, whatever it says (`core.statistics.Scale`).
    """
    scale = scale_of(results)
    if scale is not None and not scale.chooses:
        return None
    return next(iter(ranked_trials(results)), None)


def worst_trial(results: pl.DataFrame) -> int | None:
    """Return the trial of the worst condition, or None where no condition is complete."""
    return next(iter(ranked_trials(results, worst=True)), None)


def lead_of_best(results: pl.DataFrame) -> Interval | None:
    """Return the best condition's mean score minus the baseline's, as `condition_effects` has it.

    Its interval is corrected for the conditions that it was chosen from. None where the baseline or every other
    condition is missing, the baseline is best, or no query was scored under both.
    """
    best = best_trial(results)
    own = condition_effects(results).filter(pl.col("trial") == pl.lit(best, pl.Int64))
    for value, low, high, n in own.select("difference", "low", "high", "n").iter_rows():
        return Interval(value, low, high, n)
    return None


def rivals(results: pl.DataFrame) -> int:
    """Return how many conditions competed with the baseline: complete ones, and those that a search stopped early."""
    competed = results.filter(pl.col("state").is_in(["complete", "stopped"]) & (pl.col("replicate") == 0))
    return max(competed.get_column("condition_id").n_unique() - 1, 0)


def shares_queries(results: pl.DataFrame, trial: int) -> bool:
    """Return whether another condition has a score on a query that the trial has one on."""
    scored = results.filter(pl.col("score").is_not_null() & (pl.col("state") != "failed"))
    own = scored.filter(pl.col("trial") == trial)
    others = scored.join(own, on="condition_id", how="anti")
    return not others.join(own, on="query_id", how="semi").is_empty()


def noise_floor(results: pl.DataFrame) -> pl.DataFrame:
    """Return each A/A replicate against its twin: label, then `EFFECT_SCHEMA`.

    Two runs of one condition differ by chance alone; a smaller effect cannot be told from noise.
    """
    replicates = trial_table(results).filter(pl.col("replicate") > 0)
    return _against_references(results, replicates, trial_scores(results)).select("label", *EFFECT_SCHEMA)


def one_factor_effects(results: pl.DataFrame) -> pl.DataFrame:
    """Return the effect of each value of each parameter with all others held still.

    Columns: parameter, value, against (the reference's value), around (where the reference is not the
    baseline, what else it sets, such as temperature=0.6 for a top-p; else ""), then `EFFECT_SCHEMA`.
    """
    table = trial_table(results)
    moved = table.filter(pl.col("varied").is_not_null() & (pl.col("replicate") == 0))
    effects = _against_references(results, moved, condition_scores(results)).rename({"varied": "parameter"})
    rows = {row["trial"]: row for row in table.to_dicts()}
    baseline = rows.get(baseline_trial(results))
    texts: dict[str, list[str]] = {"value": [], "against": [], "around": []}
    for trial, reference, parameter in effects.select("trial", "reference_trial", "parameter").iter_rows():
        column = f"{PARAMETER_PREFIX}{parameter}"
        texts["value"].append(format_value(rows[trial][column]))
        texts["against"].append(format_value(rows[reference][column]))
        texts["around"].append(_around(rows[reference], baseline, varied_parameters(results), parameter))
    shown = effects.with_columns(**{name: pl.Series(shown, dtype=pl.String) for name, shown in texts.items()})
    return shown.select("parameter", *texts, *EFFECT_SCHEMA)


def largest_effects(effects: pl.DataFrame) -> pl.DataFrame:
    """Return the largest effect of each parameter, the parameter that surely moves most first.

    Columns: parameter, value, against, difference, low, high, n (as in `effects`), at_least (the end of the interval
    nearest 0, 0 where the interval holds it: all of these hold together at the level of the intervals).

    Args:
        effects: the frame of `one_factor_effects`.
    """
    low, high = pl.col("low"), pl.col("high")
    at_least = pl.max_horizontal(low, -high, 0.0).fill_null(0.0)
    order = pl.col("difference").abs()
    columns = ("parameter", "value", "against", "difference", "low", "high", "n")
    return (
        effects.with_columns(at_least=at_least)
        .sort("at_least", order, descending=True)
        .unique("parameter", keep="first", maintain_order=True)
        .select(*columns, "at_least")
    )


def _around(reference: Row, baseline: Row | None, varied: list[str], parameter: str) -> str:
    """Name what the reference sets otherwise than the baseline."""
    moved = [
        f"{name}={format_value(reference[column])}"
        for name in varied
        for column in [f"{PARAMETER_PREFIX}{name}"]
        if name != parameter and baseline is not None and reference[column] != baseline[column]
    ]
    return " ".join(moved)


def _against_references(results: pl.DataFrame, trials: pl.DataFrame, scores: Scores) -> pl.DataFrame:
    """Compare trials with the complete, unreplicated ones that their `reference` names; label and varied are kept."""
    table = trial_table(results).filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    by_condition = dict(table.sort("trial", descending=True).select("condition_id", "trial").iter_rows())
    known = set(scores.trials)
    pairs = [
        (trial, by_condition[reference])
        for trial, reference in trials.select("trial", "reference").iter_rows()
        if trial in known and reference in by_condition
    ]
    described = trials.select("trial", "label", "varied")
    return described.join(paired_effects(scores, pairs), on="trial", how="right", maintain_order="right")
