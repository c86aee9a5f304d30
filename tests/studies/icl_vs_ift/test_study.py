"""Claims about a comparison as it runs: one engine at a time, nothing made twice, and no failure passed over."""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from ablations.core.condition import DecodingParams
from ablations.core.errors import BackendError, JudgeError, StudyMismatchError
from ablations.core.records import Completion, Prompt
from ablations.core.schema import RESULT_SCHEMA
from ablations.models.resolve import ResolvedModel
from ablations.models.training.jobs import MERGED, RESULT
from ablations.storage.store import Store
from ablations.studies.icl_vs_ift import findings
from ablations.studies.icl_vs_ift.learning_rate import TRIED
from ablations.studies.icl_vs_ift.plan import RATES_NOTE, Arm
from ablations.tracking.client import open_client
from analysis.demonstrations.ways import ARM_SCHEMA
from analysis.report.page import Figures
from tests.support.arms import LOST, FakePlacement, FakeTuner, plan_of, run, spec_of
from tests.support.colours import write_pool
from tests.support.fakes import FakeJudge
from tests.support.models import ALIGNED, Named
from tests.support.specs import changed
from tests.support.world import World


@pytest.fixture
def pool(tmp_path: Path) -> str:
    Named.loaded.clear()
    return write_pool(tmp_path / "pool.jsonl")


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "tuning_figures", lambda *_: Figures())  # tests of analysis have them


