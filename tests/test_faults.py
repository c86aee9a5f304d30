"""Claims about studies that something goes wrong with: nothing finished is lost, and nothing is paid for twice."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ablations.conditions import content_hash
from ablations.errors import TrackingError
from ablations.tracking import Tracker
from tests.fakes import FakeBackend, make_queries
from tests.test_rebuild import NeverAsked, pages, places_of, run, spec_of

FORK = multiprocessing.get_context("forkserver")
KILLS, SECONDS = 20, 5.0
UNSTABLE = ("seconds", "started", "ended")


def table(folder: Path) -> pl.DataFrame:
    """The results of record without what hangs on the clock."""
    frame = pl.read_parquet(places_of(folder).results("s"))
    return frame.drop(name for name in UNSTABLE if name in frame.columns)


@pytest.fixture
def folder(tmp_path: Path, empty_tracking: Path) -> Path:
    made = tmp_path / "mlruns"
    made.mkdir()
    shutil.copy(empty_tracking, made / "mlflow.db")
    return made


def test_a_study_goes_on_without_mlflow_and_its_pages_are_made_by_the_next_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tmp_path, queries=make_queries(12))
    logged = Tracker._log_child

    def fails_later(self: Tracker, run_id: str, tables: Any) -> None:
        if len(self._logged) == 3:
            raise OSError("no space left on device")
        logged(self, run_id, tables)

    backend = FakeBackend()
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "_log_child", fails_later)
        with pytest.raises(TrackingError, match=r"MLflow failed: .*no space left on device; finished work is kept"):
            run(spec, folder, backend)
    whole = table(folder)
    assert whole.get_column("trial").n_unique() == spec.total_trials
    statuses = [page["status"] for page in pages(folder) if page["under"] == "s"]
    assert sorted(statuses) == ["FINISHED"] * 3 + ["RUNNING"]
    run(spec, folder, NeverAsked())
    assert table(folder).equals(whole)
    shown = [page for page in pages(folder) if page["under"] == "s"]
    assert [page["status"] for page in shown] == ["FINISHED"] * spec.total_trials
    assert all("score" in page["metrics"] and "completions.json" in page["files"] for page in shown)


class CountedBackend(FakeBackend):
    """Writes down every request that it is asked, and takes its time over the answer."""

    def __init__(self, paid: Path) -> None:
        super().__init__()
        self._paid = paid

    async def generate(self, prompt: Any, decoding: Any, seed: int) -> Any:
        with self._paid.open("a") as file:
            file.write(content_hash([prompt.text, asdict(decoding), seed]) + "\n")
        return await super().generate(prompt, decoding, seed)


def interrupted(folder: Path, files: Path, paid: Path) -> None:
    """Run the study in a process of its own."""
    os.setpgid(0, 0)
    run(spec_of(files, queries=make_queries(8)), folder, CountedBackend(paid))


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing_and_pays_for_no_more_than_was_in_flight(
    folder: Path, tmp_path: Path
) -> None:
    FORK.set_forkserver_preload(["ablations.session", "analysis.findings", "mlflow", "tests.test_faults"])
    undisturbed, paid = tmp_path / "undisturbed", tmp_path / "paid"
    shutil.copytree(folder, undisturbed)
    spec = spec_of(tmp_path, queries=make_queries(8))
    run(spec, undisturbed)
    generator, kills = random.Random(0), 0
    paid.touch()
    while True:
        process = FORK.Process(target=interrupted, args=(folder, tmp_path, paid))
        process.start()
        before, wanted, begun = paid.stat().st_size, generator.randint(1, 6), time.monotonic()
        while kills < KILLS and process.is_alive() and _lines(paid, before) < wanted:
            time.sleep(0.002)
            if time.monotonic() - begun > SECONDS:  # all is answered, and it closes its books
                break
        if kills < KILLS and process.is_alive():
            time.sleep(generator.random() * 0.2)
            os.kill(process.pid or 0, signal.SIGKILL)
            kills += 1
        process.join(120)
        if process.exitcode == 0:
            break
    requests = paid.read_text().split()
    in_flight = spec.concurrency * len(spec.queries)
    print(f"{kills} kills: {len(requests)} requests were made for {len(set(requests))} answers")
    assert kills == KILLS
    assert table(folder).equals(table(undisturbed))
    assert len(requests) - len(set(requests)) <= kills * in_flight
    assert [page for page in pages(folder) if page["status"] != "FINISHED"] == []
    assert len(pages(folder)) == len(pages(undisturbed))


def _lines(paid: Path, start: int) -> int:
    with paid.open() as file:
        file.seek(start)
        return file.read().count("\n")
