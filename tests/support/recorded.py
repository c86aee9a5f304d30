"""Results of record of real studies, small ones, as `tests/fixtures` holds them."""

from functools import cache
from pathlib import Path

import polars as pl

from ablations.studies.kind import Results

MLRUNS = Path(__file__).parents[1] / "fixtures" / "mlruns"


@cache
def recorded(name: str) -> pl.DataFrame:
    """Return the results of a study."""
    return pl.read_parquet(MLRUNS / "results" / name / "results.parquet")


def results(name: str, confirmation: str | None = None, **tables: pl.DataFrame) -> Results:
    """Return what a kind makes its findings of."""
    confirmed = None if confirmation is None else recorded(confirmation)
    return Results(name, recorded(name), confirmation=confirmed, tables=tables)


def models() -> Results:
    """Return the results of two models that answered the same queries."""
    return results("alignment")


def losses() -> pl.DataFrame:
    """Return the losses of the trainings of the study `icl-vs-ift`."""
    return pl.read_parquet(MLRUNS / "results" / "icl-vs-ift" / "losses.parquet")