def test_a_whole_comparison_has_an_arm_for_each_way_and_size_with_what_it_took(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    shown, placement = run(spec, plan_of(spec, tiny), world)
    frame = world.frame("s")
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
    assert placement.loaded == ["base", "base", "aligned"]
    assert placement.adapting is not None
    assert len(placement.base.requests) == 4 * spec.turns  # zero-shot, URIAL and two of ICL
    assert len(placement.adapting.requests) == 2 * spec.turns
    assert [adapter.number for adapter in placement.adapters] == [4, 6]
    losses = pl.read_parquet(world.places.results("s").with_name("losses.parquet"))
    assert losses.group_by("examples", "draw").len().sort("examples").rows() == [(1, 0, 3), (2, 0, 6)]
    assert "IFT, 1 example of" in shown
    assert len(placement.trained) == 2


def test_a_finished_comparison_run_again_trains_nothing_and_asks_nothing(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    run(spec, plan_of(spec, tiny), world)
    before = world.frame("s")
    shown, placement = run(spec, plan_of(spec, tiny), world)
    assert placement.tuners == []
    assert placement.loaded == []
    assert "7 of 7 trials are finished already" in shown
    assert world.frame("s").equals(before)


def test_a_comparison_whose_engine_fails_goes_on_where_it_was(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, undisturbed = spec_of(tmp_path, pool), World(tmp_path / "undisturbed", world.tracking)
    run(spec, plan_of(spec, tiny), undisturbed)
    original = Named.generate

    async def fails(self: Named, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        if self.model == ALIGNED:
            raise BackendError("out of order")
        return await original(self, prompt, decoding, seed)

    monkeypatch.setattr(Named, "generate", fails)
    with pytest.raises(BackendError):
        run(spec, plan_of(spec, tiny), world)
    assert Named.loaded == []
    monkeypatch.undo()
    _, placement = run(spec, plan_of(spec, tiny), world)
    assert placement.tuners == []
    assert placement.loaded == [ALIGNED]
    assert world.frame("s").equals(undisturbed.frame("s"))


def test_weights_that_an_engine_takes_no_adapters_for_are_merged_and_loaded_by_themselves(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec, placement = spec_of(tmp_path, pool), FakePlacement(takes_adapters=False)
    plan = plan_of(spec, tiny, aligned=None)
    run(spec, plan, world, placement)
    assert started(placement) == [(arm.job.key, MERGED) for arm in plan.jobs if arm.job is not None]


def test_all_weights_that_were_tuned_are_loaded_by_themselves(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    plan = plan_of(spec, tiny, method="full", aligned=None)
    _, placement = run(spec, plan, world)
    assert placement.adapters == []
    assert started(placement) == [(arm.job.key, RESULT) for arm in plan.jobs if arm.job is not None]


def started(placement: FakePlacement) -> list[tuple[str, str]]:
    """Return the folders of weights whose engines were started, each as key and name."""
    folders = [Path(engine.model) for engine in placement.made if engine.starts]
    return [(folder.parent.name, folder.name) for folder in folders]


@pytest.mark.pages
def test_an_arm_whose_training_failed_has_rows_with_the_reason_and_the_others_go_on(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    shown, _ = run(spec, plan_of(spec, tiny), world, FakePlacement(fails={2}))
    frame = world.frame("s")
    failed = frame.filter(pl.col("arm.way") == "ift", pl.col("arm.examples") == 2)
    assert failed.get_column("state").unique().to_list() == ["failed"]
    assert failed.get_column("failed_because").unique().to_list() == [LOST]
    assert failed.get_column("answer").null_count() == failed.get_column("score").null_count() == spec.turns
    assert frame.filter(state="complete").get_column("trial").n_unique() == 6
    assert LOST in shown
    pages = {page.info.run_name: page for page in world.runs()}
    assert pages[f"IFT, 2 examples of {pool}, draw 0"].info.status == "FAILED"
    tuned = pages[f"IFT, 1 example of {pool}, draw 0"].info.run_id
    history = open_client(world.places.tracking_uri).get_metric_history(tuned, "loss")
    assert [(point.step, point.value) for point in history] == [(step, 3.0 / step) for step in range(1, 4)]


def test_a_failed_arm_cannot_change_its_recipe_unnoticed(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    run(spec, plan_of(spec, tiny), world, FakePlacement(fails={2}))
    with pytest.raises(StudyMismatchError, match=r"IFT, 2 examples .* tuning\.learning_rate: was 0\.0003, now 0\.0001"):
        run(spec, plan_of(spec, tiny, learning_rate=1e-4), world)


def test_progress_comes_to_its_end_where_every_learning_rate_fails(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    plan = plan_of(spec, tiny, sizes=(2,), aligned=None, draws=2, tune_learning_rate=True, held_out=2)
    shown, placement = run(spec, plan, world, FakePlacement(fails={2}))
    (tuner,) = placement.tuners
    own, looked_for = steps(plan.jobs), steps(plan.searched.values())
    assert (tuner.progress.done, tuner.progress.skipped) == (0, own + TRIED * looked_for)
    assert "0/0 steps" in shown


def steps(arms: Iterable[Arm]) -> int:
    return sum(arm.job.recipe.steps(len(arm.job.samples)) for arm in arms if arm.job is not None)


def test_lost_answers_are_asked_for_again_without_training_again(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    run(spec, plan_of(spec, tiny), world)
    before = world.frame("s")
    with closing(sqlite3.connect(world.folder / "store.db")) as database, database:
        database.execute(
            "delete from completions where key in (select completion_key from results where trial = 4 and turn = 1)"
        )
    _, placement = run(spec, plan_of(spec, tiny), world)
    assert placement.trained == []
    assert world.frame("s").equals(before)


def test_a_comparison_is_given_larger_sizes_later(pool: str, tiny: ResolvedModel, tmp_path: Path, world: World) -> None:
    spec = spec_of(tmp_path, pool)
    run(spec, plan_of(spec, tiny), world)
    before = world.frame("s")
    shown, placement = run(spec, plan_of(spec, tiny, sizes=(1, 2, 3)), world)
    assert "7 of 9 trials are finished already" in shown
    assert len(placement.trained) == 1
    assert len(placement.base.requests) == spec.turns
    after = world.frame("s")
    assert after.filter(pl.col("trial") < 7).equals(before)
    assert after.filter(pl.col("trial") >= 7).get_column("arm.examples").unique().to_list() == [3]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"sizes": (1, 3)}, r"ICL, 2 examples of .*, draw 0: not asked for now\n  IFT, 2 examples"),
        ({"draws": 2}, "ICL, 2 examples of .*, draw 0: others come before it now"),
        ({"sizes": (1,)}, "IFT, 2 examples of .*, draw 0: not asked for now"),
        ({"rank": 4, "epochs": 2}, "draw 0: tuning.epochs: was 6, now 2; tuning.rank: was 16, now 4"),
        ({"icl": {"temperature": 0.5}}, r"ICL, 1 example .*: temperature: was 0\.0, now 0\.5"),
        ({"tune_learning_rate": True, "held_out": 1}, "IFT, 1 example of .*: other examples, prompt or model"),
        ({"aligned": "other"}, "aligned: aligned: not asked for now"),
        ({"method": "full"}, "tuning.method: was 'lora', now 'full'"),
    ],
)
def test_a_comparison_of_other_arms_is_another_study_and_what_differs_is_said(
    options: dict[str, object], found: str, pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    run(spec, plan_of(spec, tiny), world)
    with pytest.raises(StudyMismatchError, match=found):
        run(spec, plan_of(spec, tiny, **options), world)


def test_learning_rates_that_were_looked_for_are_used_and_recorded(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    plan = plan_of(spec, tiny, sizes=(1,), aligned=None, draws=2, tune_learning_rate=True, held_out=2)
    shown, placement = run(spec, plan, world)
    assert len(placement.trained) == TRIED + 2
    (tuner,) = placement.tuners
    assert tuner.progress.done == steps(plan.jobs) + TRIED * steps(plan.searched.values())
    note = world.store.notes("s")[RATES_NOTE]
    assert {name: len(tried) for name, tried in note.items()} == {f"{pool}, 1 example": TRIED}
    assert f"Learning rates of {pool}, 1 example, with the loss on held-out answers: 0.0003: 1.000" in shown
    arms = world.frame("s").filter(pl.col("arm.way") == "ift").unique("trial")
    shared = TRIED * 60 // 2  # the search's, shared by draws
    assert arms.get_column("arm.training_tokens").to_list() == [60 + shared] * 2
    assert set(arms.get_column("arm.learning_rate")) <= {rate for rate, _ in next(iter(note.values()))}


def test_a_size_of_which_every_learning_rate_fails_has_a_reason_and_the_others_go_on(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    plan = plan_of(spec, tiny, aligned=None, tune_learning_rate=True, held_out=2)
    run(spec, plan, world, FakePlacement(fails={2}))
    arms = world.frame("s").filter(pl.col("arm.way") == "ift").unique("trial").sort("arm.examples")
    assert arms.get_column("state").to_list() == ["complete", "failed"]
    assert arms.get_column("failed_because")[1].startswith(f"none of {TRIED} learning rates trains it")


def test_a_study_of_more_draws_finds_what_an_earlier_one_asked_and_trained(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    run(spec, plan_of(spec, tiny, aligned=None), world)
    more = changed(spec, name="more")
    _, placement = run(more, plan_of(more, tiny, aligned=None, draws=2), world)
    assert len(placement.trained) == 2
    assert placement.adapting is not None
    assert len(placement.base.requests) == len(placement.adapting.requests) == 2 * spec.turns


def test_engines_are_said_to_start_once_each_and_none_before_training(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec = spec_of(tmp_path, pool)
    for fresh in (False, True):
        shown, placement = run(spec, plan_of(spec, tiny, draws=2), world, MemoryHungry(), fresh=fresh)
        assert shown.count("engine ready") == len(placement.loaded) * (not fresh)


class MemoryHungry(FakePlacement):
    """Trainings that no engine may be loaded beside."""

    def tuner(self, store: Store, say: Callable[[str], None]) -> FakeTuner:
        assert Named.loaded == []
        return super().tuner(store, say)


def test_a_judge_that_does_not_work_is_found_before_anything_is_trained(
    pool: str, tiny: ResolvedModel, tmp_path: Path, world: World
) -> None:
    spec, placement = spec_of(tmp_path, pool), FakePlacement()
    with pytest.raises(JudgeError):
        run(spec, plan_of(spec, tiny), world, placement, judge=OutOfOrder())
    assert placement.trained == []


class OutOfOrder(FakeJudge):
    """A judge whose server is away."""

    async def start(self) -> None:
        raise JudgeError("there is no server")
