"""Scores: what one condition scored, by turn and by category, against another model's answers, and in races.

Knows result frames; compares no conditions with each other (`effects` does).
"""

import json
from collections.abc import Sequence

import polars as pl

from ablations.core.schema import Schema
from ablations.core.statistics import best_first
from analysis.effects.intervals import clustered_mean, wilson_interval
from analysis.frames import ends_of, scores_by_trial, trial_table

AVERAGE = "average"
OUTCOMES = ("win", "draw", "loss")
ORDERS = ("first_twice", "second_twice")
"""Details of a comparison in both orders: the answer shown first was preferred twice, or the one shown second."""
_CANDIDATE = r"^round (\d+): \+ (.*)$"
RACE_SCHEMA: Schema = {
    "round": pl.Int64,
    "candidate": pl.String,
    **dict.fromkeys(("queries", "of"), pl.Int64),
    "mean": pl.Float64,
    "outcome": pl.String,
}


def score_groups(results: pl.DataFrame, trials: Sequence[int]) -> pl.DataFrame:
    """Return what each trial scored on each turn, on all turns, and in each category.

    Columns: trial, group ("turn 1", "turn 2", "average", then the categories by name), mean, low, high (points of
    the judge's scale; null where nothing is scored, or below two queries), n_scored, n_judged (judgments). As in
    MT-Bench the average is over all judgments of both turns, and a category's over those of its queries; the
    intervals count the two turns of a query as one cluster (`intervals.clustered_mean`).
    """
    rows = []
    for trial in trials:
        own = results.filter(pl.col("trial") == trial)
        groups = {f"turn {turn}": pl.col("turn") == turn for turn in sorted(own.get_column("turn").unique())}
        groups[AVERAGE] = pl.lit(True)
        names = sorted(filter(None, own.get_column("category").unique().drop_nulls()))
        groups |= {name: pl.col("category") == name for name in names}
        rows += [{"trial": trial, "group": name, **mean_score(own.filter(chosen))} for name, chosen in groups.items()]
    numbers = dict.fromkeys(("mean", "low", "high"), pl.Float64)
    counts = dict.fromkeys(("n_scored", "n_judged"), pl.Int64)
    return pl.DataFrame(rows, schema={"trial": pl.Int64, "group": pl.String, **numbers, **counts}, orient="row")


def unscored_reasons(results: pl.DataFrame) -> pl.DataFrame:
    """Return why completions have no score: columns reason, n (of all trials), trials (in how many), most first."""
    lacking = results.filter(pl.col("unscored").is_not_null())
    counted = lacking.group_by(reason="unscored").agg(
        n=pl.len().cast(pl.Int64), trials=pl.col("trial").n_unique().cast(pl.Int64)
    )
    return counted.sort("n", "reason", descending=[True, False])


def failed_trials(results: pl.DataFrame, named: Sequence[str] = ("label",)) -> list[str]:
    """Return the trials that count for nothing because they failed, as these columns name them, with the reason."""
    failed = results.filter((pl.col("state") == "failed") & (pl.col("replicate") == 0)).unique("trial").sort("trial")
    return [f"{', '.join(names)}: {why}" for *names, why in failed.select(*named, "failed_because").iter_rows()]


def mean_score(judged: pl.DataFrame) -> dict[str, float | int | None]:
    """Return mean, low, high (points; null where nothing is scored), n_scored and n_judged of judgments."""
    scored = judged.filter(pl.col("score").is_not_null())
    counts = {"n_scored": len(scored), "n_judged": len(judged)}
    if scored.is_empty():
        return {"mean": None, "low": None, "high": None, **counts}
    values, queries = scored.get_column("score").to_numpy(), scored.get_column("query_id").to_list()
    found = clustered_mean(values, queries, ends=ends_of(scored))
    return {"mean": found.value, "low": found.low, "high": found.high, **counts}


