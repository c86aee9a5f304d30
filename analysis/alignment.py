"""Alignment: models side by side, zero-shot, with demonstrations in context, and as aligned models.

Knows the result frames of several studies on the same queries; draws nothing.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from analysis.effects.intervals import clustered_mean, paired_interval

CHAT, ZERO_SHOT, IN_CONTEXT = "aligned (chat template)", "zero-shot", "in context"
GROUPS = ("turn 1", "turn 2", "average")
_BOUNDS = dict.fromkeys(("low", "high"), pl.Float64)


class Arm(NamedTuple):
    """One model asked in one way; `way` is its `kind`, with the condition's name where a model has several of it."""

    model: str
    way: str
    kind: str

    def __str__(self) -> str:
        return f"{self.model}, {self.way}"


def alignment_table(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return what each model scored in each way.

    Columns: model, way, group (turn 1, turn 2, average), mean, low, high (points; 95 %, both turns of a query are one
    cluster), n_scored, n_judged. `frames` are the results of one study a model, by the model's name.
    """
    rows = []
    for arm, own in _arms(frames).items():
        for group in GROUPS:
            some = _of(own, group)
            scored = some.filter(pl.col("score").is_not_null())
            bounds: tuple[float | None, ...] = (None, None, None)
            if len(scored):
                found = clustered_mean(scored.get_column("score").to_numpy(), scored.get_column("query_id").to_list())
                bounds = (found.value, found.low, found.high)
            if len(some):
                rows.append((arm.model, arm.way, group, *bounds, len(scored), len(some)))
    counts = dict.fromkeys(("n_scored", "n_judged"), pl.Int64)
    texts = dict.fromkeys(("model", "way", "group"), pl.String)
    return pl.DataFrame(rows, schema={**texts, "mean": pl.Float64, **_BOUNDS, **counts}, orient="row")


def alignment_gaps(frames: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the gaps: within a model between its ways, and between models from in context to aligned.

    Columns: better, worse (what is subtracted; the names say nothing of the sign), group, difference, low, high
    (points, paired over queries, 95 %), n (queries). In "average" the turns of a query that both scored are averaged
    first.
    """
    arms = _arms(frames)
    rows = []
    for first, second in combinations(arms, 2):
        same = first.model == second.model
        across = {first.kind, second.kind} == {IN_CONTEXT, CHAT}
        if not (same or across):
            continue
        better, worse = sorted((first, second), key=lambda arm: (ZERO_SHOT, IN_CONTEXT, CHAT).index(arm.kind))[::-1]
        for group in GROUPS:
            scored = (_of(arms[arm], group).drop_nulls("score") for arm in (better, worse))
            one_scores, other_scores = (some.select("query_id", "turn", "score") for some in scored)
            joined = one_scores.join(other_scores, on=("query_id", "turn"), suffix="_worse")
            if joined.is_empty():
                continue
            joined = joined.group_by("query_id").agg(pl.col("score", "score_worse").mean()).sort("query_id")
            one, other = (joined.get_column(name).to_numpy().astype(np.float64) for name in ("score", "score_worse"))
            found = paired_interval(one, other)
            rows.append((str(better), str(worse), group, found.value, found.low, found.high, found.n))
    texts = dict.fromkeys(("better", "worse", "group"), pl.String)
    return pl.DataFrame(rows, schema={**texts, "difference": pl.Float64, **_BOUNDS, "n": pl.Int64}, orient="row")


def _arms(frames: Mapping[str, pl.DataFrame]) -> dict[Arm, pl.DataFrame]:
    """Return the results of each model's ways; A/A replicates and failed trials are left out."""
    arms: dict[Arm, pl.DataFrame] = {}
    for model, results in frames.items():
        counted = results.filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
        for (_,), own in counted.group_by("trial", maintain_order=True):
            kind = _kind(own)
            again = any(arm.model == model and arm.kind == kind for arm in arms)
            arms[Arm(model, f"{kind}: {own.get_column('label')[0]}" if again else kind, kind)] = own
    return arms


def _kind(own: pl.DataFrame) -> str:
    """Return the way in which a trial asks its model."""
    if own.get_column("param.template")[0] == "chat":
        return CHAT
    return IN_CONTEXT if own.get_column("param.shots")[0] > 0 else ZERO_SHOT


def missing_arms(frames: Mapping[str, pl.DataFrame]) -> list[str]:
    """Return the ways that have no row in the table because their trial failed, each with its reason."""
    return [
        f"{model}, {_kind(own)}: {own.get_column('failed_because')[0]}"
        for model, results in frames.items()
        for _, own in results.filter(pl.col("state") == "failed").group_by("trial", maintain_order=True)
        if own.get_column("replicate")[0] == 0
    ]


def _of(own: pl.DataFrame, group: str) -> pl.DataFrame:
    return own if group == GROUPS[-1] else own.filter(pl.col("turn") == int(group[-1]))
