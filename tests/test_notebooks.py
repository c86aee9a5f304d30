"""Claims about the notebooks: they run on results of real runs, and say what to do where a study was not run."""

import os
from pathlib import Path
from types import ModuleType

import jupytext
import nbformat
import pytest

from tests.support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
MLRUNS = Path(__file__).parent / "fixtures" / "mlruns"
TOPICS = ["01_decoding_importance", "02_component_importance", "03_demonstrations", "04_alignment_gap"]
TOPICS += ["05_reading_completions", "06_icl_vs_ift"]


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    return load_script(ROOT / "notebooks" / "execute.py")


def test_every_notebook_has_its_source_and_its_executed_copy() -> None:
    assert [path.stem for path in NOTEBOOKS] == TOPICS
    assert [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))] == TOPICS


@pytest.mark.parametrize("topic", TOPICS)
def test_a_committed_copy_has_outputs_of_its_source_and_is_small(topic: str) -> None:
    path = ROOT / "notebooks" / f"{topic}.ipynb"
    assert path.stat().st_size < 400_000
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.execution_count for cell in code)
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert any(output.output_type == "display_data" for cell in code for output in cell.outputs)
    source = (path.with_suffix(".py")).read_text(encoding="utf-8")
    lines = [line for cell in code for line in cell.source.splitlines() if line and not line.startswith("%")]
    assert all(line in source for line in lines)
    text = path.read_text(encoding="utf-8")
    assert not [place for place in (str(Path.home()), str(ROOT), "site-packages", "/tmp/") if place in text]


@pytest.mark.slow
@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic[:2] in ("02", "04", "05", "06")])
def test_a_notebook_runs_on_results_of_a_real_run(
    topic: str, runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATIONS_MLRUNS", str(MLRUNS))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert runner.execute(ROOT / "notebooks" / f"{topic}.py", tmp_path) is None
    notebook = nbformat.read(tmp_path / f"{topic}.ipynb", as_version=4)
    assert any(output.get("data") for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.slow
def test_a_notebook_without_its_study_says_what_to_run_and_leaves_its_copy(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABLATIONS_MLRUNS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    why = runner.execute(ROOT / "notebooks" / "02_component_importance.py", tmp_path)
    assert "ablations/run.py --study components --design leave-one-out --name components-loo" in why
    assert not list(tmp_path.glob("*.ipynb"))


def test_a_name_that_is_no_notebook_is_refused(runner: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["3"]) == 2
    assert "'3' is no notebook; there are: 01_decoding_importance, " in capsys.readouterr().err


def test_a_folder_given_from_here_is_found_by_the_notebooks(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ABLATIONS_MLRUNS", "own")
    monkeypatch.setattr(runner, "execute", lambda source, folder: os.environ["ABLATIONS_MLRUNS"])
    monkeypatch.setenv("PYTHONWARNINGS", "")
    monkeypatch.setenv("PYTHONPATH", "")
    assert runner.main(["05_reading_completions"]) == 1
    assert os.environ["ABLATIONS_MLRUNS"] == str(tmp_path / "own")


@pytest.mark.parametrize("topic", ["01_decoding_importance", "03_demonstrations"])
def test_the_code_of_a_notebook_runs_on_results_of_a_real_run(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a kernel, which takes ten seconds and computes importances with all draws."""
    monkeypatch.setenv("ABLATIONS_MLRUNS", str(MLRUNS))
    shown: list[object] = []
    monkeypatch.setattr("IPython.display.display", lambda *things: shown.extend(things))
    names: dict[str, object] = {}
    for cell in jupytext.read(ROOT / "notebooks" / f"{topic}.py").cells:
        if cell.cell_type == "code":
            exec(cell.source.replace("%matplotlib inline", ""), names)
    assert len(shown) > 3
