"""Results of record of real studies, small ones, as `tests/fixtures` holds them."""

from functools import cache
from pathlib import Path

import polars as pl
from ablations.studies.alignment.study import side_by_side

from ablations.studies.kind import Results

MLRUNS = Path(__file__).parents[1] / "fixtures" / "mlruns"
_RENAMED = {"rules": "system_prompt", "headings": "template", "demonstrations": "shots"}


@cache
def recorded(name: str) -> pl.DataFrame:
    """Return the results of a study, with today's names of parameters."""
    frame = pl.read_parquet(MLRUNS / "results" / name / "results.parquet")
    frame = frame.rename({f"param.{old}": f"param.{new}" for old, new in _RENAMED.items()}, strict=False)
    frame = frame.with_columns(
        pl.col("active").list.eval(pl.element().replace(_RENAMED)), pl.col("varied").replace(_RENAMED)
    )
    for old, new in _RENAMED.items():
        frame = frame.with_columns(pl.col("label").str.replace_all(rf"\b{old}=", f"{new}="))
    return frame


def results(name: str, confirmation: str | None = None, **tables: pl.DataFrame) -> Results:
    """Return what a kind makes its findings of."""
    confirmed = None if confirmation is None else recorded(confirmation)
    return Results(name, recorded(name), confirmation=confirmed, tables=tables)


@cache
def models() -> Results:
    """Return the results of two models that answered the same queries."""
    names = ("gemma-3-270m", "smollm2-135m-instruct")
    return Results("alignment", side_by_side({name: recorded(f"alignment.{name}") for name in names}))


def losses() -> pl.DataFrame:
    """Return the losses of the trainings of the study `icl-vs-ift`."""
    return pl.read_parquet(MLRUNS / "results" / "icl-vs-ift" / "losses.parquet")
