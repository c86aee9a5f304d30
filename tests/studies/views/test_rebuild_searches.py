"""Claims about views made again of greedy searches and of several models side by side."""

import shutil
from pathlib import Path

import pytest

from ablations.storage.store import Store
from ablations.studies.greedy.found import FOUND_NOTE, Found
from tests.support.models import compare
from tests.support.searches import WORDS, NeverStarted, make_spec, search
from tests.support.texts import documented
from tests.support.world import World, pages, places_of, rebuilt

pytestmark = pytest.mark.pages


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, empty_tracking: Path) -> Path:
    """A folder with the results of a finished greedy search."""
    folder = tmp_path_factory.mktemp("searched")
    search(World(folder / "mlruns", empty_tracking), make_spec(folder, *WORDS))
    return folder / "mlruns"


def test_a_search_shows_its_rounds_and_what_it_found_again(searched: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(searched, tmp_path / "moved"))
    (moved / "mlflow.db").unlink()
    rebuilt(moved)
    assert pages(moved) == pages(searched)
    shown = {page["name"]: page for page in pages(moved)}
    assert any(name.startswith("round 1: ") for name in shown)
    traced = {page["name"] for page in shown.values() if page["traces"]}
    assert traced == {"held back: the start prompt", "held back: the chosen prompt"}


def test_a_rebuilt_search_is_finished(searched: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(searched, tmp_path / "moved"))
    rebuilt(moved)
    again = search(World(moved), make_spec(tmp_path, *WORDS), NeverStarted())
    assert again.requests == 0
    assert pages(moved) == pages(searched)


def test_every_metric_of_a_search_is_in_the_readme(searched: Path) -> None:
    logged = {name for page in pages(searched) for name in page["metrics"]}
    assert {"gain", "held_back_gain", "racing_share"} <= logged
    assert [name for name in sorted(logged) if not documented(name)] == []


def test_what_a_search_found_comes_back_from_the_store(searched: Path) -> None:
    store = Store(places_of(searched).store)
    stored = store.notes("greedy")[FOUND_NOTE]
    store.close()
    found = Found.from_dict(stored)
    assert Found.from_dict(found.to_dict()) == found
    assert found.prompt_text == (searched / "results" / "greedy" / "prompt.txt").read_text()


def test_models_are_compared_again(tmp_path: Path, empty_tracking: Path) -> None:
    world = World(tmp_path / "mlruns", empty_tracking)
    assert compare(world.folder)[0] == 0
    moved = Path(shutil.copytree(world.folder, tmp_path / "moved"))
    (moved / "mlflow.db").unlink()
    assert "alignment: " in rebuilt(moved)
    before, after = pages(world.folder), pages(moved)
    assert after == before
    (parent,) = (page for page in before if page["under"] is None)
    assert [name for name in parent["metrics"] if not documented(name)] == []
