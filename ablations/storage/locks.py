"""Locks: who runs a study, so that each has one driver.

A file's lock is the operating system's, a server's is PostgreSQL's advisory lock: both are free the moment their
process ends, however it does. Knows studies by name alone.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ablations.core.errors import StorageError, reason, redacted
from ablations.storage.database import wait_where_lost
from ablations.storage.workspace import Places, is_server

_NOTICED_SECONDS = 3.0
"""How long a server may take to see that a connection was cut, and to free what it had locked."""
_TAKEN = "the study {study!r} is being run by another process; wait for it, or use --name for a second study"


@contextmanager
def study_lock(places: Places, study: str) -> Iterator[Callable[[], None]]:
    """Keep other processes off a study; yields what raises `StorageError` where another one has it by now.

    Raises:
        StorageError: another process runs the study.
    """
    lock = (
        _advisory_lock(places.store, study) if is_server(places.store) else _file_lock(places.lock_file(study), study)
    )
    with lock as check:
        yield check


@contextmanager
def _advisory_lock(store: str, study: str) -> Iterator[Callable[[], None]]:
    lock = AdvisoryLock(store, f"study {study}")

    def check() -> None:
        if not lock.acquire():
            raise StorageError(_TAKEN.format(study=study))

    check()
    try:
        yield check
    finally:
        lock.release()


@contextmanager
def _file_lock(path: Path, study: str) -> Iterator[Callable[[], None]]:
    lock = FileLock(path)
    try:
        path.parent.mkdir(exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StorageError(_TAKEN.format(study=study)) from error
    except OSError as error:
        raise StorageError(
            f"the lock {path} cannot be written: {reason(error)}; correct the folder's permissions"
        ) from error
    try:
        yield lambda: None
    finally:
        lock.release()


class AdvisoryLock:
    """A lock of PostgreSQL's, held by a connection of its own until that ends.

    Args:
        url: an SQLAlchemy URL of a server.
        name: what is locked.
    """

    def __init__(self, url: str, name: str) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        self._key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        self._connection: sa.Connection | None = None
        self._known = False

    def acquire(self) -> bool:
        """Take the lock, or see that it is still held; False where another process has it.

        Raises:
            StorageError: the server cannot be reached.
        """
        until = time.monotonic()
        try:
            if self._connection is not None:
                self._connection.execute(sa.select(1))
                return True
        except DBAPIError:  # the server went away, and the lock with it
            self.release()
            until += _NOTICED_SECONDS
        try:
            connection = self._engine.connect()
            if not self._known:  # the first connection fails at once, later ones wait for a server that went away
                wait_where_lost(self._engine)
                self._known = True
            while not connection.execute(sa.select(sa.func.pg_try_advisory_lock(self._key))).scalar():
                if time.monotonic() >= until:
                    connection.close()
                    return False
                time.sleep(0.05)
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise StorageError(f"the store {redacted(str(self._engine.url))} cannot be used: {cause}") from error
        self._connection = connection
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._connection is not None:
            with suppress(SQLAlchemyError):
                if not self._connection.invalidated:  # a server sees late that a connection has ended
                    self._connection.execute(sa.select(sa.func.pg_advisory_unlock(self._key)))
                self._connection.close()
            self._connection = None