def outcome_rates(outcomes: Sequence[Sequence[str | None]], names: Sequence[str]) -> dict[str, float | None]:
    """Return how often each named outcome occurred, in percent, with its 95 % interval.

    Args:
        outcomes: of each prompt's comparisons; None where one has no outcome.
        names: the outcomes to count.

    Returns for each name its rate and `NAME_low`, `NAME_high` (Wilson; n is the number of prompts, whose answers
    are alike, so the interval is not too narrow), then n (comparisons with an outcome), n_missing, n_prompts.
    """
    prompts = [[outcome for outcome in of_one if outcome is not None] for of_one in outcomes]
    prompts = [of_one for of_one in prompts if of_one]
    known = [outcome for of_one in prompts for outcome in of_one]
    rates: dict[str, float | None] = {}
    for name in names:
        share = known.count(name) / len(known) if known else None
        low, high = wilson_interval(share, len(prompts)) if share is not None else (None, None)
        values = {name: share, f"{name}_low": low, f"{name}_high": high}
        rates |= {key: None if value is None else 100 * value for key, value in values.items()}
    return rates | {"n": len(known), "n_missing": sum(map(len, outcomes)) - len(known), "n_prompts": len(prompts)}


def comparison_table(results: pl.DataFrame) -> pl.DataFrame:
    """Return how often each trial's answers won against the answers that the judge compared them with.

    Columns: trial, label, then for each of win, draw, loss, first_twice and second_twice the share of judged
    pairs (0 to 1) with its 95 % Wilson interval (`NAME_low`, `NAME_high`), n (pairs judged in both orders), n_queries.
    The interval counts queries, not pairs, because both turns of a query are one cluster: it is not too narrow. The
    last two shares are the judge's position bias: it preferred what stood first, or second, in both orders.
    Empty for a judge that compares nothing.
    """
    shares = (*OUTCOMES, *ORDERS)
    details = [json.loads(text) for text in results.get_column("judge_details")] if "judge_details" in results else []
    compared = results.select("trial", "label", "query_id").with_columns(
        pl.Series(name, [found.get(name) for found in details] or [None] * len(results), dtype=pl.Float64)
        for name in shares
    )
    compared = compared.drop_nulls(OUTCOMES)
    rows = []
    for (trial, label), own in compared.group_by("trial", "label", maintain_order=True):
        n_queries = own.get_column("query_id").n_unique()
        row: dict[str, object] = {"trial": trial, "label": label}
        for name in shares:
            share = float(own.get_column(name).mean())  # type: ignore[arg-type]
            low, high = wilson_interval(share, n_queries)
            row |= {name: share, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"n": len(own), "n_queries": n_queries})
    numbers = {f"{name}{end}": pl.Float64 for name in shares for end in ("", "_low", "_high")}
    schema = {"trial": pl.Int64, "label": pl.String, **numbers, "n": pl.Int64, "n_queries": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("trial")


def races(results: pl.DataFrame) -> pl.DataFrame:
    """Return how far each candidate of each round of a greedy search came, or each trial of a search that stops some.

    Columns: round (1 in a search of conditions), candidate (there: what the trial sets otherwise than the baseline),
    queries (that it answered), of (the most of the round), mean (points on these queries; null without a score),
    outcome: stopped (early), finished, or best (of those that finished). Empty where nothing raced.
    """
    raced = pl.col("role") == "candidate"
    if "candidate" not in results.get_column("role"):
        raced = (pl.col("replicate") == 0) & pl.lit("stopped" in results.get_column("state"))
    changes = trial_table(results).select("trial", "change")
    trials = (
        results.filter(raced & (pl.col("state") != "failed"))
        .group_by("trial", maintain_order=True)
        .agg(
            round=pl.col("label").first().str.extract(_CANDIDATE, 1).cast(pl.Int64).fill_null(1),
            candidate=pl.col("label").first().str.extract(_CANDIDATE, 2),
            queries=pl.col("query_id").n_unique().cast(pl.Int64),
            mean=pl.col("score").mean(),
            outcome=pl.when(pl.col("state").first() == "stopped").then(pl.lit("stopped")).otherwise(pl.lit("finished")),
        )
        .join(changes, on="trial", maintain_order="left")
        .with_columns(candidate=pl.coalesce("candidate", "change"))
    )
    scores, best = scores_by_trial(results), list[int]()
    for _, of_round in trials.filter(pl.col("outcome") == "finished").group_by("round"):
        best += best_first({trial: scores.get(trial, {}) for trial in of_round.get_column("trial").sort()})[:1]
    return trials.with_columns(
        of=pl.col("queries").max().over("round"),
        outcome=pl.when(pl.col("trial").is_in(best)).then(pl.lit("best")).otherwise(pl.col("outcome")),
    ).select(pl.col(name).cast(kind) for name, kind in RACE_SCHEMA.items())
