"""Claims about several models: each has a process and a study of its own, and they end side by side."""

import asyncio
import io
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from ablations.studies.alignment.study import compare_models, run_models, study_names
from rich.console import Console

from ablations.cli.main import main
from ablations.core.errors import PartFailedError, UsageError, UserError
from ablations.storage.workspace import Places
from ablations.studies.config.file import find_study_file
from ablations.studies.engine.results import write_results
from ablations.tracking.client import open_client
from tests.support.specs import load
from tests.support.temperatures import make_results

ROOT = Path(__file__).parents[3]
CHILD = """
import os, signal, sys, time
from pathlib import Path
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, interrupt)
out = Path(os.environ["OUT"])
(out / "begun").touch()
try:
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)  # what a study writes before it ends
    with (out / "told").open("a") as told:
        told.write("interrupted\\n")
    sys.exit(130)
"""
RUN = [sys.executable, str(ROOT / "ablations" / "run.py"), "--study", "alignment", "--limit", "2"]


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *more], cwd=folder, capture_output=True, text=True, check=False, timeout=500)


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="would have one study name"):
        study_names("alignment", ["one/model", "two/model"])


@pytest.mark.parametrize(("model", "expected"), [("./nowhere", UserError), ("no such", UserError)])
def test_a_model_whose_study_ends_badly_ends_the_others_with_the_same_code(
    model: str, expected: type[Exception], tmp_path: Path
) -> None:
    console = Console(file=io.StringIO())
    arguments = ["run", "--study", "alignment", "--dry-run", "--mlruns", str(tmp_path / "mlruns")]
    with pytest.raises(expected, match=r"ended with exit code 2, as said above"):
        run_models(arguments, {model: "a", "smollm2-135m-instruct": "b"}, console)
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_dies_is_a_part_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PartFailedError, match="exit code 1, as said above; the same command goes on"):
        run_models([], {"model": "name"}, Console(file=io.StringIO()))


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_reaches_the_model_under_way_once_and_the_command_waits_for_it(
    tmp_path: Path, told: signal.Signals
) -> None:
    child = tmp_path / "ablations.py"  # stands for `python -m ablations`
    child.write_text(CHILD)
    code = f"""
import io, os, sys
from rich.console import Console
from ablations import alignment, cli
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored
for ending in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(ending, cli._interrupt)
alignment.child_environment = lambda: {{"OUT": {str(tmp_path)!r}}}
os.chdir({str(tmp_path)!r})  # where `ablations` is the child below
try:
    alignment.run_models([], {{"m": "n"}}, Console(file=io.StringIO()))
except KeyboardInterrupt:
    sys.exit(130)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(told)
    assert process.wait(timeout=60) == 130
    assert (tmp_path / "told").read_text() == "interrupted\n"


def arm(headings: str, shown: int, effect: float) -> pl.DataFrame:
    """The baseline of a made study, as a model asked in one way."""
    made = make_results(effect=effect, noise=0.1, trials=2)
    own = made.filter(pl.col("role") == "baseline")
    return own.with_columns(**{"param.template": pl.lit(headings), "param.shots": pl.lit(shown)})


def test_models_are_compared_shown_and_logged_beside_their_studies(tmp_path: Path, empty_tracking: Path) -> None:
    places = Places.choose(str(tmp_path), None, None, None)
    Path(places.tracking_uri.removeprefix("sqlite:///")).write_bytes(empty_tracking.read_bytes())
    names = study_names("alignment", ["base", "org/aligned"])
    zero, shown = arm("urial", 0, 0.0), arm("urial", 3, 0.0).with_columns(trial=pl.lit(9), score=pl.col("score") + 1)
    chat = arm("chat", 0, 0.0).with_columns(score=pl.col("score") + 3)
    write_results(pl.concat([zero, shown], how="vertical_relaxed"), places.results(names["base"]))
    write_results(chat, places.results(names["org/aligned"]))
    text = io.StringIO()
    asyncio.run(compare_models(load(find_study_file("alignment")), names, places, Console(file=text, width=200)))
    printed = text.getvalue()
    assert "base, in context minus base, zero-shot, turn 1: +1.00 [+1.00, +1.00]" in printed
    assert "org/aligned, aligned (chat template) minus base, in context, average: +2.00" in printed
    assert "minus base, zero-shot, turn 2" in printed
    client = open_client(places.tracking_uri)
    (logged,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert logged.info.run_name == "alignment"
    assert logged.data.tags["mlflow.note.content"].startswith("Gaps whose interval excludes 0: ")
    assert {file.path for file in client.list_artifacts(logged.info.run_id)} >= {"figures", "tables"}


@pytest.mark.slow
def test_a_model_without_a_chat_template_is_not_asked_as_an_aligned_model_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "--study", "alignment", "--model", "gemma-3-270m", "--dry-run", "--mlruns", "results"]
    assert main(arguments) == 0
    shown = capfd.readouterr().out
    assert "the model has no chat template that is known here" in shown
    assert "shots=3" in shown
    assert "template=chat" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_is_asked_in_all_three_ways_in_a_process_of_its_own_and_compared(tmp_path: Path) -> None:
    done = run(tmp_path, "--models", "smollm2-135m-instruct", "--mlruns", "results")
    assert done.returncode == 0, done.stderr
    frame = pl.read_parquet(tmp_path / "results/results/alignment.smollm2-135m-instruct/results.parquet")
    chat = frame.filter(pl.col("param.template") == "chat")
    assert len(chat) == 4
    assert not any("<|im" in answer for answer in chat.get_column("answer"))
    assert "Models side by side" in done.stdout
    assert "aligned (chat template)" in done.stdout
