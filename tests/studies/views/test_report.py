"""Claims about the command `report`."""

from pathlib import Path
from shutil import copytree

import pytest

from ablations.cli.main import main
from ablations.core.errors import StorageError
from ablations.storage.workspace import Places
from ablations.studies.engine.results import write_results
from ablations.studies.views.report import report_study
from tests.support.recorded import models, recorded

MLRUNS = Path(__file__).parents[2] / "fixtures" / "mlruns"


def places(folder: Path) -> Places:
    return Places.choose(str(folder), None, None, None)


def test_the_report_lies_beside_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copytree(MLRUNS, tmp_path, dirs_exist_ok=True)
    assert main(["report", "--study", "greedy-search", "--mlruns", str(tmp_path)]) == 0
    folder = tmp_path / "results" / "greedy-search"
    assert capsys.readouterr().out.split() == [str(folder / "report.html"), str(folder / "report.md")]
    assert "none on record" in (folder / "report.md").read_text()
    assert not (tmp_path / "store.db").exists()  # reading makes no database


def test_what_the_store_knows_of_the_study_is_on_the_page(finished: Path, tmp_path: Path) -> None:
    _, markdown = report_study("s", places(finished), tmp_path / "out")
    text = markdown.read_text()
    for expected in ("| model | fake-model |", "| judge | fake |", "| seed | 0 |"):
        assert expected in text


def test_the_kind_comes_from_the_metadata_of_results_and_never_from_their_columns(tmp_path: Path) -> None:
    path = places(tmp_path).results("models")
    write_results(models().frame, path, "alignment")
    html, markdown = report_study("models", places(tmp_path), None)
    assert "smollm2-135m-instruct" in html.read_text()
    assert "Models side by side" in markdown.read_text()
    write_results(recorded("greedy-search"), path, "ablation")
    assert "## The chosen prompt" not in report_study("models", places(tmp_path), None)[1].read_text()
    write_results(recorded("greedy-search"), path, "greedy-search")
    assert "## The chosen prompt" in report_study("models", places(tmp_path), None)[1].read_text()


def test_results_that_do_not_say_what_made_them_are_refused(tmp_path: Path) -> None:
    write_results(models().frame, places(tmp_path).results("models"))
    with pytest.raises(StorageError, match=r"results\.parquet"):
        report_study("models", places(tmp_path), None)


def test_an_unknown_study_names_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--study", "nope", "--mlruns", str(MLRUNS)]) != 0
    message = capsys.readouterr().err
    assert "'nope'" in message
    assert "decoding" in message
    with pytest.raises(StorageError, match="there is no folder"):
        report_study("nope", places(MLRUNS / "empty"), None)
    assert "many-shot" in places(MLRUNS).exported


def test_a_misspelt_study_and_a_missing_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="did you mean decoding"):
        report_study("decodin", places(MLRUNS), None)
    with pytest.raises(StorageError, match=f"there is no folder {tmp_path / 'none'}"):
        report_study("decoding", places(tmp_path / "none"), None)


def test_a_confirmation_is_reported_on_the_page_of_its_study(tmp_path: Path) -> None:
    copytree(MLRUNS, tmp_path, dirs_exist_ok=True)
    html, _ = report_study("decoding.confirmation", places(tmp_path), None)
    assert html.parent.name == "decoding"
