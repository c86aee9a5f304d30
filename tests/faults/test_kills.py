"""Claims about studies that are killed: nothing finished is lost, and nothing is paid for twice."""

import asyncio
import multiprocessing
import random
import shutil
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ablations.core.condition import content_hash
from tests.support.fakes import FakeBackend, make_queries
from tests.support.fault_studies import table
from tests.support.world import pages, run, spec_of

FORK = multiprocessing.get_context("forkserver")
KILLS, HELD, SECONDS = 20, 12, 4.0
APART = 0.02
"""Seconds between answers that come one after the other."""
QUERIES = make_queries(16)


class CountedBackend(FakeBackend):
    """Writes down what it is asked and what it answers.

    Where it has so many `answers`, they come one after the other, and what is asked after them gets none.
    """

    def __init__(self, paid: Path, answers: int | None) -> None:
        super().__init__()
        self._paid, self._answers, self._turn = paid, answers, asyncio.Lock()

    async def generate(self, prompt: Any, decoding: Any, seed: int) -> Any:
        key = content_hash([prompt.text, asdict(decoding), seed])
        _write(self._paid, key)
        if self._answers is None:
            return await super().generate(prompt, decoding, seed)
        async with self._turn:
            await asyncio.sleep(APART)
            if len(self.requests) >= self._answers:
                await asyncio.Event().wait()
            made = await super().generate(prompt, decoding, seed)
            _write(_answered(self._paid), key)
            return made


def _answered(paid: Path) -> Path:
    return paid.with_name("answered")


def _write(path: Path, key: str) -> None:
    with path.open("a") as file:
        file.write(f"{key}\n")


def interrupted(folder: Path, files: Path, paid: Path, answers: int | None) -> None:
    """Run the study in a process of its own."""
    run(spec_of(files, queries=QUERIES), folder, CountedBackend(paid, answers))


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing_and_pays_for_no_more_than_was_in_flight(
    folder: Path, tmp_path: Path
) -> None:
    FORK.set_forkserver_preload(
        [
            "ablations.studies.engine.runner",
            "ablations.studies.conditions.findings",
            "mlflow",
            "tests.faults.test_kills",
        ]
    )
    undisturbed, paid = tmp_path / "undisturbed", tmp_path / "paid"
    shutil.copytree(folder, undisturbed)
    spec = spec_of(tmp_path, queries=QUERIES)
    run(spec, undisturbed)
    for path in (paid, _answered(paid)):
        path.touch()

    def begun(answers: int | None) -> Any:
        process = FORK.Process(target=interrupted, args=(folder, tmp_path, paid, answers))
        process.start()
        return process

    generator, kills, whole = random.Random(0), 0, SECONDS
    # Half of the kills fall among the answers: so few are given that no machine is fast enough to end before them.
    while kills < KILLS // 2:
        before, process = _answered(paid).stat().st_size, begun(HELD)
        _wait_for(_answered(paid), before, generator.randint(1, HELD))
        time.sleep(generator.random() * APART)
        kills += _killed(process)
    answered = _answered(paid).read_text().split()
    first = len(paid.read_text().split())
    # The others fall anywhere in a run, its start and its finalisation too, and in runs of what is finished.
    while kills < KILLS:
        process, start, moment = begun(None), time.monotonic(), generator.uniform(0.0, whole)
        process.join(moment)
        if process.exitcode is None:
            kills += _killed(process)
        else:
            assert process.exitcode == 0
            whole = time.monotonic() - start
    process = begun(None)
    process.join(120)
    assert process.exitcode == 0
    requests = paid.read_text().split()
    in_flight = spec.concurrency * len(spec.queries)
    print(f"{kills} kills: {len(requests)} requests were made for {len(set(requests))} answers")
    assert table(folder).equals(table(undisturbed))
    assert len(requests) - len(set(requests)) <= kills * in_flight
    lost = len(answered) - len(set(answered)) + len(set(answered) & set(requests[first:]))
    print(f"of {len(answered)} answers of the first half {lost} were asked for again")
    assert lost <= len(answered) / 2  # those that were not yet written down when the process died
    assert [page for page in pages(folder) if page["status"] != "FINISHED"] == []
    assert len(pages(folder)) == len(pages(undisturbed))


def _killed(process: Any) -> bool:
    """Whether a process that was told to die died of it, and had not ended before."""
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return bool(process.exitcode)


def _wait_for(path: Path, start: int, wanted: int) -> None:
    """Wait until as many lines were written since `start`, at most two minutes."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with path.open() as file:
            file.seek(start)
            if file.read().count("\n") >= wanted:
                return
        time.sleep(0.002)
    raise AssertionError("nothing was answered in two minutes")
