"""Frames: the results of a study as analysis uses them.

Knows what the columns of results mean; computes no statistic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ablations.core.condition import TAIL_PARAMETERS, format_value, neutral_value, plain_value
from ablations.core.errors import StorageError, reason
from ablations.core.records import OUTCOMES
from ablations.core.schema import PARAMETER_PREFIX, RESULT_SCHEMA
from ablations.core.statistics import ENDLESS, Ends, Scale, filled
from analysis.effects.intervals import Floats

Row = Mapping[str, Any]
"""A row of a frame by column, as polars yields rows: a value's type is its column's."""


def load_results(path: Path) -> pl.DataFrame:
    """Return the results in a `results.parquet`; raise `StorageError` where that cannot be read or holds no results."""
    try:
        results = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"results {path} cannot be read: {reason(error)}; give a results.parquet of a study"
        ) from error
    needed = (name for name in RESULT_SCHEMA if not name.startswith(PARAMETER_PREFIX))
    if lacking := [name for name in needed if name not in results.columns]:
        raise StorageError(
            f"results {path} have no column {', '.join(lacking)}: an older version wrote them; run the study's command "
            "again, which exports them once more and asks for nothing that is stored"
        )
    if results.is_empty():
        raise StorageError(f"results {path} hold no finished trial; run the study's command again, which resumes")
    return results


def deciding(results: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with the score that decides: those of the study's own judge."""
    return results.filter(pl.col("decides"))


