"""Sources: results of record by a study's name, by path, or by MLflow run.

Knows where results lie, not what is in them.
"""

import tempfile
from pathlib import Path

import polars as pl

from ablations.core.errors import MissingStudyError, StorageError, nearest
from ablations.storage.workspace import CONFIRMATION, LOSSES_FILE, STUDY_NAME, Places
from analysis.frames import load_results

RUN = "runs:/"


def open_results(named: str, mlruns: str | Path | None = None) -> pl.DataFrame:
    """Return the results of a study.

    Args:
        named: a study's name, a path that ends in `.parquet`, or `runs:/ID` with the id of a study's MLflow run.
        mlruns: the folder of all results; the project's own where None.

    Raises:
        StorageError: there are none, with what to run; or they cannot be read.
    """
    places = Places.choose(None if mlruns is None else str(mlruns), None, None, None)
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


def open_losses(named: str, mlruns: str | Path | None = None) -> pl.DataFrame | None:
    """Return the losses that lie beside a study's results; None where there are none, or it is named by MLflow run.

    Raises:
        StorageError: they cannot be read.
    """
    places = Places.choose(None if mlruns is None else str(mlruns), None, None, None)
    if named.startswith(RUN):
        return None
    beside = Path(named).expanduser() if named.endswith(".parquet") else places.results(named)
    return read_losses(beside.with_name(LOSSES_FILE))


def read_losses(path: Path) -> pl.DataFrame | None:
    """Return the losses in a file, or None where it does not exist; raise `StorageError` where it cannot be read."""
    if not path.is_file():
        return None
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise StorageError(
            f"losses {path} cannot be read: {error}; move the file away, and all but the losses is shown"
        ) from error


def open_confirmation(named: str, mlruns: str | Path | None = None) -> pl.DataFrame | None:
    """Return the results of a study's confirmation, or None where it has none or is named by path or run."""
    if not STUDY_NAME.fullmatch(named):
        return None
    try:
        return open_results(f"{named}{CONFIRMATION}", mlruns)
    except MissingStudyError:
        return None


def _others(named: str, places: Places) -> str:
    """Return which studies have been run, the nearest name first."""
    return f"; {nearest(named, places.exported)}" if places.exported else ""


def _folder_is_missing(places: Places) -> str:
    return "" if places.folder.is_dir() else f" (there is no folder {places.folder})"


def open_models(named: str, mlruns: str | Path | None = None) -> dict[str, pl.DataFrame]:
    """Return the results of a study of several models, by model.

    Raises:
        StorageError: there are none, with what to run; or they cannot be read.
    """
    places = Places.choose(None if mlruns is None else str(mlruns), None, None, None)
    found = [name for name in places.exported if name.startswith(f"{named}.") and not name.endswith(CONFIRMATION)]
    frames = {name.removeprefix(f"{named}."): load_results(places.results(name)) for name in found}
    if not frames:
        raise MissingStudyError(
            f"{places.folder} holds no study {named!r} of several models yet. Run it, then this again:\n"
            f"    .venv/bin/python ablations/run.py --study {named}"
        )
    return frames


def _of_run(run_id: str, places: Places) -> pl.DataFrame:
    from ablations.tracking.client import fetch_artifact

    with tempfile.TemporaryDirectory() as folder:
        return load_results(fetch_artifact(places.tracking_uri, run_id, "results.parquet", Path(folder)))
