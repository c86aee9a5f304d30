"""Ask and tell, concurrency, resumption and the MLflow view, around a backend without a model."""

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from ablations.core.errors import BackendError, JudgeError, StudyMismatchError, UsageError
from ablations.core.records import Completion, Judgment, Query, Score
from ablations.core.statistics import summarise
from ablations.judges.base import NO_REPLY
from ablations.storage.claims import Claims
from ablations.storage.store import Store
from ablations.studies.conditions.optuna_storage import open_optuna_study
from ablations.studies.conditions.study import Study
from ablations.studies.engine.evaluator import Evaluator
from ablations.studies.engine.results import judged_turns, results_frame
from ablations.studies.spec import StudySpec, check_same_study
from ablations.tracking.client import open_client
from ablations.tracking.tracker import Tracker
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import changed, load

SPACE = """
[study.baseline]
temperature = 0.0
top_p = 1.0
repetition_penalty = 1.1
stop = "headings"
[parameters.temperature]
low = 0.0
high = 1.0
step = 0.25
[parameters.top_p]
low = 0.5
high = 1.0
step = 0.25
requires = "temperature > 0"
[parameters.repetition_penalty]
low = 1.0
high = 1.2
step = 0.1
[parameters.stop]
choices = ["headings", "none", ["\\n\\n", "###"]]
"""


@pytest.fixture
def spec(tmp_path: Path) -> StudySpec:
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return StudySpec(load(path, name="test", trials=16, concurrency=3), make_queries())


class World:
    """One folder of results, and studies run in it; `tracking` is a database of MLflow's without a run."""

    def __init__(self, folder: Path, tracking: Path) -> None:
        folder.mkdir(exist_ok=True)
        if not (folder / "mlflow.db").exists():
            shutil.copy(tracking, folder / "mlflow.db")
        self.folder = folder
        self.empty_tracking = tracking
        self.storage = f"sqlite:///{folder / 'optuna.db'}"
        self.tracking = f"sqlite:///{folder / 'mlflow.db'}"
        self.store = Store(f"sqlite:///{folder / 'store.db'}")

    def run(self, spec: StudySpec, backend: FakeBackend, judge: FakeJudge | None = None) -> Study:
        return asyncio.run(self._run(spec, backend, judge or FakeJudge()))

    async def _run(self, spec: StudySpec, backend: FakeBackend, judge: FakeJudge) -> Study:
        tracker = Tracker(self.tracking, self.folder / "artifacts", "experiment", spec.name)
        study_id = self.store.add_study(spec.name, {})
        await tracker.start(study_id, "a test", {"model": "fake"}, {"search_space.toml": spec.config.text})
        try:
            evaluator = Evaluator(backend, judge, self.store, spec.seed)
            claims = Claims(self.store, spec.name)
            study = Study(spec, open_optuna_study(spec.name, self.storage), evaluator, self.store, tracker, claims)
            study.restore()
            await study.run()
            await study.complete_log()
        finally:
            await tracker.finish("FINISHED")
        return study

    def optuna_trials(self, name: str = "test") -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(study_name=name, storage=self.storage).trials

    def runs(self) -> list[Any]:
        client = open_client(self.tracking)
        experiment = client.get_experiment_by_name("experiment")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], max_results=1000))


@pytest.fixture
def world(tmp_path: Path, empty_tracking: Path) -> World:
    return World(tmp_path, empty_tracking)


def test_every_condition_of_the_design_is_evaluated_on_all_queries_once(world: World, spec: StudySpec) -> None:
    backend = FakeBackend()
    study = world.run(spec, backend)
    assert len(study.finished) == len(spec.design) == 16
    assert len(set(backend.requests)) == len(backend.requests)
    frame = results_frame(world.store, "test", spec.queries)
    assert frame.height == 16 * 4 * 2
    assert [trial.state.name for trial in world.optuna_trials()] == ["COMPLETE"] * 16


def test_trials_share_the_engine_up_to_the_concurrency(world: World, spec: StudySpec) -> None:
    backend = FakeBackend()
    world.run(changed(spec, concurrency=3), backend)
    assert 4 < backend.most_in_flight <= 3 * 4


class WaitingJudge(FakeJudge):
    """Judges nothing before the engine has been asked for so many completions."""

    def __init__(self, backend: FakeBackend, requests: int) -> None:
        super().__init__()
        self._backend = backend
        self._requests = requests

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        async with asyncio.timeout(30):
            while len(self._backend.requests) < self._requests:
                await asyncio.sleep(0.001)
        return await super().judge(query, completions)


def test_the_engine_generates_for_the_next_trial_while_one_is_judged(world: World, spec: StudySpec) -> None:
    backend = FakeBackend()
    study = world.run(changed(spec, concurrency=1), backend, WaitingJudge(backend, 2 * 4 * 2))
    assert len(study.finished) == 16


