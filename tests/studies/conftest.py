"""Folders of results for studies without a model."""

from pathlib import Path

import pytest

from ablations.studies.engine import runner
from tests.support.world import Pageless, World


@pytest.fixture(autouse=True)
def _pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write pages in MLflow where a test looks at them, which is marked so: they take a third of such a study."""
    if not request.node.get_closest_marker("pages") and not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(runner, "Tracker", Pageless)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """An empty folder of results; of a test marked `pages` with a database of MLflow's."""
    pages = request.node.get_closest_marker("pages") is not None
    return World(tmp_path / "mlruns", request.getfixturevalue("empty_tracking") if pages else None)
