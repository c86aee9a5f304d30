"""Claims about several processes that work on one study through PostgreSQL: each trial once, whoever is killed."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.conditions.confirmation import Confirmation, HeldBack
from tests.studies.views.test_rebuild import run, spec_of
from tests.support.fakes import make_queries
from tests.support.servers import Postgres, mlflow_server
from tests.support.specs import changed
from tests.support.workers import DEAD, Shared, Work, begin, end, wait_for


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


@pytest.mark.slow
def test_four_workers_evaluate_every_trial_once_and_find_what_one_alone_finds(
    served: Shared, tmp_path: Path, empty_tracking: Path
) -> None:
    shared, spec = served, spec_of(tmp_path, queries=make_queries(6), concurrency=1)
    assert end(begin(shared, spec, Work(4, 0.3))) == [0] * 4
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
    processes = begin(shared, spec, Work(3, 0.1))
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
def test_workers_of_a_search_draw_differently_and_one_of_them_confirms_its_best_conditions(
    shared: Shared, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, queries=make_queries(6), mode="search", sampler="tpe", concurrency=1)
    confirmation = Confirmation(best=1, held_back=HeldBack(make_queries(9)[6:], ()))
    assert end(begin(shared, spec, Work(2, 0.05, confirmation=confirmation))) == [0, 0]
    assert sum(shared.exported(f"worker-{number}", "s.confirmation") for number in range(2)) == 1
    trials = shared.trials()
    assert len(trials) == spec.total_trials
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "PRUNED"}
    chosen = [tuple(trial.params.items()) for trial in trials if "design" not in trial.user_attrs]
    assert len(set(chosen)) > len(chosen) / 2
    for number in range(2):
        assert shared.table(f"worker-{number}").get_column("trial").n_unique() == spec.total_trials


@pytest.mark.slow
def test_books_that_a_killed_worker_left_open_are_closed_by_another_and_the_next_run_closes_them_again(
    shared: Shared, tmp_path: Path
) -> None:
    spec = changed(spec_of(tmp_path, queries=make_queries(2)), trials=4)
    processes = begin(shared, spec, Work(2, 0.02, closing_seconds=30.0))
    closing = tmp_path / "closing"
    wait_for(closing.exists)
    os.kill(int(closing.read_text()), signal.SIGKILL)
    assert sorted(end(processes), key=str) == [-signal.SIGKILL, 0]
    assert {page.info.status for page in shared.pages()} == {"FINISHED"}
    closing.unlink()
    assert end(begin(shared, spec, Work(1, 0.02))) == [0]
    assert "Baseline (" in (tmp_path / "worker-0.txt").read_text()
    assert {page.info.status for page in shared.pages()} == {"FINISHED"}


@pytest.mark.slow
def test_a_worker_that_joins_with_more_trials_makes_them(shared: Shared, tmp_path: Path) -> None:
    spec = changed(spec_of(tmp_path, queries=make_queries(2), concurrency=1), trials=4)
    first = begin(shared, spec, Work(1, 0.3))
    wait_for(lambda: len(shared.requests) > 2)
    more = changed(spec, trials=8)
    assert end(first + begin(shared, more, Work(1, 0.02), "late")) == [0, 0]
    assert shared.table("late-0").get_column("trial").n_unique() == more.total_trials
    assert set(Counter(request for _, request in shared.requests).values()) == {1}


@pytest.mark.slow
def test_a_database_that_is_away_is_waited_for_and_nobody_counts_as_dead_meanwhile(
    shared: Shared, tmp_path: Path, postgres: Postgres
) -> None:
    spec = spec_of(tmp_path, queries=make_queries(6))
    processes = begin(shared, spec, Work(2, 0.1))
    wait_for(lambda: len(shared.requests) > 20)
    with postgres.away():
        time.sleep(DEAD + 2)
        assert all(process.is_alive() for process in processes)
    assert end(processes) == [0, 0]
    assert shared.table("worker-0").get_column("trial").n_unique() == spec.total_trials
    assert set(Counter(request for _, request in shared.requests).values()) == {1}