def test_a_judge_without_replies_stops_the_study_and_the_trial_is_asked_again(world: World, spec: StudySpec) -> None:
    class SilentJudge(FakeJudge):
        async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
            made = await super().judge(query, completions)
            return replace(made, score=Score(None, NO_REPLY), replies=()) if query.id == "q1" else made

    with pytest.raises(JudgeError, match="lacks 2 judgments because the judge's server gave no reply"):
        world.run(spec, FakeBackend(), SilentJudge())
    assert not any(trial.state.name == "FAIL" for trial in world.optuna_trials())
    again = FakeBackend()
    study = world.run(spec, again)
    assert {finished.state for finished in study.finished} == {"complete"}
    frame = results_frame(world.store, "test", spec.queries)
    assert frame["score"].null_count() == 0


def test_a_sampler_chooses_only_when_the_trial_before_has_its_score(world: World, spec: StudySpec) -> None:
    class CountingJudge(FakeJudge):
        async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
            await asyncio.sleep(0.002)
            ahead.append((self.judged, len(backend.requests) - self.judged))
            return await super().judge(query, completions)

    ahead: list[tuple[int, int]] = []
    backend = FakeBackend()
    world.run(changed(spec, mode="search", sampler="random", trials=6, concurrency=1), backend, CountingJudge())
    assert len(ahead) == 6 * 4 * 2
    # Never more than one trial's completions wait for the judge, once the baseline is judged, which nobody chose.
    assert max(waiting for judged, waiting in ahead if judged >= 4 * 2) <= 4 * 2


def test_a_finished_study_run_again_asks_for_nothing(world: World, spec: StudySpec) -> None:
    world.run(spec, FakeBackend())
    again = FakeBackend()
    study = world.run(spec, again)
    assert again.requests == []
    assert len(study.finished) == 16


def test_after_a_failure_the_same_command_goes_on_and_repeats_no_request(world: World, spec: StudySpec) -> None:
    broken, whole = FakeBackend(fail_after=40), FakeBackend()
    with pytest.raises(BackendError):
        world.run(spec, broken)
    assert any(trial.state.name == "RUNNING" for trial in world.optuna_trials())
    world.run(spec, whole)
    assert not set(broken.requests) & set(whole.requests)
    trials = world.optuna_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 16
    undisturbed = FakeBackend()
    other = World(world.folder / "other", world.empty_tracking)
    assert results_frame(world.store, "test", spec.queries).equals(
        results_frame(_finished(other, spec, undisturbed), "test", spec.queries)
    )
    assert len(broken.requests) + len(whole.requests) == len(undisturbed.requests)


def _finished(world: World, spec: StudySpec, backend: FakeBackend) -> Store:
    world.run(spec, backend)
    return world.store


def test_each_trial_has_one_mlflow_run_even_after_a_failure(world: World, spec: StudySpec) -> None:
    with pytest.raises(BackendError):
        world.run(spec, FakeBackend(fail_after=40))
    world.run(spec, FakeBackend())
    runs = world.runs()
    numbers = sorted(int(run.data.tags["ablations.trial"]) for run in runs if "ablations.trial" in run.data.tags)
    assert numbers == list(range(16))
    assert len([run for run in runs if run.data.tags["ablations.kind"] == "study"]) == 1


def test_a_trials_run_holds_parameters_metrics_and_its_completions(world: World, spec: StudySpec) -> None:
    world.run(spec, FakeBackend())
    client = open_client(world.tracking)
    run = next(run for run in world.runs() if run.data.tags.get("ablations.trial") == "0")
    assert run.data.params["temperature"] == "0"
    assert run.data.params["role"] == "baseline"
    needed = {"score", "score_low", "score_high", "score_turn_1", "score_turn_2", "score_category/math", "coverage"}
    needed |= {"mean_tokens", "truncation_rate", "repetition", "tokens_per_second", "completion_tokens"}
    assert needed <= set(run.data.metrics)
    path = client.download_artifacts(run.info.run_id, "completions.json")
    table = json.loads(Path(path).read_text())
    assert len(table["data"]) == 8
    assert {"query", "answer", "score", "judge_reply"} <= set(table["columns"])


def test_more_trials_extend_a_study_and_keep_its_first_ones(world: World, spec: StudySpec) -> None:
    world.run(changed(spec, trials=14), FakeBackend())
    first = [trial.params for trial in world.optuna_trials()]
    more = FakeBackend()
    world.run(spec, more)
    assert [trial.params for trial in world.optuna_trials()][:14] == first
    assert len(world.optuna_trials()) == 16
    assert len(more.requests) <= 2 * 8


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "grid", "brute"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_search_ends_with_its_number_of_trials_baseline_first(world: World, spec: StudySpec, sampler: str) -> None:
    study = world.run(changed(spec, mode="search", sampler=sampler, trials=9, concurrency=2), FakeBackend())
    trials = world.optuna_trials()
    assert len(trials) == 9
    assert trials[0].params["temperature"] == 0
    assert "top_p" not in trials[0].params
    assert study.best is not None


