"""Claims about finding results by a study's name, by path, and by MLflow run."""

from pathlib import Path
from shutil import copy, copytree

import polars as pl
import pytest

from ablations.core.errors import MissingStudyError, StorageError
from ablations.storage.workspace import Places
from ablations.studies.icl_vs_ift.inputs import best_decoding
from ablations.studies.views.sources import open_results, open_study
from ablations.tracking.client import open_client

MLRUNS = Path(__file__).parents[2] / "fixtures" / "mlruns"


def logged(folder: Path, database: str) -> str:
    """Log a study's results to a tracking store in the folder; return the run's id."""
    client = open_client(f"sqlite:///{folder / database}")
    experiment = client.create_experiment("decoding", artifact_location=(folder / "artifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    client.log_artifact(run, str(MLRUNS / "results" / "decoding" / "results.parquet"))
    return str(run)


def test_a_study_is_found_by_its_name_and_by_its_path() -> None:
    by_name = open_results("decoding", MLRUNS)
    assert by_name.equals(open_results(str(MLRUNS / "results" / "decoding" / "results.parquet")))
    assert by_name.get_column("study").unique().to_list() == ["decoding"]


def test_a_study_that_was_not_run_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"run\.py --study many-shot$"):
        open_results("many-shot", tmp_path)
    with pytest.raises(StorageError, match=r"run\.py --study alignment$"):
        open_study("alignment", tmp_path)


def test_results_of_an_older_version_name_the_lacking_column_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    open_results("decoding", MLRUNS).drop("failed_because").write_parquet(path)
    with pytest.raises(StorageError, match=r"no column failed_because.*run the study's command again"):
        open_results(str(path))


def test_results_without_a_finished_trial_and_damaged_files_are_refused(tmp_path: Path) -> None:
    empty, damaged = tmp_path / "empty.parquet", tmp_path / "damaged.parquet"
    open_results("decoding", MLRUNS).head(0).write_parquet(empty)
    damaged.write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="no finished trial"):
        open_results(str(empty))
    with pytest.raises(StorageError, match="cannot be read"):
        open_results(str(damaged))


def test_a_study_is_found_by_its_mlflow_run(tmp_path: Path, empty_tracking: Path) -> None:
    copy(empty_tracking, tmp_path / "mlflow.db")
    run = logged(tmp_path, "mlflow.db")
    found = open_results(f"runs:/{run}", tmp_path)
    assert isinstance(found, pl.DataFrame)
    assert found.equals(open_results("decoding", MLRUNS))
    with pytest.raises(StorageError, match=r"run 'nope' has no results\.parquet"):
        open_results("runs:/nope", tmp_path)


def test_a_run_of_another_tracking_store_is_found_by_that_stores_address(tmp_path: Path, empty_tracking: Path) -> None:
    copy(empty_tracking, tmp_path / "own.db")
    run = logged(tmp_path, "own.db")
    places = Places.choose(str(tmp_path / "mlruns"), None, None, f"sqlite:///{tmp_path / 'own.db'}")
    assert open_study(f"runs:/{run}", places).frame.equals(open_results("decoding", MLRUNS))
    assert best_decoding(f"runs:/{run}", places) == best_decoding("decoding", Places.choose(str(MLRUNS), *[None] * 3))


def test_a_study_has_its_confirmation_or_none(tmp_path: Path) -> None:
    confirmed = open_study("decoding", MLRUNS).confirmation
    assert confirmed is not None
    assert not confirmed.is_empty()
    assert open_study("components-loo", MLRUNS).confirmation is None
    by_path = open_study(str(MLRUNS / "results" / "decoding" / "results.parquet")).confirmation
    assert by_path is not None
    assert by_path.equals(confirmed)
    copytree(MLRUNS / "results" / "decoding", tmp_path / "results" / "s")
    damaged = tmp_path / "results" / "s.confirmation" / "results.parquet"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="cannot be read"):
        open_study("s", tmp_path)
    with pytest.raises(MissingStudyError, match="there is no folder"):
        open_study("s", tmp_path / "none")


def test_a_study_has_the_tables_beside_its_results(tmp_path: Path) -> None:
    found = open_study("icl-vs-ift", MLRUNS)
    losses = found.table("losses")
    assert losses is not None
    assert {"examples", "step", "loss"} <= set(losses.columns)
    assert list(found.tables) == ["losses"]
    by_path = open_study(str(MLRUNS / "results" / "icl-vs-ift" / "results.parquet"))
    assert by_path.tables["losses"].equals(losses)
    assert open_study("decoding", MLRUNS).tables == {}
    copytree(MLRUNS / "results" / "icl-vs-ift", tmp_path / "results" / "s")
    (tmp_path / "results" / "s" / "losses.parquet").write_bytes(b"PAR1")
    with pytest.raises(StorageError, match="move the file away"):
        open_study("s", tmp_path)
