"""Claims about a comparison as it runs: one engine at a time, nothing made twice, and no failure passed over."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ablations.studies.icl_vs_ift.study import _steps

from ablations.core.errors import BackendError, StudyMismatchError
from ablations.core.records import Completion
from ablations.core.schema import RESULT_SCHEMA
from ablations.models.resolve import ResolvedModel
from ablations.storage.store import Store
from ablations.storage.workspace import LOSSES_FILE, Places
from ablations.tracking.client import open_client
from analysis.demonstrations.ways import ARM_SCHEMA
from tests.studies.icl_vs_ift.test_plan import write_pool
from tests.support.arms import FakeEngines, Named, plan_of, run, spec_of
from tests.support.specs import changed


@pytest.fixture
def pool(tmp_path: Path) -> str:
    Named.loaded.clear()
    return write_pool(tmp_path / "pool.jsonl")


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.icl_vs_ift.tuning_figures", lambda *given: {})  # tests of analysis have them


def results(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(Places.choose(str(folder), None, None, None).results("s"))


def test_a_whole_comparison_has_an_arm_for_each_way_and_size_with_what_it_took(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec, engines = spec_of(tmp_path, pool), FakeEngines()
    shown, session = run(spec, plan_of(spec, tiny), tmp_path / "mlruns", engines)
    frame = results(tmp_path / "mlruns")
    assert set(frame.columns) == {*RESULT_SCHEMA, *ARM_SCHEMA}
    arms = frame.unique("trial").sort("trial")
    assert arms.get_column("arm.way").to_list() == ["zero-shot", "urial", "aligned", "icl", "ift", "icl", "ift"]
    assert arms.get_column("role").to_list() == ["baseline", *["listed"] * 6]
    assert arms.get_column("arm.examples").to_list() == [0, 0, 0, 1, 1, 2, 2]
    assert arms.get_column("arm.training_tokens").to_list() == [0, 0, 0, 0, 60, 0, 60]
    assert arms.get_column("arm.draw").to_list() == [None, None, None, 0, 0, 0, 0]
    assert frame.group_by("trial").len().get_column("len").unique().to_list() == [spec.turns]
    answers = dict(frame.filter(turn=1, query_id="q0").select("arm.way", "answer").iter_rows())
    assert answers["aligned"].startswith("aligned ")
    assert answers["ift"].startswith("base ")
    assert engines.loaded == ["base", "base", "aligned"]
    assert engines.adapting is not None
    assert len(engines.base.requests) == 4 * spec.turns  # zero-shot, URIAL and two of ICL
    assert len(engines.adapting.requests) == 2 * spec.turns
    assert [adapter.number for adapter in engines.adapters] == [4, 6]
    losses = pl.read_parquet(tmp_path / "mlruns" / "results" / "s" / LOSSES_FILE)
    assert losses.group_by("examples", "draw").len().sort("examples").rows() == [(1, 0, 6), (2, 0, 6)]
    assert "IFT, 1 example of" in shown
    assert len(session.tuner.trained) == 2


def test_a_finished_comparison_run_again_trains_nothing_and_asks_nothing(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, pool)
    run(spec, plan_of(spec, tiny), tmp_path / "mlruns")
    before, engines = results(tmp_path / "mlruns"), FakeEngines()
    shown, session = run(spec, plan_of(spec, tiny), tmp_path / "mlruns", engines)
    assert session.tuner.trained == []
    assert engines.loaded == []
    assert "7 of 7 arms are finished already" in shown
    assert results(tmp_path / "mlruns").equals(before)


def test_a_comparison_whose_engine_fails_goes_on_where_it_was(
    pool: str, tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, folder = spec_of(tmp_path, pool), tmp_path / "mlruns"
    run(spec, plan_of(spec, tiny), tmp_path / "undisturbed")
    original = Named.generate

    async def fails(self: Named, *given: object) -> Completion:
        if self.model == "aligned":
            raise BackendError("out of order")
        return await original(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Named, "generate", fails)
    with pytest.raises(BackendError):
        run(spec, plan_of(spec, tiny), folder)
    assert Named.loaded == []
    monkeypatch.undo()
    engines = FakeEngines()
    _, session = run(spec, plan_of(spec, tiny), folder, engines)
    assert session.tuner.trained == []
    assert engines.loaded == ["aligned"]
    assert results(folder).drop("study").equals(results(tmp_path / "undisturbed").drop("study"))


def test_weights_that_an_engine_takes_no_adapters_for_are_merged_and_loaded_by_themselves(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec, engines = spec_of(tmp_path, pool), FakeEngines(takes_adapters=False)
    run(spec, plan_of(spec, tiny, aligned=None), tmp_path / "mlruns", engines)
    assert [Path(engine.model).name for engine in engines.made if engine.starts] == ["merged"]


def test_all_weights_that_were_tuned_are_loaded_by_themselves(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    spec, engines = spec_of(tmp_path, pool), FakeEngines()
    plan = plan_of(spec, tiny, method="full", aligned=None)
    run(spec, plan, tmp_path / "mlruns", engines)
    assert engines.adapters == []
    assert [Path(engine.model).name for engine in engines.made if engine.starts] == [
        arm.job.key for arm in plan.jobs if arm.job is not None
    ]


def test_an_arm_whose_training_failed_has_rows_with_the_reason_and_the_others_go_on(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, pool)
    shown, _ = run(spec, plan_of(spec, tiny), tmp_path / "mlruns", fails=(2,))
    frame = results(tmp_path / "mlruns")
    failed = frame.filter(pl.col("arm.way") == "ift", pl.col("arm.examples") == 2)
    assert failed.get_column("state").unique().to_list() == ["failed"]
    assert failed.get_column("failed_because").unique().to_list() == ["the loss of step 1 of 6 is nan"]
    assert failed.get_column("answer").null_count() == failed.get_column("score").null_count() == spec.turns
    assert frame.filter(state="complete").get_column("trial").n_unique() == 6
    assert "the loss of step 1 of 6 is nan" in shown
    client = open_client(f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}")
    (experiment,) = (found for found in client.search_experiments() if found.name != "Default")
    pages = {page.info.run_name: page for page in client.search_runs([experiment.experiment_id])}
    assert pages[f"IFT, 2 examples of {pool}, draw 0"].info.status == "FAILED"
    tuned = pages[f"IFT, 1 example of {pool}, draw 0"].info.run_id
    assert [(point.step, point.value) for point in client.get_metric_history(tuned, "loss")] == [
        (step, 3.0 / step) for step in range(1, 7)
    ]


def test_a_failed_arm_cannot_change_its_recipe_unnoticed(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    spec, folder = spec_of(tmp_path, pool), tmp_path / "mlruns"
    run(spec, plan_of(spec, tiny), folder, fails=(2,))
    rate = {"recipe": {"learning_rate": 1e-4}}
    with pytest.raises(StudyMismatchError, match=r"IFT, 2 examples .* tuning\.learning_rate: was 0\.0003, now 0\.0001"):
        run(spec, plan_of(spec, tiny, **rate), folder)


def test_progress_comes_to_its_end_where_every_learning_rate_fails(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, pool)
    plan = plan_of(spec, tiny, sizes=(2,), aligned=None, draws=2, tune_learning_rate=True, held_out=2)
    shown, session = run(spec, plan, tmp_path / "mlruns", fails=(2,))
    assert session.tuner.progress.skipped == sum(_steps(arm) for arm in plan.jobs)
    assert "0/" in shown


def test_lost_answers_are_made_anew_without_training_again(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    import sqlite3

    spec, folder = spec_of(tmp_path, pool), tmp_path / "mlruns"
    run(spec, plan_of(spec, tiny), folder)
    before = results(folder)
    with sqlite3.connect(folder / "store.db") as database:
        database.execute(
            "delete from completions where key in (select completion_key from results where trial = 4 and turn = 1)"
        )
    database.close()
    _, session = run(spec, plan_of(spec, tiny), folder)
    assert session.tuner.trained == []
    assert results(folder).equals(before)


def test_a_comparison_is_given_larger_sizes_later(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    spec, engines = spec_of(tmp_path, pool), FakeEngines()
    run(spec, plan_of(spec, tiny), tmp_path / "mlruns")
    before = results(tmp_path / "mlruns")
    shown, session = run(spec, plan_of(spec, tiny, sizes=(1, 2, 3)), tmp_path / "mlruns", engines)
    assert "7 of 9 arms are finished already" in shown
    assert len(session.tuner.trained) == 1
    assert len(engines.base.requests) == spec.turns
    after = results(tmp_path / "mlruns")
    assert after.filter(pl.col("trial") < 7).equals(before)
    assert after.filter(pl.col("trial") >= 7).get_column("arm.examples").unique().to_list() == [3]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"sizes": (1, 3)}, r"ICL, 2 examples of .*, draw 0: not asked for now\n  IFT, 2 examples"),
        ({"draws": 2}, "ICL, 2 examples of .*, draw 0: others come before it now"),
        ({"sizes": (1,)}, "IFT, 2 examples of .*, draw 0: not asked for now"),
        ({"recipe": {"rank": 4, "epochs": 2}}, "draw 0: tuning.epochs: was 6, now 2; tuning.rank: was 16, now 4"),
        ({"decoding": {"icl": {"temperature": 0.5}}}, r"ICL, 1 example .*: temperature: was 0\.0, now 0\.5"),
        ({"tune_learning_rate": True, "held_out": 1}, "IFT, 1 example of .*: other examples, prompt or model"),
        ({"aligned": "other"}, "aligned: aligned: not asked for now"),
    ],
)
def test_a_comparison_of_other_arms_is_another_study_and_what_differs_is_said(
    options: dict[str, Any], found: str, pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, pool)
    run(spec, plan_of(spec, tiny), tmp_path / "mlruns")
    with pytest.raises(StudyMismatchError, match=found):
        run(spec, plan_of(spec, tiny, **options), tmp_path / "mlruns")


def test_learning_rates_that_were_looked_for_are_used_and_kept(pool: str, tiny: ResolvedModel, tmp_path: Path) -> None:
    spec = spec_of(tmp_path, pool)
    plan = plan_of(spec, tiny, sizes=(1,), aligned=None, draws=2, tune_learning_rate=True, held_out=2)
    shown, session = run(spec, plan, tmp_path / "mlruns")
    assert len(session.tuner.trained) == 6 + 2
    store = Store(f"sqlite:///{tmp_path / 'mlruns' / 'store.db'}")
    note = store.notes("s")["learning-rates"]
    store.close()
    assert {name: len(tried) for name, tried in note.items()} == {f"{pool}, 1 example": 6}
    assert f"Learning rates of {pool}, 1 example, with the loss on held-out answers: 0.0003: 1.000" in shown
    arms = results(tmp_path / "mlruns").filter(pl.col("arm.way") == "ift").unique("trial")
    assert arms.get_column("arm.training_tokens").to_list() == [60 + 6 * 60 // 2] * 2  # the search's, shared by draws
    assert set(arms.get_column("arm.learning_rate")) <= {rate for rate, _ in next(iter(note.values()))}


def test_a_size_of_which_every_learning_rate_fails_has_a_reason_and_the_others_go_on(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, pool)
    plan = plan_of(spec, tiny, aligned=None, tune_learning_rate=True, held_out=2)
    run(spec, plan, tmp_path / "mlruns", fails=(2,))
    arms = results(tmp_path / "mlruns").filter(pl.col("arm.way") == "ift").unique("trial").sort("arm.examples")
    assert arms.get_column("state").to_list() == ["complete", "failed"]
    assert arms.get_column("failed_because")[1].startswith("none of 6 learning rates trains it")


def test_a_study_of_more_draws_finds_what_an_earlier_one_asked_and_trained(
    pool: str, tiny: ResolvedModel, tmp_path: Path
) -> None:
    spec, engines = spec_of(tmp_path, pool), FakeEngines()
    run(spec, plan_of(spec, tiny, aligned=None), tmp_path / "mlruns")
    more = changed(spec, name="more")
    _, session = run(more, plan_of(more, tiny, aligned=None, draws=2), tmp_path / "mlruns", engines)
    assert len(session.tuner.trained) == 2
    assert engines.adapting is not None
    assert len(engines.base.requests) == len(engines.adapting.requests) == 2 * spec.turns
