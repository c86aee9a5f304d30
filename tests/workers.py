"""Workers for tests and benchmarks: processes on one study through PostgreSQL, with an engine without a model."""

import asyncio
import io
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import polars as pl
from optuna.trial import FrozenTrial
from rich.console import Console

from ablations import claims, study
from ablations.conditions import content_hash
from ablations.places import Places
from ablations.records import Completion, Prompt
from ablations.session import Session
from ablations.spec import StudySpec
from ablations.tracking import open_client
from analysis import figures, importance
from tests.fakes import FakeBackend, FakeJudge

WORKERS = multiprocessing.get_context("forkserver")
ROOM = 8
"""Requests that an engine answers at a time."""


class Paid(FakeBackend):
    """Writes down which worker was asked what, and takes its time over the answer."""

    def __init__(self, path: Path, seconds: float, workers: int) -> None:
        super().__init__()
        self._room = asyncio.Semaphore(ROOM)
        self._path = path
        self._seconds = seconds
        self._workers = workers

    async def start(self) -> None:
        """Wait until all workers have loaded their engines."""
        self._path.with_name(f"started-{os.getpid()}").touch()
        while len(list(self._path.parent.glob("started-*"))) < self._workers:
            await asyncio.sleep(0.01)

    async def generate(self, prompt: Prompt, decoding: Any, seed: int) -> Completion:
        with self._path.open("a") as file:
            file.write(f"{os.getpid()} {content_hash([prompt.text, asdict(decoding), seed])}\n")
        async with self._room:
            await asyncio.sleep(self._seconds)
            return await super().generate(prompt, decoding, seed)


@dataclass(frozen=True)
class Shared:
    """What workers share: two databases, MLflow's address, and a file of all requests."""

    folder: Path
    store: str
    storage: str
    tracking: str

    @property
    def paid(self) -> Path:
        return self.folder / "paid"

    @property
    def seconds(self) -> float:
        """From the first worker's loaded engine to the last request."""
        return self.paid.stat().st_mtime - max(file.stat().st_mtime for file in self.folder.glob("started-*"))

    @property
    def requests(self) -> list[tuple[int, str]]:
        lines = (line.split() for line in self.paid.read_text().splitlines())
        return [(int(worker), request) for worker, request in lines]

    def states(self) -> list[str]:
        """Return what Optuna says of each trial."""
        return [trial.state.name for trial in self.trials()]

    def trials(self) -> list[FrozenTrial]:
        """Return Optuna's trials of the study."""
        storage = optuna.storages.RDBStorage(self.storage)
        found = optuna.load_study(study_name="s", storage=storage).trials
        storage.remove_session()
        storage.engine.dispose()
        return found

    def places(self, worker: str) -> Places:
        return Places.choose(str(self.folder / worker), self.store, self.storage, self.tracking)

    def table(self, worker: str, name: str = "s") -> pl.DataFrame:
        return pl.read_parquet(self.places(worker).results(name))

    def pages(self) -> list[Any]:
        client = open_client(self.tracking)
        (experiment,) = (found for found in client.search_experiments() if found.name != "Default")
        return list(client.search_runs([experiment.experiment_id], max_results=1000))


def work(shared: Shared, spec: StudySpec, worker: str, workers: int, seconds: float) -> None:
    """Run the study in a process of its own, with hearts that beat faster than users' do."""
    os.setpgid(0, 0)
    claims.BEAT_SECONDS, claims.DEAD_SECONDS, study.WATCH_SECONDS = 0.2, 4.0, 0.2
    importance.DRAWS, importance.FITS, figures._DRAWN = 4, 2, figures._DRAWN[:1]
    shown = io.StringIO()
    given = (spec, {}, Paid(shared.paid, seconds, workers), FakeJudge(), shared.places(worker))
    try:
        asyncio.run(Session(*given, Console(file=shown, width=200)).run())
    finally:
        (shared.folder / f"{worker}.txt").write_text(shown.getvalue())


def begin(shared: Shared, spec: StudySpec, workers: int, seconds: float) -> list[BaseProcess]:
    WORKERS.set_forkserver_preload(["ablations.session", "analysis.findings", "mlflow", "tests.workers"])
    processes = [
        WORKERS.Process(target=work, args=(shared, spec, f"worker-{number}", workers, seconds))
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    return processes


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds, "what the test waits for did not happen"
        time.sleep(0.01)


def end(processes: list[BaseProcess]) -> list[int | None]:
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]
