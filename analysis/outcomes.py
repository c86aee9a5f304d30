"""Outcomes: the effects of one study by each of its outcomes, side by side, and how far two outcomes agree.

Scales are never averaged. Knows result frames; draws nothing.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl
from scipy.stats import rankdata

from ablations.core.schema import Schema
from ablations.core.statistics import filled
from analysis.effects.intervals import Floats, Interval, expanded_tail, resampled_counts
from analysis.effects.joint import joint_effects
from analysis.effects.paired import EFFECT_SCHEMA, baseline_trial, condition_effects, one_factor_effects
from analysis.frames import Scores, trial_scores, trial_table
from analysis.scores import mean_score

DRAWS = 500
_NUMBERS = {name: kind for name, kind in EFFECT_SCHEMA.items() if name not in ("trial", "reference_trial")}
CONTRAST_SCHEMA: Schema = {"outcome": pl.String, "change": pl.String, **_NUMBERS}
MEAN_SCHEMA: Schema = {
    "outcome": pl.String,
    "trial": pl.Int64,
    "change": pl.String,
    **dict.fromkeys(("mean", "low", "high"), pl.Float64),
    **dict.fromkeys(("n_scored", "n_judged"), pl.Int64),
}
AGREEMENT_SCHEMA: Schema = {
    **dict.fromkeys(("outcome", "against"), pl.String),
    "changes": pl.Int64,
    **dict.fromkeys(("rank_correlation", "low", "high"), pl.Float64),
    **dict.fromkeys(("both", "opposite", "first_alone", "second_alone"), pl.Int64),
}


def contrasts(results: pl.DataFrame) -> pl.DataFrame:
    """Return the effect of each change of a study of conditions: change (in words), then numbers of `EFFECT_SCHEMA`.

    First the changes of one parameter with all else held still, then every other condition against the baseline, then
    what pairs do beyond the sum of their parts.
    """
    moved = one_factor_effects(results).sort("parameter", maintain_order=True)
    words = pl.format("{} {} → {}", "parameter", "against", "value")
    around = pl.when(pl.col("around") != "").then(pl.format(" ({})", "around")).otherwise(pl.lit(""))
    named = _named(trial_table(results)).select("trial", "change")
    others = condition_effects(results).join(moved, on="trial", how="anti").join(named, on="trial", how="left")
    single = moved.select((words + around).alias("change"), *_NUMBERS)
    pairs = joint_effects(results).with_columns(change=pl.format("{} × {}", "first", "second"))
    return pl.concat([single, others.select("change", *_NUMBERS), pairs], how="diagonal").select("change", *_NUMBERS)


def _named(trials: pl.DataFrame) -> pl.DataFrame:
    """Return trials with names that tell them apart: what they change, or labels where that is said of several."""
    unlike = pl.when(pl.col("change").is_duplicated()).then(pl.col("label")).otherwise(pl.col("change"))
    return trials.with_columns(change=unlike)


def outcome_contrasts(
    frames: Mapping[str, pl.DataFrame], contrast: Callable[[pl.DataFrame], pl.DataFrame] = contrasts
) -> pl.DataFrame:
    """Return a study's contrasts by each outcome: outcome, change, then numbers as `paired.EFFECT_SCHEMA` has them.

    Intervals and `p_family` are corrected within an outcome, where the kind of study does; what it does not compute is
    null, the verdict too.

    Args:
        frames: results by outcome, each with it as its score.
        contrast: what gives the contrasts of one frame.
    """
    found = [pl.DataFrame(schema=CONTRAST_SCHEMA)]
    found += [contrast(frame).with_columns(outcome=pl.lit(name)) for name, frame in frames.items()]
    return pl.concat(found, how="diagonal_relaxed").select(*CONTRAST_SCHEMA)


def outcome_means(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the mean of each complete trial by each outcome, A/A replicates left out.

    Columns: outcome, trial, change, mean, low, high (points of the outcome's own scale, 95 % over queries), n_scored,
    n_judged (turns).
    """
    rows = []
    for name, frame in frames.items():
        complete = _named(trial_table(frame)).filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
        for trial, change in complete.select("trial", "change").iter_rows():
            own = mean_score(frame.filter(pl.col("trial") == trial))
            rows.append({"outcome": name, "trial": trial, "change": change, **own})
    return pl.DataFrame(rows, schema=MEAN_SCHEMA, orient="row")


