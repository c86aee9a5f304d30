"""Fixtures that several test modules share."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from mlflow.store.db import utils

from ablations.models.resolve import ResolvedModel
from ablations.tracking.client import open_client
from analysis import figures
from analysis.parameters import importance
from tests.support.servers import Postgres, vllm_server
from tests.support.tiny import make_tiny_model

ROOT = Path(__file__).resolve().parents[1]


def _take_a_core() -> None:
    """Side by side, give each process of tests a core of its own: threads of two engines on one core wait in turns."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    cores = sorted(os.sched_getaffinity(0))
    if worker and len(cores) > 1:
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


_take_a_core()  # before torch counts the cores


def _hurry_databases() -> None:
    """Let SQLite wait for no disk, read Optuna's migrations once and do MLflow's once: each test has new databases."""

    @sa.event.listens_for(sa.engine.Engine, "connect")
    def _(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    migrate, migrated = utils._initialize_tables, list[sqlite3.Connection]()

    def initialise(engine: sa.engine.Engine) -> None:
        if engine.dialect.name != "sqlite":
            migrate(engine)
            return
        with closing(engine.raw_connection()) as opened:
            connection = cast(sqlite3.Connection, opened.driver_connection)
            if migrated:
                migrated[0].backup(connection)
                return
            migrate(engine)
            migrated.append(sqlite3.connect(":memory:", check_same_thread=False))
            connection.backup(migrated[0])

    utils._initialize_tables = initialise
    read, known = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign,assignment]


_hurry_databases()


LONGEST = ("test_engines", "test_whole_study", "test_for_real", "test_tuner", "test_reference", "test_kills")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take minutes, so that two workers end at the same moment."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real files of the field beside the project, or a skip where they are absent."""
    folder = Path(os.environ.get("ABLATIONS_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent; set ABLATIONS_DATA to the folder with icl_alignment/, mt_bench/ and urial/")
    return folder


FITS, DRAWN = importance.FITS, figures._DRAWN


@pytest.fixture(scope="session", autouse=True)
def quick_findings() -> Iterator[None]:
    """Studies that end in a test have findings at once: few resamplings and one figure; see `whole_findings`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importance, "FITS", 4)
        patch.setattr(figures, "_DRAWN", figures._DRAWN[:1])
        yield


@pytest.fixture(scope="module")
def whole_findings() -> Iterator[None]:
    """All resamplings and figures, which tests that are not about findings do without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importance, "FITS", FITS)
        patch.setattr(figures, "_DRAWN", DRAWN)
        yield


@pytest.fixture(scope="session")
def empty_tracking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow's without a run: its migrations take seconds, so they are made once."""
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    open_client(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    """A model that learns in seconds."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL, started once for all tests that need it."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
    server = Postgres(folder)
    yield server
    server.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of vLLM's own server with smollm2, started once for all tests that need it."""
    with vllm_server(tmp_path_factory.mktemp("server") / "server.log") as address:
        yield address
