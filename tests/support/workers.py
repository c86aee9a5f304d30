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

from ablations.core.condition import content_hash
from ablations.core.records import Completion, Prompt
from ablations.storage import claims
from ablations.storage.workspace import Places
from ablations.studies.conditions import study
from ablations.studies.conditions.confirm_session import ConfirmedSession
from ablations.studies.conditions.confirmation import Confirmation
from ablations.studies.engine import runner as session
from ablations.studies.engine.runner import Session
from ablations.studies.spec import StudySpec
from ablations.tracking.client import open_client
from analysis import figures
from analysis.effects import importance
from tests.support.fakes import FakeBackend, FakeJudge

WORKERS = multiprocessing.get_context("forkserver")
BEAT, DEAD = 0.2, 4.0
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
        self._all_asked = False

    async def start(self) -> None:
        """Wait until all workers have loaded their engines."""
        await self._all("started")

    async def _all(self, step: str) -> None:
        """Wait until all workers have come to this step."""
        self._path.with_name(f"{step}-{os.getpid()}").touch()
        while len(list(self._path.parent.glob(f"{step}-*"))) < self._workers:
            await asyncio.sleep(0.01)

    async def generate(self, prompt: Prompt, decoding: Any, seed: int) -> Completion:
        with self._path.open("a") as file:
            file.write(f"{os.getpid()} {content_hash([prompt.text, asdict(decoding), seed])}\n")
        if not self._all_asked:  # no worker takes all trials before a slow one has come for its first
            await self._all("asked")
            self._all_asked = True
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
        """From the last worker's loaded engine to the last request that was begun."""
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

    def exported(self, worker: str, name: str) -> bool:
        return self.places(worker).results(name).exists()

    def pages(self) -> list[Any]:
        client = open_client(self.tracking)
        (experiment,) = (found for found in client.search_experiments() if found.name != "Default")
        return list(client.search_runs([experiment.experiment_id], max_results=1000))


@dataclass(frozen=True)
class Work:
    """How workers go about a study.

    Attributes:
        workers: how many wait for each other before they begin.
        seconds: that an answer takes.
        confirmation: what is evaluated again at the end, or None.
        closing_seconds: that the first worker to close the books waits before it does; its number is in `closing`.
    """

    workers: int
    seconds: float
    confirmation: Confirmation | None = None
    closing_seconds: float = 0.0


class SlowlyClosed(Session):
    """A session that says that it closes its books, and waits."""

    seconds = 0.0

    async def _close_books(self, *given: Any) -> None:
        closing = self.places.folder.parent / "closing"
        if self.seconds and not closing.exists():
            part = closing.with_suffix(".part")
            part.write_text(str(os.getpid()))
            part.replace(closing)
            await asyncio.sleep(self.seconds)
        await super()._close_books(*given)


def work(shared: Shared, spec: StudySpec, worker: str, how: Work) -> None:
    """Run the study in a process of its own, with hearts that beat faster than users' do."""
    os.setpgid(0, 0)
    claims.BEAT_SECONDS, claims.DEAD_SECONDS = BEAT, DEAD
    study.WATCH_SECONDS = session.WATCH_SECONDS = BEAT
    importance.DRAWS, importance.FITS, figures._DRAWN = 4, 2, figures._DRAWN[:1]
    SlowlyClosed.seconds = how.closing_seconds
    backend = Paid(shared.paid, how.seconds, how.workers)
    shown = io.StringIO()
    given = (spec, {}, backend, FakeJudge(), shared.places(worker), Console(file=shown, width=200))
    confirmed = how.confirmation and ConfirmedSession(*given, confirmation=how.confirmation)
    try:
        asyncio.run((confirmed or SlowlyClosed(*given)).run())
    finally:
        (shared.folder / f"{worker}.txt").write_text(shown.getvalue())


def begin(shared: Shared, spec: StudySpec, how: Work, called: str = "worker") -> list[BaseProcess]:
    """Start the workers; their results are under their names, `worker-0` and so on."""
    for step in ("started", "asked"):
        for mark in shared.folder.glob(f"{step}-*"):
            mark.unlink()
    WORKERS.set_forkserver_preload(
        [
            "ablations.studies.conditions.confirm_session",
            "ablations.studies.conditions.findings",
            "mlflow",
            "tests.support.workers",
        ]
    )
    processes = [
        WORKERS.Process(target=work, args=(shared, spec, f"{called}-{number}", how)) for number in range(how.workers)
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
