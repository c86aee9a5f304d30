"""Claims about studies that are killed: nothing finished is lost, and nothing is paid for twice."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ablations.conditions import content_hash
from tests.fakes import FakeBackend, make_queries
from tests.faults.studies import table
from tests.test_rebuild import pages, run, spec_of

FORK = multiprocessing.get_context("forkserver")
KILLS, SECONDS = 20, 4.0
QUERIES = make_queries(16)


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
    run(spec_of(files, queries=QUERIES), folder, CountedBackend(paid))


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing_and_pays_for_no_more_than_was_in_flight(
    folder: Path, tmp_path: Path
) -> None:
    FORK.set_forkserver_preload(["ablations.session", "analysis.findings", "mlflow", "tests.faults.test_kills"])
    undisturbed, paid = tmp_path / "undisturbed", tmp_path / "paid"
    shutil.copytree(folder, undisturbed)
    spec = spec_of(tmp_path, queries=QUERIES)
    run(spec, undisturbed)
    generator, kills = random.Random(0), 0
    paid.touch()
    while True:
        process = FORK.Process(target=interrupted, args=(folder, tmp_path, paid))
        process.start()
        before, wanted, begun = paid.stat().st_size, generator.randint(1, 6), time.monotonic()
        patience = generator.uniform(1.0, SECONDS)  # where all is answered, and it closes its books
        while kills < KILLS and process.is_alive() and _lines(paid, before) < wanted:
            time.sleep(0.002)
            if time.monotonic() - begun > patience:
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
