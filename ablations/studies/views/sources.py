"""Sources: results of record by a study's name, by path, or by MLflow run.

Knows where results lie, not what is in them.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import polars as pl

from ablations.core.errors import MissingStudyError, StorageError, nearest, reason
from ablations.storage.workspace import Places, follow_up_name
from ablations.studies.kind import Results
from analysis.frames import deciding, load_results, outcome_frames

RUN = "runs:/"


def open_results(named: str, mlruns: str | Path | Places | None = None) -> pl.DataFrame:
    """Return the results of a study, with the score of the judge that decides; `open_study` has the other outcomes too.

    Args:
        named: a study's name, a path that ends in `.parquet`, or `runs:/ID` with the id of a study's MLflow run.
        mlruns: the folder of all results, or it and the addresses; the project's own where None.

    Raises:
        StorageError: there are none, with what to run; or they cannot be read.
    """
    return deciding(_record(named, _places(mlruns)))


def _record(named: str, places: Places) -> pl.DataFrame:
    """Return the results of record of a study."""
    if named.startswith(RUN):
        return _of_run(named.removeprefix(RUN), places)
    if named.endswith(".parquet"):
        return load_results(Path(named).expanduser())
    path = places.results(named)
    if not path.is_file():
        raise MissingStudyError(
            f"No study {named!r} has been run yet: {path} does not exist{_folder_is_missing(places)}"
            f"{_others(named, places)}. Run it, then this again:\n"
            f"    .venv/bin/python ablations/run.py --study {named}"
        )
    return load_results(path)


def open_study(named: str, mlruns: str | Path | Places | None = None) -> Results:
    """Return what a study left: its results, the tables beside them, and those of its confirmation where there is one.

    Args:
        named: a study's name, a path that ends in `.parquet`, or `runs:/ID` with the id of a study's MLflow run, which
            has neither tables nor a confirmation. A confirmation is looked for in the folder beside the study's.
        mlruns: the folder of all results, or it and the addresses; the project's own where None.

    Raises:
        StorageError: there are no results, with what to run; or they cannot be read.
    """
    places = _places(mlruns)
    record = _record(named, places)
    results = Results(named, deciding(record), outcomes=outcome_frames(record))
    if named.startswith(RUN):
        return results
    path = Path(named).expanduser() if named.endswith(".parquet") else places.results(named)
    return replace(results, tables=tables_beside(path), confirmation=confirmation_beside(path))


def confirmation_beside(results: Path) -> pl.DataFrame | None:
    """Return the results of a study's confirmation, looked for in the folder beside the study's, or None."""
    path = results.parent.with_name(follow_up_name(results.parent.name)) / results.name
    return deciding(load_results(path)) if path.is_file() else None


def tables_beside(results: Path) -> dict[str, pl.DataFrame]:
    """Return the further tables that a study wrote beside its results, by name.

    Raises:
        StorageError: one of them cannot be read.
    """
    tables = {}
    for path in sorted(results.parent.glob("*.parquet")):
        if path.name != results.name:
            try:
                tables[path.stem] = pl.read_parquet(path)
            except (OSError, pl.exceptions.PolarsError) as error:
                raise StorageError(
                    f"the table {path} cannot be read: {reason(error)}; move the file away, and all but it is shown"
                ) from error
    return tables


def _places(mlruns: str | Path | Places | None) -> Places:
    if isinstance(mlruns, Places):
        return mlruns
    return Places.choose(None if mlruns is None else str(mlruns), None, None, None)


def _others(named: str, places: Places) -> str:
    """Return which studies have been run, the nearest name first."""
    return f"; {nearest(named, places.exported)}" if places.exported else ""


def _folder_is_missing(places: Places) -> str:
    return "" if places.folder.is_dir() else f" (there is no folder {places.folder})"


def _of_run(run_id: str, places: Places) -> pl.DataFrame:
    from ablations.tracking.client import fetch_artifact

    with tempfile.TemporaryDirectory() as folder:
        return load_results(fetch_artifact(places.tracking_uri, run_id, "results.parquet", Path(folder)))
