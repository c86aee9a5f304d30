"""Claims about a comparison's views, rebuilt from its results of record, and its arms, asked for again."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.core.errors import StorageError
from ablations.models.resolve import ResolvedModel
from ablations.models.training.jobs import MERGED, RESULT
from ablations.models.vllm.adapters import AdaptedBackend
from ablations.studies.views import reproduction
from ablations.studies.views.report import report_study
from ablations.studies.views.reproduction import StoredTrial, backend_of
from ablations.tracking.client import open_client
from tests.support.arms import LOST, FakePlacement, plan_of, run, spec_of
from tests.support.colours import write_pool
from tests.support.models import ALIGNED, Named
from tests.support.world import World

pytestmark = pytest.mark.pages

Page = tuple[str, Mapping[str, float], Mapping[str, str], list[tuple[int, float]]]
"""Status, metrics, parameters, and the loss by step."""


@pytest.fixture(scope="module")
def finished(tiny: ResolvedModel, tmp_path_factory: pytest.TempPathFactory, empty_tracking: Path) -> Path:
    """A folder with a finished comparison, one of whose trainings failed."""
    Named.loaded.clear()
    folder = tmp_path_factory.mktemp("finished")
    spec = spec_of(folder, write_pool(folder / "pool.jsonl"))
    run(spec, plan_of(spec, tiny), World(folder / "mlruns", empty_tracking), FakePlacement(fails={2}))
    return folder / "mlruns"


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> World:
    """A copy of it, to do with as one likes."""
    return World(Path(shutil.copytree(finished, tmp_path / "mlruns")))


def pages(world: World) -> dict[str, Page]:
    """Return what MLflow shows by the name of the run, but for what was measured in time."""
    client = open_client(world.places.tracking_uri)
    return {
        page.info.run_name: (
            page.info.status,
            {
                name: value
                for name, value in page.data.metrics.items()
                if not name.startswith(("seconds", "tokens_per"))
            },
            page.data.params,
            [(point.step, point.value) for point in client.get_metric_history(page.info.run_id, "loss")],
        )
        for page in world.runs()
    }


def test_a_rebuilt_view_shows_what_the_live_one_showed(done: World) -> None:
    before = pages(done)
    assert "left out" not in done.rebuild()
    after = pages(done)
    assert after.keys() == before.keys()
    for name in before:
        assert after[name] == before[name], name
    assert sum(bool(losses) for *_, losses in after.values()) == 1


def test_a_comparison_that_was_given_a_larger_size_has_its_views_of_all_sizes(
    tiny: ResolvedModel, tmp_path: Path, empty_tracking: Path
) -> None:
    spec, world = spec_of(tmp_path, write_pool(tmp_path / "pool.jsonl")), World(tmp_path / "extended", empty_tracking)
    run(spec, plan_of(spec, tiny), world)
    run(spec, plan_of(spec, tiny, sizes=(1, 2, 3)), world)
    before = pages(world)
    assert {f"ift_minus_icl/{size}/average" for size in (1, 2, 3)} <= before["s"][1].keys()
    assert len(before) == 1 + 9
    assert "left out" not in world.rebuild()
    assert pages(world) == before


def test_a_comparison_of_which_the_results_alone_are_left_can_be_browsed(done: World, tmp_path: Path) -> None:
    alone = World(tmp_path / "alone")
    shutil.copytree(done.folder / "results", alone.folder / "results")
    assert "left out" not in alone.rebuild()
    live, rebuilt = pages(done), pages(alone)
    assert rebuilt.keys() == live.keys()
    assert {name: page[0] for name, page in rebuilt.items()} == {name: page[0] for name, page in live.items()}


def test_the_report_shows_both_ways_and_the_arm_that_failed(done: World) -> None:
    page, markdown = report_study("s", done.places, None)
    text = markdown.read_text()
    assert "IFT" in text
    assert LOST in text
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize("way", ["zero-shot", "icl", "ift", "aligned"])
def test_an_arm_is_asked_again_of_what_answered_it(way: str, done: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Mapping[str, object]]] = []

    def engine(name: str, settings: Mapping[str, object], *_: object) -> Named:
        asked.append((name, settings))
        return Named(name)

    for maker in ("engine_backend", "other_engine"):
        monkeypatch.setattr(reproduction, maker, engine)
    monkeypatch.setattr(reproduction, "folder_identity", lambda folder: "w")
    number = next(
        number
        for number, record in done.records("s").items()
        if record.arm["way"] == way and record.failed_because is None
    )
    stored = answered_with(StoredTrial.read(done.store, "s", number), {"enable_lora": True, "vllm": "0.0"})
    assert bool(stored.job) == (way == "ift")
    assert stored.answered_by_other == (ALIGNED if way == "aligned" else None)
    if way == "ift":
        with pytest.raises(StorageError, match="are gone; run the study's command again with --fresh"):
            backend_of(stored, "base", done.places, print)
        (done.places.tuned / str(stored.job) / RESULT).mkdir(parents=True)
        with pytest.raises(StorageError, match=f"{MERGED} are gone; run the study's command again with --fresh"):
            backend_of(answered_with(stored, {}), "base", done.places, print)
    backend = backend_of(stored, "base", done.places, print)
    assert asked == [(ALIGNED if way == "aligned" else "base", {"enable_lora": True})]
    assert isinstance(backend, AdaptedBackend if way == "ift" else Named)
    if way == "ift":
        assert backend.identity.model == "base+lora:w"
        assert stored.identity["model"].startswith("base+lora:")


def answered_with(stored: StoredTrial, settings: Mapping[str, object]) -> StoredTrial:
    """Return a trial as if an engine with these settings had answered it."""
    return replace(stored, identity={**stored.identity, "engine": settings})
