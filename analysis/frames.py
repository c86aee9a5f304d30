"""Frames: the results of a study as analysis uses them.

Knows where results lie and what their columns mean; computes no statistic.
"""

from pathlib import Path

import polars as pl

from ablations.conditions import TAIL_PARAMETERS, neutral_value, plain_value
from ablations.errors import StorageError
from ablations.results import PARAMETER_PREFIX


def load_results(path: Path) -> pl.DataFrame:
    """Return the results in a `results.parquet`; raise `StorageError` where that cannot be read."""
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"results {path} cannot be read: {error}; give a results.parquet of a study") from error


def query_scores(results: pl.DataFrame) -> pl.DataFrame:
    """Return one row per complete trial and query: columns trial, query_id, score.

    The score is the mean over the query's scored turns, so that both turns of a query are one unit.
    """
    scored = results.filter(pl.col("score").is_not_null() & (pl.col("state") == "complete"))
    return scored.group_by("trial", "query_id", maintain_order=True).agg(pl.col("score").mean())


def score_matrix(results: pl.DataFrame) -> pl.DataFrame:
    """Return scores with one row per query and one column per complete trial (named by its number)."""
    wide = query_scores(results).pivot("trial", index="query_id", values="score", sort_columns=False)
    return wide.sort("query_id")


def trial_table(results: pl.DataFrame) -> pl.DataFrame:
    """Return one row per trial: its description, parameters as they took effect, and what it scored.

    A parameter without effect (top-p under greedy decoding) has its neutral value, so that no trial and
    no parameter has to be dropped. Added columns: mean, n_scored, coverage, mean_tokens,
    truncation_rate, repetition, n_queries.
    """
    described = ["trial", "condition_id", "role", "replicate", "varied", "reference", "label"]
    described += ["state", "failed_because"]
    parameters = [name for name in results.columns if name.startswith(PARAMETER_PREFIX)]
    table = results.group_by(described + parameters, maintain_order=True).agg(
        n_queries=pl.col("query_id").n_unique(),
        n_scored=pl.col("score").is_not_null().sum(),
        coverage=pl.col("score").is_not_null().mean(),
        mean_tokens=pl.col("completion_tokens").mean(),
        truncation_rate=pl.col("truncated").mean(),
        repetition=pl.col("repetition").mean(),
    )
    means = query_scores(results).group_by("trial").agg(mean=pl.col("score").mean())
    greedy = pl.col("param.temperature") == 0
    neutral = [
        pl.when(greedy).then(plain_value(neutral_value(name))).otherwise(pl.col(column)).alias(column)
        for name in TAIL_PARAMETERS
        for column in [f"{PARAMETER_PREFIX}{name}"]
    ]
    return table.join(means, on="trial", how="left").with_columns(neutral).sort("trial")


def varied_parameters(results: pl.DataFrame) -> list[str]:
    """Return the names of the parameters that a study varied, in the order of the columns."""
    active = set(results.get_column("active").explode().drop_nulls().unique().to_list())
    names = [name.removeprefix(PARAMETER_PREFIX) for name in results.columns if name.startswith(PARAMETER_PREFIX)]
    return [name for name in names if name in active]
