"""Studies of ICL against IFT whose truth is known: their frames of results, and how their scores come about.

Holds no test and no estimate.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tests.support.simulated import Floats, study

SIZES = (2, 4, 8, 16, 32, 64)
TOKENS = 100
"""Of a simulated example, in a prompt and in training."""


def arm(way: str, examples: int = 0, draw: int | None = None, pool: str | None = None, **more: Any) -> dict[str, Any]:
    """Return what an arm is: the columns of its trial that are not those of every study."""
    tuned = way == "ift"
    described = {
        "arm.way": way,
        "arm.pool": pool,
        "arm.examples": examples,
        "arm.draw": draw,
        "arm.model": f"base+{examples}" if tuned else "base-instruct" if way == "aligned" else "base",
        "arm.tuning": "lora" if tuned else None,
        "arm.training_tokens": 3 * TOKENS * examples if tuned else 0,
        "arm.training_seconds": float(examples) if tuned else None,
        "role": "baseline" if way == "zero-shot" else "fill",
        "state": "complete",
        "failed_because": None,
        "prompt_tokens": 50 + TOKENS * examples * (way == "icl"),
        "label": " ".join(filter(None, (way, pool, str(examples) if pool else None))),
    }
    return described | more


def sized(scores: Any, arms: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return a frame of results with a trial an arm; scores are (queries, [turns,] arms), NaN where unscored.

    Rows of an arm that failed have neither answer nor judge nor score.
    """
    columns: dict[str, Any] = {name: [one[name] for one in arms] for name in arms[0]}
    results = study(scores, roles=columns.pop("role"), states=columns.pop("state"), **columns)
    texts = ("arm.way", "arm.pool", "arm.model", "arm.tuning", "failed_because")
    whole = ("arm.examples", "arm.draw", "arm.training_tokens")
    failed = pl.col("state") == "failed"
    return results.with_columns(
        pl.col(texts).cast(pl.String),
        pl.col(whole).cast(pl.Int64),
        pl.col("arm.training_seconds").cast(pl.Float64),
        *(pl.when(~failed).then(pl.col(name)).alias(name) for name in ("score", "answer", "judge")),
        query=pl.format("question {}", "query_id"),
        judge_details=pl.lit("{}"),
        **{"param.shots": pl.when(pl.col("arm.way") == "icl").then(pl.col("arm.examples")).otherwise(0)},
    )


def both_ways(sizes: Sequence[int] = SIZES, draws: int = 1, pool: str = "pool") -> list[dict[str, Any]]:
    """Return an arm of either way for each size and draw: all of ICL, then all of IFT."""
    pairs = [(size, draw) for size in sizes for draw in range(draws)]
    return [arm(way, size, draw, pool) for way in ("icl", "ift") for size, draw in pairs]


def differences(
    generator: np.random.Generator,
    truth: Sequence[float],
    queries: int,
    draws: int,
    spreads: tuple[float, float, float] = (1.0, 0.3, 1.0),
) -> Floats:
    """Return differences with a known mean at each size, shape (queries, draws, sizes).

    `spreads` are the standard deviations between queries (of which half is common to all sizes), between draws, and of
    what is neither.
    """
    shape = (queries, draws, len(truth))
    of_query, of_draw, rest = spreads
    common = generator.normal(0, of_query * np.sqrt(0.5), (queries, 1, 1))
    own = generator.normal(0, of_query * np.sqrt(0.5), (queries, 1, len(truth)))
    drawn = generator.normal(0, of_draw, (1, draws, len(truth)))
    found: Floats = np.asarray(truth) + common + own + drawn + generator.normal(0, rest, shape)
    return found


def simulated_study(
    generator: np.random.Generator, queries: int = 24, draws: int = 3, pool: str = "pool"
) -> pl.DataFrame:
    """Return a study on two turns: ICL rises to 16 examples and ends there, IFT starts lower and overtakes it."""
    sizes, shown = (2, 4, 8, 16, 32, 64), (2, 4, 8, 16)
    arms = [one for one in both_ways(sizes, draws, pool) if one["arm.way"] == "ift" or one["arm.examples"] in shown]
    arms += [arm("zero-shot"), arm("urial", label="urial"), arm("aligned", label="aligned")]
    level = {"icl": lambda n: 4.2 + 0.5 * np.log2(n) - 0.05 * np.log2(n) ** 2, "ift": lambda n: 3.2 + 0.6 * np.log2(n)}
    level |= {"zero-shot": lambda _: 2.6, "urial": lambda _: 4.9, "aligned": lambda _: 7.2}
    truth = np.array([level[one["arm.way"]](one["arm.examples"]) for one in arms])
    turns = truth - np.array([[0.0], [0.8]]) * np.array([one["arm.way"] in ("icl", "urial") for one in arms])
    hard = generator.normal(0, 1.2, (queries, 1, 1))
    scores = (
        turns + hard + generator.normal(0, 0.2, (1, 1, len(arms))) + generator.normal(0, 1, (queries, *turns.shape))
    )
    return sized(np.clip(scores, 1, 10), arms)


def simulated_losses(generator: np.random.Generator, sizes: Sequence[int] = SIZES, draws: int = 2) -> pl.DataFrame:
    """Return losses of three epochs over each size, in batches of four."""
    rows = []
    for size in sizes:
        for draw in range(draws):
            steps = 3 * max(size // 4, 1)
            for step in range(1, steps + 1):
                loss = 0.8 + 1.6 * np.exp(-3 * step / 24) + generator.normal(0, 0.04)
                rows.append(("pool", size, draw, step, loss, 1e-4 * (1 - step / (steps + 1)), 4 * TOKENS * step))
    names = ("pool", "examples", "draw", "step", "loss", "learning_rate", "tokens")
    return pl.DataFrame(rows, schema=names, orient="row")
