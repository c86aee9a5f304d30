"""The schema of results: columns of the frame of record, and their types.

Knows what is stored in them, neither how it was found nor what it means.
"""

from collections.abc import Mapping

import polars as pl

from ablations.core.condition import DECODING_PARAMETERS, INTEGER_PARAMETERS, PROMPT_PARAMETERS, TEXT_PARAMETERS

PARAMETER_PREFIX, ARM_PREFIX = "param.", "arm."
"""Of the columns of parameters, and of those that say what answers where that differs from trial to trial."""
Schema = Mapping[str, type[pl.DataType] | pl.DataType]


def _schema() -> dict[str, type[pl.DataType] | pl.DataType]:
    """Return the frame's columns with their types."""
    parameters: dict[str, type[pl.DataType] | pl.DataType] = {}
    for name in (*DECODING_PARAMETERS, *PROMPT_PARAMETERS):
        kind = pl.Int64 if name in INTEGER_PARAMETERS else pl.String if name in TEXT_PARAMETERS else pl.Float64
        parameters[f"{PARAMETER_PREFIX}{name}"] = kind
    texts = ("condition_id", "role", "varied", "reference", "label", "state", "failed_because")
    return {
        "study": pl.String,
        "trial": pl.Int64,
        **dict.fromkeys(texts, pl.String),
        "replicate": pl.Int64,
        "active": pl.List(pl.String),
        **parameters,
        **dict.fromkeys(("query_id", "category", "query", "answer", "judge", "unscored"), pl.String),
        "turn": pl.Int64,
        "score": pl.Float64,
        "prompt_tokens": pl.Int64,
        "completion_tokens": pl.Int64,
        "truncated": pl.Boolean,
        "repetition": pl.Float64,
        "seed": pl.Int64,
        **dict.fromkeys(("judge_calls", "judge_prompt_tokens", "judge_completion_tokens"), pl.Int64),
        "judge_details": pl.String,
        "decides": pl.Boolean,
        **dict.fromkeys(("scale_low", "scale_high", "floor", "empty"), pl.Float64),
        "constant": pl.String,
        "chooses": pl.Boolean,
        "negligible": pl.Float64,
    }


RESULT_SCHEMA: Schema = _schema()
"""Columns of the frame and their types."""
