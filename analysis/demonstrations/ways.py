"""Ways to use examples: in the prompt, in the weights, and the lines to read the two against; their columns.

Knows the columns of a comparison of learning in context with fine-tuning.
"""

import polars as pl

from ablations.core.schema import ARM_PREFIX, Schema

ICL, IFT = "icl", "ift"
ZERO_SHOT, URIAL, ALIGNED = "zero-shot", "urial", "aligned"
"""Ways of an arm: examples in the prompt, examples learned, and the lines to read the two against."""
ARM_MODEL, ARM_WAY = f"{ARM_PREFIX}model", f"{ARM_PREFIX}way"
"""Columns of the model and of the way to use examples that an arm stands for."""
ARM_SCHEMA: Schema = {
    **dict.fromkeys((ARM_WAY, "arm.pool", ARM_MODEL, "arm.tuning"), pl.String),
    **dict.fromkeys(("arm.examples", "arm.draw", "arm.training_tokens", "arm.epochs"), pl.Int64),
    **dict.fromkeys(("arm.training_seconds", "arm.learning_rate"), pl.Float64),
}
"""Further columns of such a study."""
LOSS_SCHEMA: Schema = {
    "pool": pl.String,
    **dict.fromkeys(("examples", "draw", "step"), pl.Int64),
    **dict.fromkeys(("loss", "learning_rate"), pl.Float64),
    "tokens": pl.Int64,
}
"""Of the table of losses: a row for each step of each training; tokens are those read so far."""