def outcome_agreement(frames: Mapping[str, pl.DataFrame], contrasts: pl.DataFrame) -> pl.DataFrame:
    """Return how far each further outcome agrees with the first one about what changes do.

    Columns: outcome (the first), against, changes (that both know), rank_correlation (Spearman's, of the mean
    differences to the baseline of all conditions) with its 95 % bootstrap interval over queries low, high (null below
    three conditions), both (changes whose intervals exclude 0 in the same direction by both outcomes), opposite (in
    opposite directions), first_alone, second_alone (by one of them). Takes the frames and what `outcome_contrasts`
    makes of them.
    """
    first, *others = frames
    scores = {name: trial_scores(frame.filter(pl.col("replicate") == 0)) for name, frame in frames.items()}
    baseline, rows = baseline_trial(frames[first]), []
    for name in others:
        pairs = _signs(contrasts, first, name)
        one, other = pl.col("sign"), pl.col("sign_other")
        counts = pairs.select(
            both=((one == other) & (one != 0)).sum(),
            opposite=(one * other == -1).sum(),
            first_alone=((one != 0) & (other == 0)).sum(),
            second_alone=((one == 0) & (other != 0)).sum(),
        )
        ranked = None if baseline is None else rank_correlation(scores[first], scores[name], baseline)
        numbers = (None, None, None) if ranked is None else (ranked.value, ranked.low, ranked.high)
        rows.append((first, name, len(pairs), *numbers, *counts.row(0)))
    return pl.DataFrame(rows, schema=AGREEMENT_SCHEMA, orient="row")


def both_support(contrasts: pl.DataFrame, first: str, other: str) -> list[str]:
    """Return the changes whose intervals exclude 0 in the same direction by both outcomes; see `outcome_contrasts`."""
    one = pl.col("sign")
    pairs = _signs(contrasts, first, other).filter((one == pl.col("sign_other")) & (one != 0))
    return pairs.get_column("change").to_list()


def _signs(contrasts: pl.DataFrame, first: str, other: str) -> pl.DataFrame:
    """Return the changes that two outcomes know: change, sign, sign_other."""
    signs = [contrasts.filter(pl.col("outcome") == one).select("change", sign=_decided()) for one in (first, other)]
    return signs[0].join(signs[1], on="change", suffix="_other", maintain_order="left")


def _decided() -> pl.Expr:
    """Return 1 or -1 where an effect's interval lies above or below 0, else 0."""
    above = pl.when(pl.col("low") > 0).then(1)
    return above.when(pl.col("high") < 0).then(-1).otherwise(0).cast(pl.Int64)


def rank_correlation(one: Scores, other: Scores, baseline: int) -> Interval | None:
    """Return Spearman's correlation of two outcomes' mean differences to the baseline, over conditions.

    None below three conditions that both know, or where the differences by one of them are all alike.
    """
    both = [_answered(scores) for scores in (one, other)]
    queries = sorted(both[0].get(baseline, set()) & both[1].get(baseline, set()))
    trials = [trial for trial in one.trials if all(own.get(trial, set()) & set(queries) for own in both)]
    if len(trials) < 4:
        return None
    first, second = (_differences(scores, queries, trials, baseline) for scores in (one, other))
    value = float(_correlations(first.mean(axis=0)[None], second.mean(axis=0)[None])[0])
    if np.isnan(value):
        return None
    n = len(queries)
    if n < 2:
        return Interval(value, None, None, n)
    counts = resampled_counts(n, DRAWS, 0) / n
    drawn = _correlations(counts @ first, counts @ second)
    tail = expanded_tail(n)
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Interval(value, float(low), float(high), n)


def _answered(scores: Scores) -> dict[int, set[str]]:
    """Return the queries on which each trial has a score: a greedy search asks held-back ones of two trials alone."""
    known = ~np.isnan(scores.values)
    return {
        trial: {query for query, there in zip(scores.queries, known[:, at], strict=True) if there}
        for at, trial in enumerate(scores.trials)
    }


def _differences(scores: Scores, queries: Sequence[str], trials: list[int], baseline: int) -> Floats:
    """Return differences to the baseline without gaps, shape (queries, conditions)."""
    place = {query: at for at, query in enumerate(scores.queries)}
    values = filled(scores.of(trials)[[place[query] for query in queries]])
    against = values[:, [trials.index(baseline)]]
    others = [at for at, trial in enumerate(trials) if trial != baseline]
    differences: Floats = values[:, others] - against
    return differences


def _correlations(first: Floats, second: Floats) -> Floats:
    """Return the rank correlation of each row of two tables, NaN where a row is all alike."""
    one, other = (rankdata(np.round(values, 9), axis=1) for values in (first, second))
    one, other = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (one, other))
    size = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    correlations: Floats = np.where(size > 0, (one * other).sum(axis=1) / np.where(size > 0, size, 1.0), np.nan)
    return correlations
