"""Claims about a study of conditions, around a backend without a model: its trials, resumption and views."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from ablations.core.errors import BackendError, JudgeError, SearchSpaceError, StudyMismatchError
from ablations.core.records import Completion, Judgment, Query, Score
from ablations.core.statistics import Scale, summarise
from ablations.judges.base import NO_REPLY
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.engine.results import judged_turns
from ablations.studies.spec import check_same_study
from ablations.tracking.client import open_client
from tests.support.fakes import FakeBackend, FakeJudge
from tests.support.specs import SPACE, changed, make_spec
from tests.support.world import World


@pytest.fixture
def spec(tmp_path: Path) -> ConditionsSpec:
    return make_spec(tmp_path, SPACE, name="test", trials=16, concurrency=3)


def states(world: World) -> list[str]:
    return [record.state for record in world.records("test").values()]


def test_every_condition_of_the_design_is_evaluated_on_all_queries_once(world: World, spec: ConditionsSpec) -> None:
    backend = FakeBackend()
    world.run(spec, backend)
    assert len(world.records("test")) == len(spec.design) == 16
    assert len(set(backend.requests)) == len(backend.requests)
    frame = world.frame("test")
    assert frame.height == 16 * 4 * 2
    assert [trial.state.name for trial in world.optuna_trials("test")] == ["COMPLETE"] * 16


def test_trials_share_the_engine_up_to_the_concurrency(world: World, spec: ConditionsSpec) -> None:
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


def test_the_engine_generates_for_the_next_trial_while_one_is_judged(world: World, spec: ConditionsSpec) -> None:
    backend = FakeBackend()
    world.run(changed(spec, concurrency=1), backend, WaitingJudge(backend, 2 * 4 * 2))
    assert len(world.records("test")) == 16


def test_a_judge_without_replies_stops_the_study_and_the_trial_is_asked_again(
    world: World, spec: ConditionsSpec
) -> None:
    class SilentJudge(FakeJudge):
        async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
            made = await super().judge(query, completions)
            return replace(made, score=Score(None, NO_REPLY), replies=()) if query.id == "q1" else made

    with pytest.raises(JudgeError, match="lacks 2 judgments because the fake judge's server gave no reply"):
        world.run(spec, FakeBackend(), SilentJudge())
    assert not any(trial.state.name == "FAIL" for trial in world.optuna_trials("test"))
    again = FakeBackend()
    world.run(spec, again)
    assert set(states(world)) == {"complete"}
    frame = world.frame("test")
    assert frame["score"].null_count() == 0


def test_a_sampler_chooses_only_when_the_trial_before_has_its_score(world: World, spec: ConditionsSpec) -> None:
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


def test_a_finished_study_run_again_asks_for_nothing(world: World, spec: ConditionsSpec) -> None:
    world.run(spec, FakeBackend())
    again = FakeBackend()
    world.run(spec, again)
    assert again.requests == []
    assert len(world.records("test")) == 16


def test_after_a_failure_the_same_command_goes_on_and_repeats_no_request(world: World, spec: ConditionsSpec) -> None:
    broken, whole = FakeBackend(fail_after=40), FakeBackend()
    with pytest.raises(BackendError):
        world.run(spec, broken)
    assert 0 < len(world.records("test")) < 16
    world.run(spec, whole)
    assert len(set(broken.requests) & set(whole.requests)) == broken.in_flight
    trials = world.optuna_trials("test")
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 16
    undisturbed = FakeBackend()
    other = World(world.folder / "other", world.tracking)
    other.run(spec, undisturbed)
    assert world.frame("test").equals(other.frame("test"))
    assert broken.answered + len(whole.requests) == len(undisturbed.requests)


@pytest.mark.pages
def test_each_trial_has_one_mlflow_run_even_after_a_failure(world: World, spec: ConditionsSpec) -> None:
    with pytest.raises(BackendError):
        world.run(spec, FakeBackend(fail_after=40))
    world.run(spec, FakeBackend())
    runs = world.runs()
    numbers = sorted(int(run.data.tags["ablations.trial"]) for run in runs if "ablations.trial" in run.data.tags)
    assert numbers == list(range(16))
    assert len([run for run in runs if run.data.tags["ablations.kind"] == "study"]) == 1


@pytest.mark.pages
def test_a_trials_run_holds_parameters_metrics_and_its_completions(world: World, spec: ConditionsSpec) -> None:
    world.run(spec, FakeBackend())
    client = open_client(world.places.tracking_uri)
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


def test_more_trials_extend_a_study_and_keep_its_first_ones(world: World, spec: ConditionsSpec) -> None:
    world.run(changed(spec, trials=14), FakeBackend())
    first = [trial.params for trial in world.optuna_trials("test")]
    more = FakeBackend()
    world.run(spec, more)
    assert [trial.params for trial in world.optuna_trials("test")][:14] == first
    assert len(world.optuna_trials("test")) == 16
    assert len(more.requests) <= 2 * 8


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "grid", "brute"])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_search_ends_with_its_number_of_trials_baseline_first(
    world: World, spec: ConditionsSpec, sampler: str
) -> None:
    world.run(changed(spec, mode="search", sampler=sampler, trials=9, concurrency=2), FakeBackend())
    trials = world.optuna_trials("test")
    assert len(trials) == 9
    assert trials[0].params["temperature"] == 0
    assert "top_p" not in trials[0].params


def test_an_interrupted_search_goes_on(world: World, spec: ConditionsSpec) -> None:
    search = changed(spec, mode="search", sampler="tpe", trials=10, concurrency=2)
    with pytest.raises(BackendError):
        world.run(search, FakeBackend(fail_after=45))
    world.run(search, FakeBackend())
    assert [trial.state.name for trial in world.optuna_trials("test")] == ["COMPLETE"] * 10


def test_a_trial_below_the_coverage_fails_instead_of_winning(world: World, spec: ConditionsSpec) -> None:
    world.run(changed(spec, trials=2), FakeBackend(), FakeJudge(unscored=["q0"]))
    assert states(world) == ["failed", "failed"]
    assert summarise(judged_turns(world.store, "test", spec.queries, {"fake": Scale(1.0, 10.0)})[0]).unscored == {
        "no rating": 2
    }
    assert {trial.state.name for trial in world.optuna_trials("test")} == {"FAIL"}


def test_an_adaptive_sampler_is_refused_in_an_ablation(spec: ConditionsSpec) -> None:
    with pytest.raises(SearchSpaceError, match="--mode search"):
        changed(spec, sampler="tpe")


def test_a_changed_configuration_is_refused_with_the_difference(spec: ConditionsSpec) -> None:
    backend, judge = FakeBackend().identity.to_dict(), FakeJudge().identity
    before = spec.identity(backend, judge)
    after = changed(spec, seed=1).identity(backend, {"judge": "other"})
    with pytest.raises(StudyMismatchError, match=r"(?s)judge.judge: was 'fake', now 'other'.*seed: was 0, now 1"):
        check_same_study("test", before, after)
    check_same_study("test", before, changed(spec, trials=20, concurrency=1).identity(backend, judge))


def test_stop_lists_survive_optuna(world: World, spec: ConditionsSpec) -> None:
    backend = FakeBackend()
    world.run(spec, backend)
    assert ("\n\n", "###") in {decoding.stop for _, decoding, _ in backend.requests}


def test_a_lost_store_is_named_instead_of_mixing_trials(world: World, spec: ConditionsSpec) -> None:
    world.run(changed(spec, trials=3), FakeBackend())
    for path in world.folder.glob("store.db*"):
        path.unlink()
    with pytest.raises(StudyMismatchError, match="--fresh"):
        world.run(changed(spec, trials=3), FakeBackend())


def test_a_lost_optuna_database_is_filled_again_from_the_store(world: World, spec: ConditionsSpec) -> None:
    world.run(changed(spec, trials=5), FakeBackend())
    before = [(one.params, one.values, one.user_attrs) for one in world.optuna_trials("test")]
    for path in world.folder.glob("optuna.db*"):
        path.unlink()
    backend = FakeBackend()
    world.run(changed(spec, trials=5), backend)
    assert backend.requests == []
    assert [(one.params, one.values, one.user_attrs) for one in world.optuna_trials("test")] == before


@pytest.mark.pages
def test_a_lost_mlflow_database_is_filled_again(world: World, spec: ConditionsSpec) -> None:
    world.run(changed(spec, trials=3), FakeBackend())
    world.places = replace(world.places, tracking_uri=f"sqlite:///{world.folder / 'another.db'}")
    backend = FakeBackend()
    world.run(changed(spec, trials=3), backend)
    assert backend.requests == []
    assert sorted(run.data.tags.get("ablations.trial", "study") for run in world.runs()) == ["0", "1", "2", "study"]


def test_fewer_trials_than_before_keep_the_study_as_it_is(world: World, spec: ConditionsSpec) -> None:
    world.run(spec, FakeBackend())
    backend = FakeBackend()
    world.run(changed(spec, trials=4), backend)
    assert (len(world.records("test")), backend.requests) == (16, [])


@pytest.mark.pages
def test_a_category_that_mlflow_would_refuse_does_not_stop_a_study(world: World, spec: ConditionsSpec) -> None:
    odd = tuple(replace(query, category="C++ (hard) & more") for query in spec.queries)
    world.run(changed(spec, trials=2, queries=odd), FakeBackend())
    run = next(run for run in world.runs() if run.data.tags.get("ablations.trial") == "0")
    assert "score_category/C__ _hard_ _ more" in run.data.metrics


@pytest.mark.parametrize(("damaged", "concurrency"), [(1, 3), (1, 1), (4, 2)])
def test_answers_that_the_store_lost_are_asked_for_again_and_no_others(
    damaged: int, concurrency: int, world: World, spec: ConditionsSpec
) -> None:
    spec = changed(spec, trials=6, concurrency=concurrency)
    world.run(spec, FakeBackend())
    before, records = world.frame("test"), world.records("test")
    numbers = set(range(6 - damaged, 6))
    with world.store.database._engine.begin() as connection:
        for trial in numbers:
            found = connection.execute(sa.text(f"SELECT completion_key FROM results WHERE trial = {trial} LIMIT 1"))
            lost = {"key": found.scalar_one()}
            connection.execute(sa.text("UPDATE completions SET record = '{}' WHERE key = :key"), lost)
    assert numbers <= set(world.store.damaged("test"))
    backend, judge = FakeBackend(), FakeJudge()
    said = world.run(spec, backend, judge)
    assert (len(backend.requests), judge.judged) == (damaged, 0)
    assert "the store lost answers of the trials" in said
    assert world.store.damaged("test") == {}
    assert world.records("test") == records
    assert world.frame("test").equals(before)
