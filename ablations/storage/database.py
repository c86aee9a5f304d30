"""Databases: an SQLite file or a PostgreSQL server, what is asked of it, and how long a lost one is waited for.

Knows SQLAlchemy's engines, not what is stored in them.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from tenacity import (
    Retrying,
    retry,
    retry_if_exception_message,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from ablations.core.errors import StorageError, redacted
from ablations.storage.workspace import is_server

WAIT_SECONDS = 120.0
"""How long a lost server may take to come back, restarted or failed over."""
LOCKED_SECONDS = 60.0
"""How long a file that another process has locked is waited for."""
_AT_ONCE = 500
_MAKING_TABLES = 0x61626C6174
"""The number of PostgreSQL's lock that is held meanwhile: any, but the same for all."""

_Result = TypeVar("_Result")


class Database:
    """One SQL database, a file or a server.

    Args:
        url: an SQLAlchemy URL.
        make_tables: makes those that the database lacks.

    Raises:
        StorageError: the database cannot be opened, read or written.
    """

    def __init__(self, url: str, make_tables: Callable[[sa.Engine], None]) -> None:
        self.url = url
        with self._errors():
            self._engine = sa.create_engine(url, **engine_settings(url))
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
            try:
                with making_tables(url):
                    make_tables(self._engine)
            except BaseException:
                self.close()
                raise
            wait_where_lost(self._engine)
        self._dialect: Any = sqlite if self._engine.dialect.name == "sqlite" else postgresql
        # Built once: SQLAlchemy takes longer to make a statement than SQLite to carry it out.
        self._inserts: dict[tuple[sa.Table, bool], Any] = {}

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def rows(self, query: sa.Select[Any], **parameters: object) -> Sequence[Any]:
        """Return what a query finds."""

        def found() -> Sequence[Any]:
            with self._engine.connect() as connection:
                return connection.execute(query, parameters).all()

        with self._errors():
            return again_where_cut(found)

    def stream(self, query: sa.Select[Any]) -> Iterator[Any]:
        """Yield what a query finds, of which only a part is in memory."""
        asked = query.execution_options(yield_per=_AT_ONCE)
        with self._errors(), self._engine.connect() as connection, connection.execute(asked) as found:
            yield from found

    def change(self, *statements: sa.Delete | sa.Update) -> int:
        """Carry out statements in one transaction; return how many rows the last one changed."""

        def changed() -> int:
            with self._engine.begin() as connection:
                return [connection.execute(statement).rowcount for statement in statements][-1]

        with self._errors():
            return again_where_cut(changed)

    def insert(self, table: sa.Table, *rows: Mapping[str, object], replace: bool = False) -> bool:
        """Insert rows whose keys are not there, or replace those that are; return whether all were inserted."""

        def inserted() -> bool:
            with self._engine.begin() as connection:
                made = (connection.execute(self._insert(table, replace), row).rowcount for row in rows)
                return bool(sum(made) == len(rows))

        with self._errors():
            return again_where_cut(inserted)

    def _insert(self, table: sa.Table, replace: bool) -> Any:
        if (table, replace) not in self._inserts:
            statement = self._dialect.insert(table).execution_options(preserve_rowcount=True)
            keys = [column.name for column in table.primary_key]
            others = {
                column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys
            }
            self._inserts[table, replace] = (
                statement.on_conflict_do_update(index_elements=keys, set_=others)
                if replace
                else statement.on_conflict_do_nothing()
            )
        return self._inserts[table, replace]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ModuleNotFoundError, ValueError) as error:  # ValueError: a port that is no number
            cause = getattr(error, "orig", None) or error
            raise StorageError(
                f"the store {redacted(self.url)} cannot be used: {cause}; check the address and the file's "
                "permissions, move a damaged file away, or name another with --store"
            ) from error


def engine_settings(url: str) -> dict[str, Any]:
    """Return SQLAlchemy's settings: a server's connections are tried before use, a locked file is waited for."""
    return {"pool_pre_ping": True} if is_server(url) else {"connect_args": {"timeout": LOCKED_SECONDS}}


@contextmanager
def making_tables(url: str) -> Iterator[None]:
    """Let one process at a time make the tables of a server; the others wait until they are there."""
    if not is_server(url):
        yield
        return
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_lock(_MAKING_TABLES)))
            yield
    finally:
        engine.dispose()  # which gives the lock back


def wait_where_lost(engine: sa.Engine) -> None:
    """Let an engine's later connections wait for a server that went away; call it when the first one has been made.

    Where it stays away, only the first of them waits.
    """
    if engine.dialect.name == "sqlite":
        return
    gone_since: list[float] = []

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: object, arguments: Any, settings: Any) -> Any:
        begun = gone_since[0] if gone_since else time.monotonic()
        waiting = Retrying(
            retry=retry_if_exception_type(dialect.loaded_dbapi.OperationalError),
            stop=stop_after_delay(max(WAIT_SECONDS - (time.monotonic() - begun), 0.0)),
            wait=wait_exponential(multiplier=0.25, max=5),
            reraise=True,
        )
        gone_since[:] = [begun]
        connection = waiting(dialect.connect, *arguments, **settings)
        gone_since.clear()
        return connection


def again_where_cut(work: Callable[[], _Result]) -> _Result:
    """Return what a transaction returns; one whose connection was lost within it is made a second time."""
    try:
        return work()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not (isinstance(cause, DBAPIError) and cause.connection_invalidated):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        return work()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # WAL survives a killed process and lets a notebook read while a study writes.
    cursor = connection.cursor()
    _turn_to_wal(cursor)
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


@retry(
    retry=retry_if_exception_message(match="database is locked"),
    stop=stop_after_delay(LOCKED_SECONDS),
    wait=wait_random(0.01, 0.1),
    reraise=True,
)
def _turn_to_wal(cursor: sqlite3.Cursor) -> None:
    # SQLite does not wait for a lock here, and processes that open a new file at one moment meet.
    if cursor.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        cursor.execute("PRAGMA journal_mode=WAL")
