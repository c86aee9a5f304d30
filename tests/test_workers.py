"""Claims about several processes that work on one study through PostgreSQL: each trial once, whoever is killed."""

import asyncio
import io
import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest
from optuna.trial import FrozenTrial
from rich.console import Console

from ablations import claims, study
from ablations.conditions import content_hash
from ablations.places import Places
from ablations.records import Completion, Prompt
from ablations.session import Session
from ablations.spec import StudySpec
from ablations.store import Store
from ablations.tracking import open_client
from analysis import figures, importance
from tests.fakes import FakeBackend, FakeJudge, make_queries
from tests.servers import Postgres, mlflow_server
from tests.test_rebuild import run, spec_of

WORKERS = multiprocessing.get_context("forkserver")


class Paid(FakeBackend):
    """Writes down which worker was asked what, and takes its time over the answer."""

    def __init__(self, path: Path, seconds: float, workers: int) -> None:
        super().__init__()
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


@pytest.fixture
def shared(postgres: Postgres, tmp_path: Path, empty_tracking: Path) -> Shared:
    shutil.copy(empty_tracking, tmp_path / "mlflow.db")
    made = Shared(tmp_path, postgres.database(), postgres.database(), f"sqlite:///{tmp_path / 'mlflow.db'}")
    made.paid.touch()
    return made


@pytest.fixture
def served(shared: Shared) -> Iterator[Shared]:
    """As `shared`, with MLflow's own server."""
    with mlflow_server(shared.folder) as address:
        yield replace(shared, tracking=address)


def begin(shared: Shared, spec: StudySpec, workers: int, seconds: float) -> list[BaseProcess]:
    WORKERS.set_forkserver_preload(["ablations.session", "analysis.findings", "mlflow", "tests.test_workers"])
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


@pytest.mark.slow
def test_four_workers_evaluate_every_trial_once_and_find_what_one_alone_finds(
    served: Shared, tmp_path: Path, empty_tracking: Path
) -> None:
    shared, spec = served, spec_of(tmp_path, queries=make_queries(6), concurrency=1)
    assert end(begin(shared, spec, 4, seconds=0.05)) == [0] * 4
    counted = Counter(request for _, request in shared.requests)
    assert set(counted.values()) == {1}
    assert len({worker for worker, _ in shared.requests}) == 4
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(empty_tracking, alone / "mlflow.db")
    run(spec, alone)
    undisturbed = pl.read_parquet(Places.choose(str(alone), None, None, None).results("s"))
    conditions = ["condition_id", "replicate", "query_id", "turn"]
    found = [shared.table(f"worker-{number}").drop("trial").sort(conditions) for number in range(4)]
    assert all(frame.equals(undisturbed.drop("trial").sort(conditions)) for frame in found)
    assert shared.states() == ["COMPLETE"] * spec.total_trials
    children = [page for page in shared.pages() if page.data.tags["ablations.kind"] == "trial"]
    (parent,) = (page for page in shared.pages() if page.data.tags["ablations.kind"] == "study")
    assert sorted(int(page.data.tags["ablations.trial"]) for page in children) == list(range(spec.total_trials))
    assert {page.info.status for page in [parent, *children]} == {"FINISHED"}
    assert "ablations.headline" in parent.data.tags
    with_store = Store(shared.store)
    assert with_store.counts()["claims"] == 0
    with_store.close()


@pytest.mark.slow
def test_killed_workers_trials_are_taken_over_and_no_other_trial_is_made_twice(shared: Shared, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, queries=make_queries(6), concurrency=2)
    processes = begin(shared, spec, 3, seconds=0.1)
    victim = processes[0]
    wait_for(lambda: sum(worker == victim.pid for worker, _ in shared.requests) > 8)
    os.kill(victim.pid or 0, signal.SIGKILL)
    assert end(processes) == [-signal.SIGKILL, 0, 0]
    counted = Counter(request for _, request in shared.requests)
    in_flight = 2 * spec.concurrency * len(spec.queries)
    assert sum(counted.values()) - len(counted) <= in_flight
    frame = shared.table("worker-1")
    assert frame.get_column("trial").n_unique() == spec.total_trials
    assert len(frame) == spec.total_trials * spec.turns
    assert shared.states() == ["COMPLETE"] * spec.total_trials
    statuses = Counter(page.info.status for page in shared.pages())
    assert statuses == {"FINISHED": spec.total_trials + 1}


@pytest.mark.slow
def test_workers_of_a_search_know_each_others_scores_and_draw_differently(shared: Shared, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, queries=make_queries(6), mode="search", sampler="tpe", concurrency=1)
    assert end(begin(shared, spec, 2, seconds=0.05)) == [0, 0]
    trials = shared.trials()
    assert len(trials) == spec.total_trials
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    chosen = [tuple(trial.params.items()) for trial in trials if "design" not in trial.user_attrs]
    assert len(set(chosen)) > len(chosen) / 2
    for number in range(2):
        assert shared.table(f"worker-{number}").get_column("trial").n_unique() == spec.total_trials


@pytest.mark.slow
def test_a_database_that_is_away_for_some_seconds_is_waited_for(
    shared: Shared, tmp_path: Path, postgres: Postgres
) -> None:
    spec = spec_of(tmp_path, queries=make_queries(6))
    processes = begin(shared, spec, 1, seconds=0.1)
    wait_for(lambda: len(shared.requests) > 20)
    with postgres.away():
        time.sleep(3)
        assert processes[0].is_alive()
    assert end(processes) == [0]
    assert shared.table("worker-0").get_column("trial").n_unique() == spec.total_trials
    assert set(Counter(request for _, request in shared.requests).values()) == {1}
