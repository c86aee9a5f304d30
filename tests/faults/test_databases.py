"""Claims about locked databases, full disks and MLflow failing: the study waits, or resumes with the same command."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from ablations.core.errors import StorageError, TrackingError
from ablations.storage import database as databases
from ablations.studies.engine.results import part_of, write_results
from ablations.tracking import tracker
from ablations.tracking.run_page import RunPage, log_page
from tests.support.fakes import FakeBackend, make_queries
from tests.support.fault_studies import Command, Disturbed, check_same, table
from tests.support.world import TRIALS, NeverAsked, pages, run, spec_of

DATABASES = ["store.db", "optuna.db"]
LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.rollback()
"""


@contextmanager
def locking() -> Iterator[Callable[[Path, float], None]]:
    """Yield what lets another process lock a database for some seconds, at most until the end."""
    lockers: list[subprocess.Popen[str]] = []

    def start(path: Path, seconds: float) -> None:
        command = [sys.executable, "-c", LOCK, str(path), str(seconds)]
        lockers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert lockers[-1].stdout is not None
        assert lockers[-1].stdout.readline() == "locked\n"

    yield start
    for locker in lockers:
        locker.kill()
        locker.communicate()


@pytest.mark.parametrize("database", DATABASES)
def test_a_database_that_another_process_locks_is_waited_for(
    database: str, command: Command, undisturbed: Command
) -> None:
    with locking() as lock:
        assert command(Disturbed(lambda: lock(command.folder / database, 1.0))) == 0
    check_same(command, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("database", DATABASES)
def test_where_a_database_stays_locked_the_study_ends_with_3_and_the_same_command_goes_on(
    database: str,
    command: Command,
    undisturbed: Command,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    locked_out = Disturbed(lambda: lock(command.folder / database, 600.0))
    with locking() as lock, monkeypatch.context() as patch:
        patch.setattr(databases, "LOCKED_SECONDS", 0.2)
        assert command(locked_out) == 3
    assert "database is locked" in (said := capfd.readouterr().err)
    assert "finished work is stored, the same command resumes" in said
    assert command(FakeBackend()) == 0
    check_same(command, undisturbed, twice=locked_out.most_in_flight)


@contextmanager
def full_disk(path: Path, pages: int) -> Iterator[None]:
    """Let a database grow to so many pages and no further; SQLite then says what it says on a full disk."""
    limited: list[sqlite3.Connection] = []

    def limit(connection: sqlite3.Connection, _record: Any) -> None:
        ((_, _, file),) = connection.execute("PRAGMA database_list")
        if Path(file) == path:
            connection.execute(f"PRAGMA max_page_count = {pages}")
            limited.append(connection)

    sa.event.listen(sa.pool.Pool, "connect", limit)
    try:
        yield
    finally:
        sa.event.remove(sa.pool.Pool, "connect", limit)
        for connection in limited:
            with suppress(sqlite3.ProgrammingError):  # it is closed
                connection.execute(f"PRAGMA max_page_count = {2**30}")


def size(path: Path) -> int:
    """The pages of a database."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])


@pytest.mark.slow
@pytest.mark.parametrize("database", [*DATABASES, "mlflow.db"])
def test_where_the_disk_is_full_the_study_ends_with_3_and_goes_on_when_there_is_room(
    database: str, command: Command, undisturbed: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    out_of_room = FakeBackend()
    with full_disk(command.folder / database, pages=size(undisturbed.folder / database) - 1):
        assert command(out_of_room) == 3
    assert "database or disk is full" in (said := capfd.readouterr().err)
    assert "finished work is stored" in said
    assert command(FakeBackend()) == 0
    check_same(command, undisturbed, twice=out_of_room.most_in_flight)


def fill_disk(results: Path) -> None:
    """Let what is written beside the results go where there is no room, until somebody makes some."""
    results.parent.mkdir(parents=True, exist_ok=True)
    part_of(results).symlink_to("/dev/full")


def test_results_that_the_disk_has_no_room_for_leave_the_old_ones_and_no_remnant(tmp_path: Path) -> None:
    path = tmp_path / "results" / "results.parquet"
    old, new = pl.DataFrame({"score": [1.0]}), pl.DataFrame({"score": [2.0]})
    write_results(old, path)
    fill_disk(path)
    with pytest.raises(StorageError, match=r"results\.parquet cannot be written: .*; free the disk"):
        write_results(new, path)
    assert pl.read_parquet(path).equals(old)
    assert [found.name for found in path.parent.iterdir()] == ["results.parquet"]
    write_results(new, path)
    assert pl.read_parquet(path).equals(new)


def test_a_study_without_room_for_its_results_keeps_them_in_the_store(
    command: Command, undisturbed: Command, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(FakeBackend(), trials=TRIALS - 2) == 0
    before = table(command.folder)
    fill_disk(command.results)
    assert command(FakeBackend()) == 3
    assert "finished work is stored, the same command resumes" in capfd.readouterr().err
    assert table(command.folder).equals(before)
    assert command(NeverAsked()) == 0
    check_same(command, undisturbed)


def test_a_study_goes_on_without_mlflow_and_its_pages_are_made_by_the_next_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tmp_path, queries=make_queries(12))
    written: list[str] = []

    def fails_later(client: Any, run_id: str, page: RunPage) -> None:
        if "completions.json" in page.tables:
            if len(written) == 3:
                raise OSError("no space left on device")
            written.append(run_id)
        log_page(client, run_id, page)

    backend = FakeBackend()
    with monkeypatch.context() as patch:
        patch.setattr(tracker, "log_page", fails_later)
        with pytest.raises(TrackingError, match=r"MLflow failed: .*no space left on device; finished work is stored"):
            run(spec, folder, backend)
    whole = table(folder)
    assert whole.get_column("trial").n_unique() == spec.total_trials
    statuses = [page["status"] for page in pages(folder) if page["under"] == "s"]
    assert statuses.count("FINISHED") == 3
    assert "RUNNING" in statuses
    run(spec, folder, NeverAsked())
    assert table(folder).equals(whole)
    shown = [page for page in pages(folder) if page["under"] == "s"]
    assert [page["status"] for page in shown] == ["FINISHED"] * spec.total_trials
    assert all("score" in page["metrics"] and "completions.json" in page["files"] for page in shown)
