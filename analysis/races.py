"""Races: how far the trials of a search came before they were stopped.

Knows result frames; draws nothing.
"""

import polars as pl

from ablations.core.schema import Schema
from ablations.core.statistics import best_first
from analysis.frames import scores_by_trial, trial_table

_CANDIDATE = r"^round (\d+): \+ (.*)$"
RACE_SCHEMA: Schema = {
    "round": pl.Int64,
    "candidate": pl.String,
    **dict.fromkeys(("queries", "of"), pl.Int64),
    "mean": pl.Float64,
    "outcome": pl.String,
}


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
