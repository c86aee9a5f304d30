"""Missing scores: whether they could change what a study decides.

Knows result frames; draws nothing.
"""

from collections.abc import Callable

import polars as pl

from ablations.core.schema import Schema
from analysis.frames import scale_of

MOST_MISSING = 0.02
"""Share of missing scores up to which they are not asked about."""
SENSITIVITY_SCHEMA: Schema = dict.fromkeys(("change", "verdict", "at_bottom", "at_top"), pl.String)


def missing_share(results: pl.DataFrame) -> float:
    """Return the share of the complete trials' turns that have no score, 0 to 1."""
    turns = results.filter(pl.col("state") == "complete").get_column("score")
    return turns.null_count() / len(turns) if len(turns) else 0.0


def sensitivity(results: pl.DataFrame, contrast: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Return what each comparison would decide if all missing scores were at the scale's bottom, or all at its top.

    Columns: change, verdict (as it is), at_bottom, at_top. Empty where at most 2 % are missing, or the scale is not
    known.

    Args:
        results: of a study.
        contrast: what gives the comparisons of one frame, with columns change and verdict.
    """
    scale = scale_of(results)
    if scale is None or missing_share(results) <= MOST_MISSING:
        return pl.DataFrame(schema=SENSITIVITY_SCHEMA)
    found = contrast(results).select("change", "verdict")
    for name, end in (("at_bottom", scale.low), ("at_top", scale.high)):
        filled = results.with_columns(pl.col("score").fill_null(end))
        own = contrast(filled).select("change", pl.col("verdict").alias(name))
        found = found.join(own, on="change", how="left", maintain_order="left")
    return found
