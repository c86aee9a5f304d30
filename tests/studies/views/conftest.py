"""A finished study, and a copy of its folder elsewhere."""

import shutil
from pathlib import Path

import pytest

from tests.support.world import World, spec_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_tracking: Path) -> Path:
    """A folder of results with one finished study, `s`."""
    folder = tmp_path_factory.mktemp("finished")
    world = World(folder / "mlruns", empty_tracking)
    world.run(spec_of(folder))
    return world.folder


@pytest.fixture
def moved(finished: Path, tmp_path: Path) -> Path:
    """The same folder elsewhere; where it was, nothing can be read."""
    return Path(shutil.copytree(finished, tmp_path / "moved"))
