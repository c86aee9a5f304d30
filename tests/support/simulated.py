"""Studies whose truth is known: their frames of results, and how judges' scores come about.

Holds no test and no estimate.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ablations.core.schema import RESULT_SCHEMA

Floats = NDArray[np.float64]
SCALE_SCHEMA = {
    name: RESULT_SCHEMA[name]
    for name in ("decides", "scale_low", "scale_high", "floor", "empty", "constant", "chooses", "negligible")
}
SHARES: Mapping[str, Any] = dict.fromkeys(SCALE_SCHEMA) | {
    "decides": True,
    "chooses": True,
    "scale_low": 0.0,
    "scale_high": 1.0,
}
"""What scores from 0 to 1 are read against."""
LEVEL, BETWEEN, WITHIN = 5.5, 2.0, 1.2
"""Of simulated judge scores: their mean, and the standard deviations between queries and within one."""


def study(
    scores: Any,
    settings: Mapping[str, Sequence[Any]] | None = None,
    *,
    roles: Sequence[str] | None = None,
    replicates: Sequence[int] | None = None,
    ids: Sequence[str] | None = None,
    varied: Sequence[str | None] | None = None,
    references: Sequence[str | None] | None = None,
    states: Sequence[str] | None = None,
    scale: Mapping[str, Any] | None = None,
    **columns: Any,
) -> pl.DataFrame:
    """Return a frame of results with one trial a condition, the first one the baseline.

    Args:
        scores: shape (queries, conditions) or (queries, turns, conditions); NaN where there is none.
        settings: of each varied parameter, its value in each condition; None where it has no effect.
        roles: of each trial; by default the baseline's and otherwise `fill`.
        replicates: of each trial, 0 where it is none.
        ids: of each condition, by default all different.
        varied: what a one-factor trial varies.
        references: ids of the conditions that trials are compared with.
        states: of each trial, by default all complete.
        scale: the columns of what scores are read against, by default none.
        columns: further ones, such as completion_tokens, a value a trial.
    """
    table = np.asarray(scores, dtype=np.float64)
    table = table[:, None, :] if table.ndim == 2 else table
    trials = table.shape[2]
    settings = settings or {}
    stored = {
        f"param.{name}": [
            next(one for one in values if one is not None) if value is None else value for value in values
        ]
        for name, values in settings.items()
    }
    neutral = {"param.temperature": 1.0, "param.top_p": 1.0, "param.top_k": 0, "param.min_p": 0.0}
    described: dict[str, Sequence[Any]] = {
        "trial": range(trials),
        "condition_id": ids or [f"c{trial}" for trial in range(trials)],
        "role": roles or ["baseline", *["fill"] * (trials - 1)],
        "replicate": replicates or [0] * trials,
        "varied": varied or [None] * trials,
        "reference": references or [None] * trials,
        "state": states or ["complete"] * trials,
        "failed_because": [None] * trials,
        "active": [[name for name, own in settings.items() if own[trial] is not None] for trial in range(trials)],
        **{name: [value] * trials for name, value in neutral.items()},
        **stored,
        "prompt_tokens": [100] * trials,
        "completion_tokens": [10] * trials,
        "truncated": [False] * trials,
        "repetition": [0.0] * trials,
        **columns,
    }
    described.setdefault("label", [f"trial {trial}" for trial in range(trials)])
    texts = dict.fromkeys(("varied", "reference", "failed_because"), pl.String) | {"active": pl.List(pl.String)}
    by_trial = pl.DataFrame({name: list(values) for name, values in described.items()}, schema_overrides=texts)
    at = np.indices(table.shape).reshape(3, -1)
    flat = pl.Series(table.reshape(-1), dtype=pl.Float64).fill_nan(None)
    turns = pl.DataFrame(
        {
            "trial": at[2],
            "query_id": [f"q{query:03d}" for query in at[0]],
            "turn": at[1] + 1,
            "score": flat,
            "unscored": flat.is_null().replace_strict({True: "no number", False: None}, return_dtype=pl.String),
        },
        schema_overrides={"trial": pl.Int64, "turn": pl.Int64},
    ).sort("trial", "query_id", "turn")
    constant = {"study": "s", "judge": "fake", "category": "math", "answer": "some words of an answer"}
    constant |= {"query": "a query", "judge_details": "{}"}
    fixed = [pl.lit(value).alias(name) for name, value in constant.items() if name not in by_trial.columns]
    whole = turns.join(by_trial, on="trial", maintain_order="left").with_columns(fixed)
    return read_against(whole, scale or {})


def read_against(results: pl.DataFrame, scale: Mapping[str, Any]) -> pl.DataFrame:
    """Return results with these columns of what their scores are read against."""
    return results.with_columns(pl.lit(value, SCALE_SCHEMA[name]).alias(name) for name, value in scale.items())


def judge_scores(
    generator: np.random.Generator, shape: tuple[int, ...], shifts: Any = 0.0, discrete: bool = True
) -> Floats:
    """Return scores of this shape, whose first axis is queries: a query's difficulty, a shift, and noise.

    Discrete ones are whole numbers from 1 to 10. `shifts` broadcasts to the shape.
    """
    difficulty = generator.normal(LEVEL, BETWEEN, (shape[0], *shape[1:-1], 1))
    values = difficulty + shifts + generator.normal(0, WITHIN, shape)
    return np.clip(np.round(values), 1, 10) if discrete else values


def true_difference(shift: float, discrete: bool = True, n: int = 1_000_000) -> float:
    """Return the expected difference of two such scores, one shifted, which rounding and the scale's ends change."""
    if not discrete:
        return shift
    scores = judge_scores(np.random.default_rng(99), (n, 2), np.array([shift, 0.0]))
    return float((scores[:, 0] - scores[:, 1]).mean())
