"""Claims about locks: a study has one driver at a time, and a lock is free the moment its holder ends."""

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ablations.core.errors import StorageError
from ablations.storage.locks import AdvisoryLock, study_lock
from ablations.storage.workspace import REPOSITORY, Places

if TYPE_CHECKING:  # each process that is begun here imports this module
    from tests.support.servers import Postgres

HOLD = """
import sys, time
from ablations.storage.locks import study_lock
from ablations.storage.workspace import Places
with study_lock(Places.choose(sys.argv[1], sys.argv[2] or None, None, None), "s"):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture(params=["file", "postgresql"])
def given(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str | None]:
    """A folder, and the address of its store where that is not in it."""
    (tmp_path / "mlruns").mkdir()
    server = request.getfixturevalue("postgres").database() if request.param == "postgresql" else None
    return str(tmp_path / "mlruns"), server


def places_of(given: tuple[str, str | None]) -> Places:
    return Places.choose(given[0], given[1], None, None)


@contextmanager
def held(given: tuple[str, str | None]) -> Iterator["subprocess.Popen[str]"]:
    """Another process holds the lock of the study `s`, until a signal ends it."""
    command = [sys.executable, "-c", HOLD, given[0], given[1] or ""]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def free(places: Places, study: str) -> bool:
    try:
        with study_lock(places, study):
            return True
    except StorageError:
        return False


def test_a_study_that_another_process_runs_is_refused_by_name_and_others_are_free(
    given: tuple[str, str | None],
) -> None:
    places = places_of(given)
    with held(given):
        with pytest.raises(StorageError, match="'s'"), study_lock(places, "s"):
            pass
        assert free(places, "other")


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGKILL])
def test_the_lock_of_a_process_that_was_killed_is_free(told: signal.Signals, given: tuple[str, str | None]) -> None:
    places = places_of(given)
    with held(given) as process:
        process.send_signal(told)
        process.wait()
    deadline = time.monotonic() + 20  # a server needs a moment to see that a connection has ended
    while not free(places, "s"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_lock_is_given_back_whatever_happens_under_it(given: tuple[str, str | None]) -> None:
    places = places_of(given)

    def fails() -> None:
        with study_lock(places, "s") as check:
            check()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert free(places, "s")


def _take(given: tuple[str, str | None], together: Barrier, taken: "Queue[bool]", end: Event) -> None:
    together.wait(timeout=120)
    try:
        with study_lock(places_of(given), "s"):
            taken.put(True)
            end.wait(timeout=120)
    except StorageError:
        taken.put(False)


def test_of_processes_that_begin_at_the_same_moment_one_has_the_study(given: tuple[str, str | None]) -> None:
    spawn = multiprocessing.get_context("spawn")
    together, taken, end = spawn.Barrier(3), spawn.Queue(), spawn.Event()
    processes = [spawn.Process(target=_take, args=(given, together, taken, end)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [taken.get(timeout=120) for _ in processes]
    end.set()
    for process in processes:
        process.join()
    assert sorted(found) == [False, False, True]


def test_a_server_that_frees_a_lost_lock_late_is_waited_for(postgres: "Postgres") -> None:
    url = postgres.database()
    mine, late = AdvisoryLock(url, "s"), AdvisoryLock(url, "s")
    assert mine.acquire()
    assert mine._connection is not None
    mine._connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
    while not late.acquire():  # in the place of the server's end of the connection that was cut
        time.sleep(0.05)
    freed = threading.Timer(0.5, late.release)
    freed.start()
    assert mine.acquire()
    freed.join()
    mine.release()


def test_a_lock_whose_connection_was_cut_is_taken_again_unless_another_has_it(postgres: "Postgres") -> None:
    url = postgres.database()
    mine, other = AdvisoryLock(url, "s"), AdvisoryLock(url, "s")
    assert mine.acquire()
    assert mine.acquire(), "it is held already"
    assert not other.acquire()
    assert mine._connection is not None
    mine._connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
    assert mine.acquire(), "nobody else took it"
    mine._connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
    while not other.acquire():
        time.sleep(0.05)
    assert not mine.acquire()
    other.release()
    assert mine.acquire()
    mine.release()


def test_a_server_that_cannot_be_reached_is_one_message_without_its_password() -> None:
    url = "postgresql://someone:secret@127.0.0.1:1/none"
    with pytest.raises(StorageError, match=r"the store postgresql.* cannot be used") as caught:
        AdvisoryLock(url, "s").acquire()
    assert "secret" not in str(caught.value)
