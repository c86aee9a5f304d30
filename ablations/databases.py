"""Database servers: how long one that went away is waited for.

Knows SQLAlchemy's engines, not what is kept in them. Of a file
only a lock is waited for: what else is wrong with it stays wrong.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

WAIT_SECONDS = 120.0
"""How long a lost server may take to come back, restarted or failed over."""
LOCKED_SECONDS = 60.0
"""How long a file that another process has locked is waited for."""

_Result = TypeVar("_Result")


def is_server(url: str) -> bool:
    """Whether an SQLAlchemy URL names a server that several machines can share.

    >>> is_server("postgresql://db/ablations"), is_server("sqlite:///mlruns/store.db")
    (True, False)
    """
    return not url.startswith("sqlite")


def engine_settings(url: str) -> dict[str, Any]:
    """Return SQLAlchemy's settings: a server's connections are tried before use, a locked file is waited for."""
    return {"pool_pre_ping": True} if is_server(url) else {"connect_args": {"timeout": LOCKED_SECONDS}}


def wait_where_lost(engine: sa.Engine) -> None:
    """Let an engine's later connections wait for a server that went away; call it when the first one has been made."""
    if engine.dialect.name == "sqlite":
        return

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, arguments: Any, settings: Any) -> Any:
        waiting = Retrying(
            retry=retry_if_exception_type(dialect.loaded_dbapi.OperationalError),
            stop=stop_after_delay(WAIT_SECONDS),
            wait=wait_exponential(multiplier=0.25, max=5),
            reraise=True,
        )
        return waiting(dialect.connect, *arguments, **settings)


def again_where_cut(work: Callable[[], _Result]) -> _Result:
    """Return what a transaction returns; one whose connection was lost within it is made a second time."""
    try:
        return work()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return work()
