"""A study's command in an empty folder, the same study undisturbed, and Ctrl-C."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.fakes import FakeBackend
from tests.support.fault_studies import Command


def make_folder(inside: Path, empty_tracking: Path) -> Path:
    """Return a folder for results with an empty database of MLflow's, and one of Optuna's that grows by small pages."""
    made = inside / "mlruns"
    made.mkdir()
    shutil.copy(empty_tracking, made / "mlflow.db")
    with closing(sqlite3.connect(made / "optuna.db")) as connection:
        connection.executescript("PRAGMA page_size = 512; CREATE TABLE first (page); DROP TABLE first")
    return made


@pytest.fixture
def folder(tmp_path: Path, empty_tracking: Path) -> Path:
    return make_folder(tmp_path, empty_tracking)


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(folder.parent, monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, empty_tracking: Path) -> Command:
    """The study run without a fault."""
    folder = make_folder(tmp_path_factory.mktemp("undisturbed"), empty_tracking)
    with pytest.MonkeyPatch.context() as patch:
        whole = Command(folder.parent, patch)
        assert whole(FakeBackend()) == 0
    return whole


@pytest.fixture
def interrupts() -> Iterator[Callable[[], None]]:
    """Press Ctrl-C, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)
