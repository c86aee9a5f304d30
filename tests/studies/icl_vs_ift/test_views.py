"""Claims about a comparison's views, rebuilt from its results of record, and its arms, asked for again."""

import io
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from ablations.core.errors import StorageError
from ablations.models.resolve import ResolvedModel
from ablations.models.vllm.adapters import AdaptedBackend
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.icl_vs_ift import assembly as tuning_assembly
from ablations.studies.views.rebuild import rebuild
from ablations.studies.views.report import report_study
from ablations.studies.views.reproduction import KeptTrial
from ablations.tracking.client import open_client
from tests.studies.icl_vs_ift.test_plan import write_pool
from tests.support.arms import Named, plan_of, run, spec_of

QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def finished(tiny: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished comparison, one of whose trainings failed."""
    Named.loaded.clear()
    folder = tmp_path_factory.mktemp("finished")
    spec = spec_of(folder, write_pool(folder / "pool.jsonl"))
    run(spec, plan_of(spec, tiny), folder / "mlruns", fails=(2,))
    return folder / "mlruns"


@pytest.fixture
def done(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to do with as one likes."""
    return Path(shutil.copytree(finished, tmp_path / "mlruns"))


def places_of(folder: Path) -> Places:
    return Places.choose(str(folder), None, None, None)


def pages(folder: Path) -> dict[str, Any]:
    """Return what MLflow shows: status, metrics and the steps of losses, by the name of the run."""
    client = open_client(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = (found for found in client.search_experiments() if found.name != "Default")
    return {
        page.info.run_name: (
            page.info.status,
            {
                name: value
                for name, value in page.data.metrics.items()
                if not name.startswith(("seconds", "tokens_per"))
            },
            [(point.step, point.value) for point in client.get_metric_history(page.info.run_id, "loss")],
        )
        for page in client.search_runs([experiment.experiment_id], max_results=1000)
    }


def test_a_rebuilt_view_shows_what_the_live_one_showed(done: Path) -> None:
    before = pages(done)
    assert rebuild(places_of(done), None, QUIET) == []
    after = pages(done)
    assert after.keys() == before.keys()
    for name in before:
        assert after[name] == before[name], name
    assert sum(bool(losses) for _, _, losses in after.values()) == 1


def test_a_comparison_that_was_given_a_larger_size_has_its_views_of_all_sizes(
    done: Path, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, write_pool(tmp_path / "pool.jsonl"))
    folder = tmp_path / "extended"
    run(spec, plan_of(spec, tiny), folder)
    run(spec, plan_of(spec, tiny, sizes=(1, 2, 3)), folder)
    before = pages(folder)
    assert {f"ift_minus_icl/{size}/average" for size in (1, 2, 3)} <= before["s"][1].keys()
    assert len(before) == 1 + 9
    client = open_client(f"sqlite:///{folder / 'mlflow.db'}")
    parameters = {run.info.run_name: run.data.params for run in client.search_runs(["1"], max_results=1000)}
    assert rebuild(places_of(folder), None, QUIET) == []
    after = pages(folder)
    assert after == before
    client = open_client(f"sqlite:///{folder / 'mlflow.db'}")
    assert parameters == {run.info.run_name: run.data.params for run in client.search_runs(["1"], max_results=1000)}


def test_a_comparison_of_which_the_results_alone_are_left_can_be_browsed(done: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(done / "results", alone / "results")
    assert rebuild(places_of(alone), None, QUIET) == []
    live, rebuilt = pages(done), pages(alone)
    assert rebuilt.keys() == live.keys()
    assert {name: status for name, (status, _, _) in rebuilt.items()} == {
        name: status for name, (status, _, _) in live.items()
    }


def test_the_report_shows_both_ways_and_the_arm_that_failed(done: Path) -> None:
    page, markdown = report_study("s", places_of(done), None)
    text = markdown.read_text()
    assert "IFT" in text
    assert "the loss of step 1 of 6 is nan" in text
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize("way", ["zero-shot", "icl", "ift", "aligned"])
def test_an_arm_is_asked_again_of_what_answered_it(way: str, done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def engine(name: str, settings: dict[str, Any], *rest: Any) -> Named:
        asked.append((name, settings))
        return Named(name)

    for maker in ("engine_backend", "other_engine"):
        monkeypatch.setattr(tuning_assembly, maker, engine)
    monkeypatch.setattr(tuning_assembly, "folder_identity", lambda folder: "w")
    frame = pl.read_parquet(places_of(done).results("s"))
    arm = frame.filter(pl.col("arm.way") == way, pl.col("state") == "complete").row(0, named=True)
    store = Store(places_of(done).store)
    kept = KeptTrial.read(store, "s", arm["trial"])
    store.close()
    assert kept.job is None if way != "ift" else kept.job
    if way == "ift":
        with pytest.raises(StorageError, match="are gone; run the study's command again with --fresh"):
            tuning_assembly.arm_backend(kept, "base", {"enable_lora": True}, places_of(done), QUIET)
        (places_of(done).tuned / str(kept.job) / "result").mkdir(parents=True)
        with pytest.raises(StorageError, match="merged are gone; run the study's command again with --fresh"):
            tuning_assembly.arm_backend(kept, "base", {}, places_of(done), QUIET)
    backend = tuning_assembly.arm_backend(kept, "base", {"enable_lora": True}, places_of(done), QUIET)
    assert asked == [("aligned" if way == "aligned" else "base", {"enable_lora": True})]
    assert isinstance(backend, AdaptedBackend if way == "ift" else Named)
    if way == "ift":
        assert backend.identity.model == "base+lora:w"
        assert kept.identity["model"].startswith("base+lora:")