def outcome_frames(results: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the results once more for each outcome beside the score that decides, with it in place of the score.

    By name: `core.records.OUTCOMES`, from 0 to 1, as far as a judge gives them, then every further judge. Each has one
    row per trial × query × turn, as `deciding` returns them.
    """
    found = {}
    for _, rows in results.drop_nulls("judge").group_by("judge", maintain_order=True):
        details = rows.get_column("judge_details")
        for name in OUTCOMES:
            values = details.str.json_path_match(f"$.{name}").cast(pl.Float64)
            if values.is_not_null().any():
                why = pl.when(values.is_null()).then(pl.coalesce("unscored", pl.lit(f"no {name}")))
                ends = {"scale_low": pl.lit(0.0), "scale_high": pl.lit(1.0), "chooses": pl.lit(True)}
                ends["negligible"] = pl.lit(Scale(0.0, 1.0).margin)
                nothing = {one: pl.lit(None, RESULT_SCHEMA[one]) for one in ("floor", "empty", "constant")}
                found[name] = rows.with_columns(score=values, unscored=why, judge=pl.lit(name), **ends, **nothing)
    further = results.filter(~pl.col("decides")).group_by("judge", maintain_order=True)
    return found | {str(judge): rows for (judge,), rows in further}


def scales_of(results: pl.DataFrame) -> dict[str, Scale]:
    """Return what the scores of each judge are read against, the judge that decides first.

    {} where nobody judged, or the columns were dropped: intervals then do not know where the scale ends.
    """
    in_order = ("scale_low", "scale_high", "floor", "constant", "empty", "chooses", "negligible")  # as `Scale` has them
    columns = ("judge", *in_order)
    if not set(columns) <= set(results.columns):
        return {}
    judged = results.select("decides", *columns).drop_nulls(("judge", "scale_low", "scale_high"))
    rows = judged.unique("judge", maintain_order=True).sort("decides", descending=True, maintain_order=True)
    return {name: Scale(*rest) for name, *rest in rows.select(columns).iter_rows()}


def scale_of(results: pl.DataFrame) -> Scale | None:
    """Return what the scores of a frame with one judge are read against, or None where that is not known."""
    return next(iter(scales_of(results).values()), None)


def ends_of(results: pl.DataFrame) -> Ends:
    """Return the ends of the scores of a frame with one judge, or None where they are not known."""
    return Ends.of(scale_of(results))


def judge_name(results: pl.DataFrame, nobody: str = "no") -> str:
    """Return the name of the judge that gave the scores, or `nobody` where every trial failed before it was judged."""
    return str(next(iter(results.get_column("judge").drop_nulls()), nobody))


def query_scores(results: pl.DataFrame) -> pl.DataFrame:
    """Return one row per complete trial and query: columns trial, query_id, score.

    The score is the mean over the query's turns, so that both turns of a query are one unit. A turn that lacks a score
    where the query's other one has one counts what query, turn and trial lead to expect (`core.statistics.filled`):
    the mean of what is there would reward a trial for lacking the harder turn.
    """
    complete = results.filter(pl.col("state") == "complete")
    known = pl.col("score").is_not_null()
    some = complete.filter(known.any().over("trial", "query_id") & known.any().over("query_id", "turn"))
    if some.get_column("score").null_count():
        some = _with_turns(some)
    return some.group_by("trial", "query_id", maintain_order=True).agg(pl.col("score").mean())


def _with_turns(some: pl.DataFrame) -> pl.DataFrame:
    """Return results with an estimate in place of each missing score; every trial and every turn has one somewhere."""
    turns = some.select(pl.struct("query_id", "turn").rank("dense") - 1).to_series().to_numpy()
    trials = some.get_column("trial").rank("dense").to_numpy() - 1
    values = np.full((turns.max() + 1, trials.max() + 1), np.nan)
    values[turns, trials] = some.get_column("score").cast(pl.Float64)
    return some.with_columns(score=pl.Series(filled(values)[turns, trials]))


def scores_by_trial(results: pl.DataFrame) -> dict[int, dict[str, float]]:
    """Return each complete trial's score of each query, as `core.statistics.best_first` takes them."""
    found: dict[int, dict[str, float]] = {}
    for trial, query, score in query_scores(results).sort("trial").iter_rows():
        found.setdefault(trial, {})[query] = score
    return found


@dataclass(frozen=True)
class Scores:
    """Scores of trials on the same queries.

    Attributes:
        queries: ids, in alphabetical order.
        trials: numbers, in ascending order.
        values: points of the judge's scale, shape (queries, trials); NaN where a query has no score.
        ends: of the scores, where they are known.
        margin: points below which a difference does not matter, or None where the scale is not known.
    """

    queries: Sequence[str]
    trials: Sequence[int]
    values: Floats
    ends: Ends = ENDLESS
    margin: float | None = None

    def of(self, trials: Sequence[int]) -> Floats:
        """Return the columns of these trials, shape (queries, len(trials))."""
        place = {trial: at for at, trial in enumerate(self.trials)}
        return self.values[:, [place[trial] for trial in trials]]


def trial_scores(results: pl.DataFrame) -> Scores:
    """Return the scores of every complete trial, replicates apart."""
    return score_table(query_scores(results), scale_of(results))


def condition_scores(results: pl.DataFrame) -> Scores:
    """Return the scores of every complete condition, its replicates averaged for each query (see `by_condition`)."""
    return score_table(nested_scores(results), scale_of(results))


def nested_scores(results: pl.DataFrame) -> pl.DataFrame:
    """Return one row per complete condition and query: columns trial (its first unreplicated one), query_id, score.

    The score is the mean over the condition's replicates of each one's mean over the query's scored turns.
    """
    nested = query_scores(results).join(_stands_for(results), on="trial", maintain_order="left")
    return nested.group_by(pl.col("first").alias("trial"), "query_id", maintain_order=True).agg(pl.col("score").mean())


def by_condition(results: pl.DataFrame) -> pl.DataFrame:
    """Return the complete trials' results with every trial under the number of its condition's first unreplicated one.

    The replicates of a condition differ in their seeds alone. A condition of which only replicates are complete is
    left out.
    """
    joined = results.join(_stands_for(results), on="trial", maintain_order="left")
    return joined.with_columns(trial=pl.col("first")).drop("first")


def _stands_for(results: pl.DataFrame) -> pl.DataFrame:
    """Return the first unreplicated trial of each complete trial's condition: columns trial, first."""
    complete = results.filter(pl.col("state") == "complete")
    trials = complete.select("trial", "condition_id", "replicate").unique()
    first = trials.filter(pl.col("replicate") == 0).group_by("condition_id").agg(first=pl.col("trial").min())
    return trials.join(first, on="condition_id").select("trial", "first")


def score_table(scores: pl.DataFrame, scale: Scale | None = None) -> Scores:
    """Return scores on a scale as a table; takes columns trial, query_id, score, a row for each pair."""
    queries, trials = (scores.get_column(name).unique().sort().to_list() for name in ("query_id", "trial"))
    values = np.full((len(queries), len(trials)), np.nan)
    place = [scores.get_column(name).rank("dense").to_numpy() - 1 for name in ("query_id", "trial")]
    values[place[0], place[1]] = scores.get_column("score").cast(pl.Float64)
    return Scores(queries, trials, values, Ends.of(scale), None if scale is None else scale.margin)


def trial_table(results: pl.DataFrame) -> pl.DataFrame:
    """Return one row per trial: its description, parameters as they took effect, and what it scored.

    A parameter without effect (top-p under greedy decoding) has its neutral value, so that no trial and
    no parameter has to be dropped. Added columns: mean (of an unreplicated trial that of its condition), n_scored,
    coverage, mean_tokens, prompt_tokens (per turn), truncation_rate, repetition, n_queries, change (what the trial
    sets otherwise than the baseline).
    """
    described = ["trial", "condition_id", "role", "replicate", "varied", "reference", "label"]
    described += ["state", "failed_because"]
    parameters = [name for name in results.columns if name.startswith(PARAMETER_PREFIX)]
    table = results.group_by("trial", maintain_order=True).agg(
        *(pl.col(name).first() for name in (*described[1:], *parameters, "active")),
        n_queries=pl.col("query_id").n_unique(),
        n_scored=pl.col("score").is_not_null().sum(),
        coverage=pl.col("score").is_not_null().mean(),
        mean_tokens=pl.col("completion_tokens").mean(),
        prompt_tokens=pl.col("prompt_tokens").mean(),
        truncation_rate=pl.col("truncated").mean(),
        repetition=pl.col("repetition").mean(),
    )
    scores = (query_scores(results), nested_scores(results))
    own, nested = (some.group_by("trial").agg(pl.col("score").mean()) for some in scores)
    means = own.join(nested, on="trial", how="left").select("trial", mean=pl.coalesce("score_right", "score"))
    greedy = pl.col("param.temperature") == 0
    neutral = [
        pl.when(greedy).then(plain_value(neutral_value(name))).otherwise(pl.col(column)).alias(column)
        for name in TAIL_PARAMETERS
        for column in [f"{PARAMETER_PREFIX}{name}"]
    ]
    table = table.join(means, on="trial", how="left").with_columns(neutral).sort("trial")
    return table.with_columns(change=pl.Series(_changes(table, varied_parameters(results)), dtype=pl.String))


def _changes(table: pl.DataFrame, varied: Sequence[str]) -> list[str]:
    """Say what each trial sets otherwise than the baseline, or its label where that says nothing."""
    rows = table.to_dicts()
    baseline = next((row for row in rows if row["role"] == "baseline"), None)
    changes = []
    for row in rows:
        columns = {name: f"{PARAMETER_PREFIX}{name}" for name in varied if name in row["active"]}
        moved = [
            f"{name}={format_value(row[column])}"
            for name, column in columns.items()
            if baseline is not None and row[column] != baseline[column]
        ]
        nothing = (
            "baseline"
            if row is baseline
            else "baseline, other seeds"
            if row["replicate"] and baseline is not None
            else row["label"]
        )
        changes.append(" ".join(moved) + (" (A/A)" if row["replicate"] else "") if moved else nothing)
    return changes


def varied_parameters(results: pl.DataFrame) -> list[str]:
    """Return the names of the parameters that a study varied, in the order of the columns."""
    active = set(results.get_column("active").explode().drop_nulls().unique().to_list())
    names = [name.removeprefix(PARAMETER_PREFIX) for name in results.columns if name.startswith(PARAMETER_PREFIX)]
    return [name for name in names if name in active]