def test_an_interrupted_search_goes_on(world: World, spec: StudySpec) -> None:
    search = changed(spec, mode="search", sampler="tpe", trials=10, concurrency=2)
    with pytest.raises(BackendError):
        world.run(search, FakeBackend(fail_after=45))
    world.run(search, FakeBackend())
    assert [trial.state.name for trial in world.optuna_trials()] == ["COMPLETE"] * 10


def test_a_trial_below_the_coverage_fails_instead_of_winning(world: World, spec: StudySpec) -> None:
    study = world.run(changed(spec, trials=2), FakeBackend(), FakeJudge(unscored=["q0"]))
    assert [finished.state for finished in study.finished] == ["failed", "failed"]
    assert summarise(judged_turns(world.store, "test", spec.queries)[0]).unscored == {"no rating": 2}
    assert study.best is None
    assert {trial.state.name for trial in world.optuna_trials()} == {"FAIL"}


def test_an_adaptive_sampler_is_refused_in_an_ablation(spec: StudySpec) -> None:
    with pytest.raises(UsageError, match="--mode search"):
        changed(spec, sampler="tpe")


def test_changed_ingredients_are_refused_with_the_difference(spec: StudySpec) -> None:
    backend, judge = FakeBackend().identity.to_dict(), FakeJudge().identity
    before = spec.identity(backend, judge)
    after = changed(spec, seed=1).identity(backend, {"judge": "other"})
    with pytest.raises(StudyMismatchError, match=r"(?s)judge.judge: was 'fake', now 'other'.*seed: was 0, now 1"):
        check_same_study("test", before, after)
    check_same_study("test", before, changed(spec, trials=20, concurrency=1).identity(backend, judge))


def test_stop_lists_survive_optuna(world: World, spec: StudySpec) -> None:
    backend = FakeBackend()
    world.run(spec, backend)
    assert ("\n\n", "###") in {decoding.stop for _, decoding, _ in backend.requests}


@pytest.mark.parametrize("lost", ["store.db", "optuna.db"])
def test_a_lost_database_is_named_instead_of_mixing_trials(world: World, spec: StudySpec, lost: str) -> None:
    world.run(changed(spec, trials=3), FakeBackend())
    world.store.close()
    for path in world.folder.glob(f"{lost}*"):
        path.unlink()
    with pytest.raises(StudyMismatchError, match="--fresh"):
        World(world.folder, world.empty_tracking).run(changed(spec, trials=3), FakeBackend())


def test_a_lost_mlflow_database_is_filled_again(world: World, spec: StudySpec) -> None:
    world.run(changed(spec, trials=3), FakeBackend())
    world.tracking = f"sqlite:///{world.folder / 'another.db'}"
    backend = FakeBackend()
    world.run(changed(spec, trials=3), backend)
    assert backend.requests == []
    assert sorted(run.data.tags.get("ablations.trial", "study") for run in world.runs()) == ["0", "1", "2", "study"]


def test_fewer_trials_than_before_keep_the_study_as_it_is(world: World, spec: StudySpec) -> None:
    world.run(spec, FakeBackend())
    backend = FakeBackend()
    study = world.run(changed(spec, trials=4), backend)
    assert (len(study.finished), backend.requests) == (16, [])


def test_a_category_that_mlflow_would_refuse_does_not_stop_a_study(world: World, spec: StudySpec) -> None:
    odd = tuple(replace(query, category="C++ (hard) & more") for query in spec.queries)
    world.run(changed(spec, trials=2, queries=odd), FakeBackend())
    run = next(run for run in world.runs() if run.data.tags.get("ablations.trial") == "0")
    assert "score_category/C__ _hard_ _ more" in run.data.metrics


def test_answers_that_the_store_lost_are_asked_for_again_and_no_others(world: World, spec: StudySpec) -> None:
    spec = changed(spec, trials=6)
    world.run(spec, FakeBackend())
    before = results_frame(world.store, "test", spec.queries)
    with world.store.database._engine.begin() as connection:
        (key,) = connection.execute(sa.text("SELECT completion_key FROM results WHERE trial = 3 LIMIT 1")).one()
        connection.execute(sa.text("UPDATE completions SET record = '{}' WHERE key = :key"), {"key": key})
    users = set(world.store.damaged("test"))
    assert 3 in users
    backend, judge = FakeBackend(), FakeJudge()
    study = world.run(spec, backend, judge)
    assert (len(backend.requests), judge.judged) == (1, 0)
    assert (study.damaged, study.remaining) == ({}, 0)
    assert sorted(one.trial.number for one in study.finished) == list(range(6))
    assert results_frame(world.store, "test", spec.queries).equals(before)
