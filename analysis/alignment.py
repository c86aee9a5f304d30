"""Alignment: models side by side, zero-shot, with demonstrations in context, and as aligned models.

Knows the result frame of a study whose arms are models; draws nothing.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from analysis.demonstrations.ways import ARM_MODEL, ARM_WAY, ZERO_SHOT
from analysis.effects.intervals import paired_interval
from analysis.frames import ends_of
from analysis.scores import AVERAGE, mean_score

CHAT, IN_CONTEXT = "aligned (chat template)", "in context"
"""Ways of asking a model, beside zero-shot."""
GROUPS = ("turn 1", "turn 2", AVERAGE)
_BOUNDS = dict.fromkeys(("low", "high"), pl.Float64)


class Arm(NamedTuple):
    """One model asked in one way; `way` is its `kind`, with the condition's name where a model has several of it."""

    model: str
    way: str
    kind: str

    def __str__(self) -> str:
        return f"{self.model}, {self.way}"


def alignment_table(results: pl.DataFrame) -> pl.DataFrame:
    """Return what each model scored in each way.

    Columns: model, way, group (turn 1, turn 2, average), mean, low, high (points; 95 %, both turns of a query are one
    cluster), n_scored, n_judged. `results` are those of a study whose columns `arm.model` and `arm.way` say which
    model a trial asked, and in which way.
    """
    rows = []
    for arm, own in _arms(results).items():
        named = {"model": arm.model, "way": arm.way}
        judged = {group: _of(own, group) for group in GROUPS}
        rows += [{**named, "group": group, **mean_score(some)} for group, some in judged.items() if len(some)]
    counts = dict.fromkeys(("n_scored", "n_judged"), pl.Int64)
    texts = dict.fromkeys(("model", "way", "group"), pl.String)
    return pl.DataFrame(rows, schema={**texts, "mean": pl.Float64, **_BOUNDS, **counts})


def alignment_gaps(results: pl.DataFrame) -> pl.DataFrame:
    """Return the gaps: within a model between its ways, and between models from in context to aligned.

    Columns: better, worse (what is subtracted; the names say nothing of the sign), group, difference, low, high
    (points, paired over queries, 95 %), n (queries). In "average" the turns of a query that both scored are averaged
    first.
    """
    arms = _arms(results)
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
            found = paired_interval(one, other, ends=ends_of(results))
            rows.append((str(better), str(worse), group, found.value, found.low, found.high, found.n))
    texts = dict.fromkeys(("better", "worse", "group"), pl.String)
    return pl.DataFrame(rows, schema={**texts, "difference": pl.Float64, **_BOUNDS, "n": pl.Int64}, orient="row")


def _arms(results: pl.DataFrame) -> dict[Arm, pl.DataFrame]:
    """Return the results of each model's ways, model by model; A/A replicates and failed trials are left out."""
    counted = results.filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    arms: dict[Arm, pl.DataFrame] = {}
    for (model,), of_model in counted.group_by(ARM_MODEL, maintain_order=True):
        for _, own in of_model.group_by("trial", maintain_order=True):
            kind = str(own.get_column(ARM_WAY)[0])
            again = any(arm.model == model and arm.kind == kind for arm in arms)
            way = str(own.get_column("label")[0]).removeprefix(f"{model}, ") if again else kind
            arms[Arm(str(model), way, kind)] = own
    return arms


def _of(own: pl.DataFrame, group: str) -> pl.DataFrame:
    return own if group == AVERAGE else own.filter(pl.col("turn") == int(group[-1]))
