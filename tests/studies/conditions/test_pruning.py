"""Claims about which trials of a search stop early: the test alone, and a search that uses it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from ablations.core.records import TrialState
from ablations.core.statistics import Scale, blocks, clearly_negative, summarise
from ablations.studies.conditions.findings import ConditionFindings
from ablations.studies.conditions.kind import LEVEL, query_blocks, stop
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.engine.results import judged_turns
from ablations.tracking.metrics import trial_metrics
from analysis.effects.paired import lead_of_best, rivals
from analysis.figures import race_figures
from analysis.frames import trial_table
from analysis.parameters.designs import read_design
from tests.support.fakes import ColdJudge, TelltaleBackend, make_queries
from tests.support.specs import SPACE, changed, make_spec
from tests.support.world import World


def raced(own: np.ndarray, best: np.ndarray, order: Sequence[int]) -> int:
    """Return after how many queries a trial stops, all of them where it does not."""
    seen = 0
    theirs = {str(query): float(score) for query, score in enumerate(best)}
    for size in blocks(len(order), 8, 0.5):
        seen += size
        some = {str(query): float(own[query]) for query in order[:seen]}
        if stop(some, seen, theirs, 0, len(order)) is not None:
            break
    return seen


@pytest.mark.parametrize("queries", [16, 40, 80])
def test_a_trial_that_would_equal_the_best_is_stopped_no_more_often_than_the_level_says(queries: int) -> None:
    generator = np.random.default_rng(queries)
    stopped = 0
    for _ in range(1_000):
        best, own = generator.normal(5, 2, queries) + generator.normal(0, 1.3, (2, queries))
        own += best.mean() - own.mean()
        stopped += raced(own, best, generator.permutation(queries).tolist()) < queries
    print(f"{queries} queries: {stopped / 1_000:.1%} of trials that equal the best are stopped, level {LEVEL:.0%}")
    assert stopped / 1_000 <= LEVEL


def test_a_trial_that_is_far_worse_stops_at_the_first_look_and_a_better_one_never() -> None:
    generator = np.random.default_rng(0)
    best = generator.normal(5, 2, 80)
    order = generator.permutation(80).tolist()
    assert raced(best - 3 + generator.normal(0, 1, 80), best, order) == 8
    assert raced(best + 1 + generator.normal(0, 1, 80), best, order) == 80


def test_what_was_seen_of_all_there_is_needs_no_test() -> None:
    assert clearly_negative([-1.0, 0.5, 0.2, 0.2, -0.1], 0.01, of=5)
    assert not clearly_negative([-1.0, 0.5, 0.2, 0.2, 0.2], 0.01, of=5)
    assert clearly_negative([-1.0, -0.5, -0.2, -0.2], 0.01, of=5) > clearly_negative([-1.0, -0.5, -0.2, -0.2], 0.01)


def test_queries_that_the_best_has_no_score_on_are_left_out_of_the_comparison() -> None:
    own = {f"q{number}": 1.0 + number % 2 for number in range(8)}
    best = {f"q{number}": 9.0 - number % 3 for number in range(4, 12)}
    found = stop(own, 8, best, 3, 20)
    assert found is not None
    assert (found.after, found.of, found.behind) == (8, 20, 3)
    differences = [own[query] - best[query] for query in ("q4", "q5", "q6", "q7")]
    assert found.estimate == pytest.approx(np.mean(list(best.values())) + np.mean(differences))
    assert str(found) == "clearly behind trial 3 after 8 of 20 queries"
    assert stop(own, 20, best, 3, 20) is None


def test_all_trials_see_the_queries_in_one_shuffled_order() -> None:
    queries = make_queries(30)
    some = query_blocks(queries, 1)
    assert [len(block) for block in some] == [8, 4, 6, 9, 3]
    seen = [query.id for block in some for query in block]
    assert sorted(seen) == sorted(query.id for query in queries)
    assert seen != [query.id for query in queries]
    assert some == query_blocks(queries, 1) != query_blocks(queries, 2)


def searching(folder: Path, **keys: object) -> ConditionsSpec:
    settings: dict[str, object] = {"name": "test", "mode": "search", "sampler": "tpe", "trials": 16, "confirm": 0}
    return changed(make_spec(folder, SPACE, **(settings | keys), seed=1), queries=make_queries(20))


class Searched(NamedTuple):
    world: World
    spec: ConditionsSpec


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, empty_tracking: Path) -> Searched:
    """A finished search."""
    folder = tmp_path_factory.mktemp("searched")
    world, spec = World(folder / "mlruns", empty_tracking), searching(folder)
    world.run(spec, TelltaleBackend(), ColdJudge())
    return Searched(world, spec)


def states(world: World, name: str = "test") -> dict[int, TrialState]:
    return {number: record.state for number, record in world.records(name).items()}


@pytest.mark.pages
def test_a_search_stops_hopeless_trials_and_has_what_they_answered(searched: Searched) -> None:
    world, _ = searched
    found, records = states(world), world.records("test")
    stopped = [number for number, state in found.items() if state is TrialState.STOPPED]
    assert len(stopped) > 4
    assert set(found.values()) == {TrialState.COMPLETE, TrialState.STOPPED}
    seen = dict(world.frame("test").group_by("trial").agg(pl.col("query_id").n_unique()).iter_rows())
    assert seen[0] == 20  # the baseline
    assert {number for number, queries in seen.items() if queries < 20} == set(stopped)
    assert min(seen.values()) == 8
    for trial in world.optuna_trials("test"):
        record = records[trial.user_attrs["trial"]]
        if record.stopped is None:
            assert trial.state.name == "COMPLETE"
        else:
            assert trial.state.name == "PRUNED"
            assert trial.intermediate_values == {record.stopped.after: record.stopped.estimate}
    runs = [run for run in world.runs() if "ablations.stopped" in run.data.tags]
    assert len(runs) == len(stopped)
    for run in runs:
        assert "score" not in run.data.metrics
        assert run.data.metrics["queries_before_stop"] < 20


def test_a_stopped_trial_counts_as_a_rival_and_never_as_a_score(searched: Searched) -> None:
    frame = searched.world.frame("test")
    table = trial_table(frame)
    stopped = table.filter(pl.col("state") == "stopped")
    assert stopped.get_column("mean").null_count() == len(stopped) > 0
    conditions = frame.filter(pl.col("replicate") == 0).get_column("condition_id").n_unique()
    assert rivals(frame) == conditions - 1
    found = ConditionFindings.of(frame)
    assert isinstance(read_design(frame), str), "nothing is said of parameters"
    assert f" of {conditions - 1} conditions differ from the baseline" in found.headline
    assert f"({len(stopped)} were stopped early)" in found.headline
    assert {"stopped", "best"} <= set(found.frames["races"].get_column("outcome")) <= {"stopped", "finished", "best"}
    assert list(race_figures(found.frames["races"])) == ["race_1"]
    lead = lead_of_best(frame)
    assert lead is None or lead.n == 20


def test_without_racing_and_in_an_ablation_every_trial_sees_every_query(world: World, tmp_path: Path) -> None:
    for number, keys in enumerate(({"racing": False}, {"mode": "ablation", "sampler": "qmc"})):
        world.run(searching(tmp_path, trials=8, name=f"s{number}", **keys), TelltaleBackend(), ColdJudge())
        assert set(states(world, f"s{number}").values()) == {TrialState.COMPLETE}


def test_a_search_by_chance_races_too_and_gives_no_importances(world: World, tmp_path: Path) -> None:
    world.run(searching(tmp_path, sampler="random", trials=10), TelltaleBackend(), ColdJudge())
    assert TrialState.STOPPED in states(world).values()
    assert read_design(world.frame("test")) == (
        "hopeless trials were stopped early, so that what is left says too little of bad values"
    )


def test_a_resumed_search_knows_the_best_and_pays_nothing_again(world: World, tmp_path: Path) -> None:
    search, backend = searching(tmp_path), TelltaleBackend(fail_after=200)
    with pytest.raises(Exception, match="out of order"):
        world.run(search, backend, ColdJudge())
    again = TelltaleBackend()
    world.run(search, again, ColdJudge())
    found = states(world)
    assert len(found) == 16
    assert len(set(again.requests) & set(backend.requests)) <= backend.in_flight
    assert TrialState.STOPPED in found.values()
    world.run(search, TelltaleBackend(fail_after=0), ColdJudge())
    assert states(world) == found


def test_a_stopped_trials_mean_has_a_name_of_its_own(searched: Searched) -> None:
    world, spec = searched
    stopped = next(number for number, state in states(world).items() if state is TrialState.STOPPED)
    summary = summarise(judged_turns(world.store, "test", spec.queries, {"fake": Scale(1.0, 10.0)}, [stopped])[stopped])
    metrics = trial_metrics(summary, None, None, stopped=True)
    assert metrics["score_before_stop"] == summary.mean
    assert not any(name.startswith(("score_turn", "score_low", "score_category")) for name in metrics)
