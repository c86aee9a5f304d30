"""Whole studies as a person runs them, on vLLM's own server: kill, run again, change, browse."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import psutil
import pytest

from tests.support.servers import MODEL, free_port

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TRIALS, QUERIES = 6, 2
SHORTER, SPACE = "low = 4\nhigh = 8\nstep = 4", Path(tempfile.mkdtemp()) / "decoding.toml"


def study_command(*more: str) -> list[str]:
    """Return the command of the default study on two-turn queries, with answers of a quarter of its length."""
    own = (ROOT / "search_spaces" / "decoding.toml").read_text(encoding="utf-8")
    shorter = own.replace("max_tokens = 32", "max_tokens = 8").replace("low = 16\nhigh = 32\nstep = 16", SHORTER)
    assert shorter.count(SHORTER) == 1
    SPACE.write_text(shorter, encoding="utf-8")
    base = [sys.executable, str(ROOT / "ablations" / "run.py"), "--search-space", str(SPACE)]
    asked = ["--queries", "instructions", "--judge", "reference", "--confirm", "0"]
    return [*base, *asked, "--trials", str(TRIALS), "--limit", str(QUERIES), "--mlruns", "results", *more]


def command(server: str, *more: str) -> list[str]:
    return study_command("--base-url", server, *more)


def run(server: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(server, *more), cwd=folder, capture_output=True, text=True, check=False, timeout=500)


def text(folder: Path, query: str) -> str:
    with sqlite3.connect(folder / "results" / "store.db") as connection:
        return str(connection.execute(query).fetchone()[0])


def count(folder: Path, table: str) -> int:
    return int(text(folder, f"select count(*) from {table}"))


def figure(pattern: str, output: str) -> int:
    found = re.search(pattern, output)
    assert found, output
    return int(found.group(1))


def completions(folder: Path) -> int:
    """How many there are, also while the store is being made."""
    if not (folder / "results" / "store.db").exists():
        return 0
    with suppress(sqlite3.OperationalError):
        return count(folder, "completions")
    return 0


def wait_for_completions(process: subprocess.Popen[Any], folder: Path, least: int) -> None:
    deadline = time.monotonic() + 300
    while completions(folder) < least:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def killed(server: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A study killed in the middle and run again: its folder, what was stored at the kill, the second output."""
    folder = tmp_path_factory.mktemp("killed")
    process = subprocess.Popen(command(server), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_completions(process, folder, 8)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = count(folder, "completions")
    again = run(server, folder)
    assert again.returncode == 0, again.stderr
    return folder, stored, again.stdout


def test_after_kill_9_the_same_command_asks_only_for_what_is_missing(killed: tuple[Path, int, str]) -> None:
    folder, stored, output = killed
    generated = figure(r"(\d+) completions generated", output)
    assert stored + generated == count(folder, "completions") == TRIALS * QUERIES * 2


def test_after_kill_9_every_trial_is_there_once(killed: tuple[Path, int, str]) -> None:
    folder, _, _ = killed
    study = optuna.load_study(study_name="decoding", storage=f"sqlite:///{folder / 'results' / 'optuna.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * TRIALS
    frame = pl.read_parquet(folder / "results" / "results" / "decoding" / "results.parquet")
    assert frame.select("trial", "query_id", "turn").is_duplicated().sum() == 0
    assert frame.height == TRIALS * QUERIES * 2


def test_after_kill_9_mlflow_has_one_run_a_trial(killed: tuple[Path, int, str]) -> None:
    folder, _, _ = killed
    with sqlite3.connect(folder / "results" / "mlflow.db") as connection:
        rows = connection.execute(
            "select t.value, r.status from tags t join runs r using (run_uuid) where t.key = 'ablations.trial'"
        ).fetchall()
    assert sorted(int(number) for number, _ in rows) == list(range(TRIALS))
    assert {status for _, status in rows} == {"FINISHED"}


def test_the_report_at_the_terminal_shows_intervals_coverage_and_the_noise_floor(killed: tuple[Path, int, str]) -> None:
    output = killed[2]
    for expected in (
        "95 % interval",
        "The same condition twice, with other seeds (A/A)",
        "Coverage",
        "single changes are decided",
        "results.parquet",
        "make ui",
    ):
        assert expected in output.replace("\n", " ")


def test_a_changed_study_of_the_same_name_is_refused_with_the_difference(
    killed: tuple[Path, int, str], server: str
) -> None:
    folder = killed[0]
    before = count(folder, "completions")
    done = run(server, folder, "--seed", "7", "--queries", "instructions")
    assert done.returncode == 2
    assert "seed: was 0, now 7" in done.stderr
    assert "--fresh" in done.stderr
    assert count(folder, "completions") == before


def test_fresh_starts_anew_and_pays_for_nothing_twice_and_quiet_prints_nothing(
    killed: tuple[Path, int, str], server: str
) -> None:
    folder = killed[0]
    before, study = count(folder, "completions"), text(folder, "select id from studies where name = 'decoding'")
    done = run(server, folder, "--fresh", "--quiet")
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
    assert count(folder, "completions") == before
    assert text(folder, "select id from studies where name = 'decoding'") != study


def test_an_interrupt_ends_with_130_and_keeps_what_is_done(server: str, tmp_path: Path) -> None:
    process = subprocess.Popen(command(server), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_completions(process, tmp_path, 5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the same command resumes" in errors
    assert "Traceback" not in errors
    assert count(tmp_path, "completions") >= 5


def test_kill_9_leaves_no_engine_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        study_command("--model", MODEL), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_completions(process, tmp_path, 5)
    engine = [child for child in psutil.Process(process.pid).children(recursive=True) if "VLLM" in child.name()]
    assert len(engine) >= 2  # the engine's core and a worker
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(engine, timeout=30)
    assert not alive


def test_ui_serves_the_right_store_on_loopback(killed: tuple[Path, int, str]) -> None:
    folder, port = killed[0], free_port()
    ui = [sys.executable, "-m", "ablations", "ui", "--mlruns", str(folder / "results"), "--port", str(port)]
    process = subprocess.Popen(ui, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name?experiment_name=decoding"
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5) as reply:
                    assert '"name": "decoding"' in reply.read().decode()
                    break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.5)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
        process.stdout.close()


def test_a_study_is_confirmed_later_killed_meanwhile_and_goes_on(killed: tuple[Path, int, str], server: str) -> None:
    folder = killed[0]
    before = count(folder, "completions")
    confirm = ("--confirm", "2", "--held-back", str(QUERIES))
    silent: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(server, *confirm), cwd=folder, **silent)
    wait_for_completions(process, folder, before + 4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stored = count(folder, "completions")
    done = run(server, folder, *confirm)
    assert done.returncode == 0, done.stderr
    assert "onfirmed: " in done.stdout
    assert figure(r"(\d+) completions generated", done.stdout) == count(folder, "completions") - stored > 0
    frame = pl.read_parquet(folder / "results" / "results" / "decoding.confirmation" / "results.parquet")
    assert frame.height == 3 * 2 * QUERIES * 2
