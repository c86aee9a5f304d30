"""Effects: paired differences of conditions on the same queries.

Knows result frames; draws nothing.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.special import gammaln
from scipy.stats import binomtest, ttest_1samp

from ablations.core.condition import format_value
from ablations.core.schema import PARAMETER_PREFIX, Schema
from ablations.core.statistics import ENDLESS, Ends, best_first
from analysis.effects.intervals import DRAWS, SAME, Floats, Interval, alike, difference, mean_intervals, with_pseudo
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

EFFECT_SCHEMA: Schema = {
    "trial": pl.Int64,
    "reference_trial": pl.Int64,
    **dict.fromkeys(("difference", "low", "high", "p_value", "p_holm", "p_exact", "standardised"), pl.Float64),
    **dict.fromkeys(("wins", "draws", "losses", "n"), pl.Int64),
}
"""Columns of every frame of effects: the trial and what it is compared with; difference, low, high (points of the
judge's scale, 95 % over queries); p_value and, corrected for the number of rows, p_holm; p_exact (McNemar's test of
wins and losses, of scores from 0 to 1, else null); standardised (in standard
deviations of the queries' differences); wins, draws, losses (queries); n (queries that both scored)."""


def paired_effects(scores: Scores, pairs: Sequence[tuple[int, int]], seed: int = 0, draws: int = DRAWS) -> pl.DataFrame:
    """Return the effect of each pair's first trial against its second, with the columns of `EFFECT_SCHEMA`.

    The rows are one family: `p_holm` controls the chance that any of them is a false discovery (Holm 1979,
    Scandinavian Journal of Statistics 6:2). `p_value` is that of the paired t test over queries; where all
    differences are equal and not 0 it is that of the sign test, 2^(1 - n), since no spread was seen. Of scores from 0
    to 1 interval and p-value count a pseudo query at each end (`core.statistics.Ends`), and `p_exact` is that of the
    exact binomial test of wins against losses: McNemar's (1947, Psychometrika 12:2) where each score is 0 or 1.
    `standardised`
    is the mean difference over its standard deviation (Cohen's d_z) with Hedges' correction for few queries (1981,
    Journal of Educational Statistics 6:2). A pair without a common query is left out.
    """
    differences = difference(scores.of([one for one, _ in pairs]), scores.of([other for _, other in pairs]))
    ends = scores.ends.differences()
    intervals = mean_intervals(differences, seed, draws, ends=ends)
    p_values, standardised = _tests(differences, ends)
    rows = []
    for at, ((trial, reference), found) in enumerate(zip(pairs, intervals, strict=True)):
        if found is not None:
            own = differences[:, at]
            outcomes = [int((own > SAME).sum()), int((np.abs(own) <= SAME).sum()), int((own < -SAME).sum())]
            exact = mcnemar(outcomes[0], outcomes[2]) if ends.pseudo else None
            tests = (_known(p_values[at]), None, exact, _known(standardised[at]))
            rows.append((trial, reference, found.value, found.low, found.high, *tests, *outcomes, found.n))
    effects = pl.DataFrame(rows, schema=EFFECT_SCHEMA, orient="row")
    return effects.with_columns(p_holm=pl.Series(holm(effects.get_column("p_value").to_list()), dtype=pl.Float64))


def mcnemar(wins: int, losses: int) -> float:
    """Return the p-value of so many wins and losses being as likely as each other, by the exact two-sided test.

    >>> mcnemar(1, 9)
    0.021484375
    """
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number; None stays None and does not count.

    Written out because `statsmodels.stats.multitest.multipletests`, which gives the same, collects garbage in every
    call: 0.2 s in a process that has loaded an engine.

    >>> holm([0.01, None, 0.04])
    [0.02, None, 0.04]
    """
    ordered = sorted((value, at) for at, value in enumerate(p_values) if value is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for before, (value, at) in enumerate(ordered):
        largest = max(largest, min((len(ordered) - before) * value, 1.0))
        corrected[at] = largest
    return corrected


def t_tests(differences: Floats, ends: Ends = ENDLESS) -> list[float | None]:
    """Return the p-value of each column's mean being 0, as `paired_effects` has it; None below two queries.

    `differences` has the shape (queries, columns), NaN where a query has none, and these `ends`.
    """
    return [_known(value) for value in _tests(differences, ends)[0]]


def _tests(differences: Floats, ends: Ends) -> tuple[Floats, Floats]:
    """Return p-values and standardised means of each column, NaN below two queries."""
    p_values, sizes = (np.full(differences.shape[1], np.nan) for _ in range(2))
    for rows, columns in alike(differences):
        n, own = len(rows), differences[np.ix_(rows, columns)]
        if n < 2:
            continue
        means, spread = own.mean(axis=0), own.std(axis=0, ddof=1)
        varies = spread > SAME
        constant = np.where(np.abs(means) > SAME, 2.0 ** (1 - n), 1.0)
        p_values[columns] = constant
        if ends.pseudo:
            p_values[columns] = ttest_1samp(with_pseudo(own, ends), 0).pvalue
        elif varies.any():
            p_values[columns[varies]] = ttest_1samp(own[:, varies], 0).pvalue
        sizes[columns[varies]] = means[varies] / spread[varies] * _hedges(n - 1)
        sizes[columns[~varies & (np.abs(means) <= SAME)]] = 0.0
    return p_values, sizes


def _hedges(freedom: int) -> float:
    """Return the factor that makes a standardised mean with so many degrees of freedom unbiased; NaN for one."""
    if freedom < 2:
        return float("nan")
    return float(np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def condition_effects(results: pl.DataFrame) -> pl.DataFrame:
    """Return the effect of every complete condition against the baseline: label, then `EFFECT_SCHEMA`.

    Replicates of a condition are averaged for each query. Empty where the baseline did not complete.
    """
    baseline, scores = baseline_trial(results), condition_scores(results)
    others = [] if baseline is None else [(trial, baseline) for trial in scores.trials if trial != baseline]
    effects = paired_effects(scores, others)
    labels = trial_table(results).select("trial", "label")
    return labels.join(effects, on="trial", how="right").select("label", *EFFECT_SCHEMA)


def paired_difference(results: pl.DataFrame, trial: int, reference: int, level: float = 0.95) -> Interval | None:
    """Return the mean score of a condition minus that of another over the queries both scored.

    In points of the judge's scale; see `intervals.mean_intervals` for the interval, of `level`. Conditions go by
    their first unreplicated trial. None where no query was scored under both.
    """
    scores = condition_scores(results)
    first, second = scores.of([trial, reference]).T
    ends = scores.ends.differences()
    return mean_intervals((first - second)[:, None], level=level, ends=ends)[0]


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


def lead_of_best(results: pl.DataFrame) -> tuple[Interval, Interval] | None:
    """Return the best condition's mean score minus the baseline's, and the same with a corrected interval.

    The best of m conditions looks better than it is, so the second interval has the level 1 - 0.05 / m
    (Bonferroni's correction; m counts those that were stopped early, which could have been best too). None where the
    baseline or every other condition is missing, the baseline is best, or no query was scored under both.
    """
    baseline, best = baseline_trial(results), best_trial(results)
    if baseline is None or best is None or best == baseline:
        return None
    level = 1 - 0.05 / max(rivals(results), 1)
    plain, corrected = (paired_difference(results, best, baseline, wanted) for wanted in (0.95, level))
    return None if plain is None or corrected is None else (plain, corrected)


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
