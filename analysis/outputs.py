"""Outputs: what the answers of each condition are like and what they cost, beside what they score.

Knows result frames; draws nothing.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from ablations.core.jsonl import JsonObject
from ablations.core.schema import Schema
from analysis.effects.intervals import clustered_mean, mean_intervals, wilson_interval
from analysis.effects.paired import baseline_trial, best_trial
from analysis.frames import condition_scores, ends_of, score_table, trial_table

_PROPERTIES = {"tokens": "completion_tokens", "truncation": "truncated", "repetition": "repetition"}
_MOST = {"tokens": np.inf, "truncation": 1, "repetition": 1}
_DESCRIBED: Schema = {"trial": pl.Int64, "change": pl.String, "role": pl.String}
COST_SCHEMA: Schema = {
    **_DESCRIBED,
    **dict.fromkeys(("mean", "low", "high", "tokens", "prompt_tokens", "completion_tokens", "characters"), pl.Float64),
    "front": pl.Boolean,
    "n": pl.Int64,
}
TEXT_SCHEMA: Schema = {
    **_DESCRIBED,
    **{f"{name}{end}": pl.Float64 for name in _PROPERTIES for end in ("", "_low", "_high")},
    "n": pl.Int64,
}
TURN_SCHEMA: Schema = {
    **_DESCRIBED,
    **{f"turn_{turn}{end}": pl.Float64 for turn in (1, 2) for end in ("", "_low", "_high")},
    "n": pl.Int64,
}


def cost_table(results: pl.DataFrame) -> pl.DataFrame:
    """Return what each complete condition scores and what it takes.

    Columns: trial, change (what it sets otherwise than the baseline), role (baseline, best or other), mean, low, high
    (points, 95 % over queries, replicates averaged), tokens (a turn, prompt and answer), prompt_tokens,
    completion_tokens (a turn), characters (of an answer), front (whether no other condition has fewer tokens and at
    least its score, or as many and more: the Pareto front of the means as measured), n (queries).
    """
    conditions, scores = _conditions(results), condition_scores(results)
    intervals = mean_intervals(scores.values, ends=scores.ends)
    found = dict(zip(scores.trials, intervals, strict=True))
    lengths = dict(
        results.group_by("trial").agg(pl.col("answer").str.len_chars().mean()).select("trial", "answer").iter_rows()
    )
    rows: list[JsonObject] = []
    for row in conditions:
        interval = found.get(row["trial"])
        if interval is not None:
            tokens = {"prompt_tokens": row["prompt_tokens"], "completion_tokens": row["mean_tokens"]}
            numbers = {"mean": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}
            described = {name: row[name] for name in _DESCRIBED}
            total = row["prompt_tokens"] + row["mean_tokens"]
            rows.append({**described, **numbers, **tokens, "tokens": total, "characters": lengths[row["trial"]]})
    last = (np.inf, -np.inf)
    for row in sorted(rows, key=lambda row: (row["tokens"], -row["mean"])):
        own = (row["tokens"], row["mean"])
        row["front"] = own == last or row["mean"] > last[1]
        last = own if row["front"] else last
    return pl.DataFrame(rows, schema=COST_SCHEMA, orient="row")


def text_table(results: pl.DataFrame) -> pl.DataFrame:
    """Return what the answers of each complete condition are like.

    Columns: trial, change, role (as `cost_table`), then for tokens (of an answer), truncation (share cut off at
    max_tokens, 0 to 1) and repetition (share of 4-grams of words that occurred before, 0 to 1) the mean over answers
    and its 95 % interval, in which both turns of a query are one cluster (`NAME_low`, `NAME_high`; of the share
    Wilson's over queries, which is not too narrow where all are cut off), n (queries).
    """
    rows = []
    for row, own in _rows(results):
        queries = own.get_column("query_id").to_list()
        n = len(set(queries))
        for name, column in _PROPERTIES.items():
            found = clustered_mean(own.get_column(column).cast(pl.Float64).to_numpy(), queries)
            low, high = wilson_interval(found.value, n) if name == "truncation" else (found.low, found.high)
            low, high = (None if end is None else float(np.clip(end, 0, _MOST[name])) for end in (low, high))
            row |= {name: found.value, f"{name}_low": low, f"{name}_high": high}
        rows.append({**row, "n": n})
    return pl.DataFrame(rows, schema=TEXT_SCHEMA, orient="row")


def turn_table(results: pl.DataFrame) -> pl.DataFrame:
    """Return what each complete condition scores on the first and on the second turn.

    Columns: trial, change, role (as `cost_table`), turn_1, turn_2 (mean points over the queries whose turns both have a
    score), with `_low` and `_high` (95 % over queries), n (these queries). Empty where no query has two turns.
    """
    scored = results.filter(pl.col("score").is_not_null() & pl.col("turn").is_in([1, 2]))
    turns = scored.group_by("trial", "query_id", "turn").agg(pl.col("score").mean())
    first, second = (turns.filter(pl.col("turn") == turn).drop("turn") for turn in (1, 2))
    both = first.join(second, on=("trial", "query_id"), suffix="_2")
    if both.is_empty():
        return pl.DataFrame(schema=TURN_SCHEMA)
    tables = [score_table(both.select("trial", "query_id", score=name)) for name in ("score", "score_2")]
    of_scores = ends_of(results)
    found = [dict(zip(table.trials, mean_intervals(table.values, ends=of_scores), strict=True)) for table in tables]
    rows = []
    for described in _conditions(results):
        intervals = [of_turn.get(described["trial"]) for of_turn in found]
        row = {name: described[name] for name in _DESCRIBED}
        for turn, interval in enumerate(intervals, start=1):
            if interval is not None:
                ends = {f"turn_{turn}_low": interval.low, f"turn_{turn}_high": interval.high}
                row |= {f"turn_{turn}": interval.value, **ends, "n": interval.n}
        if "n" in row:
            rows.append(row)
    return pl.DataFrame(rows, schema=TURN_SCHEMA, orient="row")


def _rows(results: pl.DataFrame) -> Iterator[tuple[JsonObject, pl.DataFrame]]:
    """Yield what describes each complete condition, with its results."""
    parts = results.partition_by("trial", as_dict=True)
    for row in _conditions(results):
        if (row["trial"],) in parts:
            yield {name: row[name] for name in _DESCRIBED}, parts[(row["trial"],)]


def _conditions(results: pl.DataFrame) -> list[JsonObject]:
    """Return the complete, unreplicated trials with their role: baseline, best or other."""
    table = trial_table(results).filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    table = table.unique("condition_id", keep="first", maintain_order=True)
    roles = {best_trial(results): "best", baseline_trial(results): "baseline"}
    return [{**row, "role": roles.get(row["trial"], "other")} for row in table.to_dicts()]
