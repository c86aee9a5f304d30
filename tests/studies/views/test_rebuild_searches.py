"""Claims about views made anew of greedy searches and of several models side by side."""

import asyncio
import io
import shutil
import sqlite3
from pathlib import Path

import polars as pl
import pytest
from ablations.studies.alignment.study import compare_models, study_names
from ablations.studies.greedy.search import FOUND_NOTE, Found
from rich.console import Console

from ablations.cli.main import main
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.config.file import find_study_file
from ablations.studies.engine.results import write_results
from tests.studies.alignment.test_alignment import arm
from tests.studies.greedy.test_search import WORDS, NeverStarted, World, make_spec
from tests.studies.views.test_pages import documented
from tests.support.specs import load
from tests.support.world import pages, places_of, rebuilt


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, empty_tracking: Path) -> Path:
    """A folder with the results of a finished greedy search in `mlruns`."""
    folder = tmp_path_factory.mktemp("searched")
    World(folder, empty_tracking).run(make_spec(folder, *WORDS))
    return folder


def test_a_search_shows_its_rounds_and_what_it_found_again(searched: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(searched, tmp_path / "moved")) / "mlruns"
    (moved / "mlflow.db").unlink()
    rebuilt(moved)
    assert pages(moved) == pages(searched / "mlruns")
    shown = {page["name"]: page for page in pages(moved)}
    assert any(name.startswith("round 1: ") for name in shown)
    traced = {page["name"] for page in shown.values() if page["traces"]}
    assert traced == {"held back: the start prompt", "held back: the chosen prompt"}


def test_a_rebuilt_search_is_finished(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = Path(shutil.copytree(searched, tmp_path / "moved"))
    (moved / "mlruns" / "optuna.db").unlink(missing_ok=True)
    rebuilt(moved / "mlruns")
    world = World.__new__(World)
    world.places = Places.choose(str(moved / "mlruns"), None, None, None)
    again = world.run(make_spec(tmp_path, *WORDS), NeverStarted())
    assert again["requests"] == 0
    assert pages(moved / "mlruns") == pages(searched / "mlruns")


def test_every_metric_of_a_search_is_in_the_readme(searched: Path) -> None:
    logged = {name for page in pages(searched / "mlruns") for name in page["metrics"]}
    assert {"gain", "held_back_gain", "racing_share"} <= logged
    assert [name for name in sorted(logged) if not documented(name)] == []


def test_what_a_search_found_comes_back_from_the_store(searched: Path) -> None:
    store = Store(places_of(searched / "mlruns").store)
    kept = store.notes("greedy")[FOUND_NOTE]
    store.close()
    found = Found.from_dict(kept)
    assert Found.from_dict(found.to_dict()) == found
    assert found.prompt_text == (searched / "mlruns" / "results" / "greedy" / "prompt.txt").read_text()


def test_a_search_of_an_older_version_is_shown_without_rounds_until_it_is_run_again(
    searched: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(searched, tmp_path / "moved"))
    with sqlite3.connect(moved / "mlruns" / "store.db") as connection:
        connection.execute("drop table notes")
    connection.close()
    said = rebuilt(moved / "mlruns")
    assert "its rounds are not kept: the command that ran it looks them up and shows them again" in said
    (parent,) = (page for page in pages(moved / "mlruns") if page["under"] is None)
    assert parent["tags"]["mlflow.note.content"].startswith("The rounds of this search are not kept")
    world = World.__new__(World)
    world.places = Places.choose(str(moved / "mlruns"), None, None, None)
    world.run(make_spec(tmp_path, *WORDS), NeverStarted())


def test_models_are_compared_again(tmp_path: Path, empty_tracking: Path) -> None:
    folder = tmp_path / "mlruns"
    folder.mkdir()
    shutil.copy(empty_tracking, folder / "mlflow.db")
    places, names = places_of(folder), study_names("alignment", ["base", "org/aligned"])
    zero = arm("urial", 0, 0.0)
    shown = arm("urial", 3, 0.0).with_columns(trial=pl.lit(9), score=pl.col("score") + 1)
    write_results(pl.concat([zero, shown], how="vertical_relaxed"), places.results(names["base"]))
    chat = arm("chat", 0, 0.0).with_columns(score=pl.col("score") + 3)
    write_results(chat, places.results(names["org/aligned"]))
    asyncio.run(compare_models(load(find_study_file("alignment")), names, places, Console(file=io.StringIO())))
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    said = rebuilt(moved)
    assert "alignment: compared in MLflow" in said
    before = [page for page in pages(folder) if page["name"] == "alignment"]
    after = [page for page in pages(moved) if page["name"] == "alignment"]
    assert len(before) == 1
    assert after == before
    assert [name for name in before[0]["metrics"] if not documented(name)] == []


def test_models_of_which_one_has_no_results_are_left_out_and_that_is_said(
    tmp_path: Path,
    empty_tracking: Path,
    finished: Path,
) -> None:
    folder = tmp_path / "mlruns"
    folder.mkdir()
    shutil.copy(empty_tracking, folder / "mlflow.db")
    places, names = places_of(folder), study_names("alignment", ["base", "other"])
    shutil.copytree(finished / "results" / "s", places.results(names["base"]).parent)
    store = Store(places.store)
    store.add_study("alignment.models-x", {"models": ["base", "other"]})
    store.close()
    said = rebuilt(folder)
    assert "alignment.models-x: left out, because" in said
    assert "1 left out: alignment.models-x" in said
    assert main(["rebuild", "--mlruns", str(folder)]) == 3
    assert "alignment.base: " in said
