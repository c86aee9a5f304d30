"""Claims about what a confirmation will evaluate: which queries are held back, which conditions are the best."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from ablations.core.errors import StudyMismatchError, UsageError
from ablations.core.prompt import Demonstration
from ablations.core.records import Query, Role, TrialRecord, TrialState
from ablations.core.schema import RESULT_SCHEMA
from ablations.datasets.pools import Pool
from ablations.datasets.prepare import Prepared
from ablations.datasets.queries import choose_subset, load_queries
from ablations.datasets.selection import Chooser
from ablations.storage.workspace import follow_up_name
from ablations.studies.conditions.confirmation import (
    Confirmation,
    HeldBack,
    best_conditions,
    check_stored,
    fresh_seed,
    hold_back,
    same_choice,
    shown_queries,
)
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.config.space import Values
from ablations.studies.engine.evaluator import request_seed
from ablations.studies.kind import Results
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import BASELINE as START
from tests.support.specs import PENALTY, TEMPERATURE, changed, load, make_spec

WHOLE = load_queries("instructions")


def nobody(queries: Sequence[Query]) -> set[str]:
    return set()


def ids(queries: Sequence[Query]) -> list[str]:
    return [query.id for query in queries]


@pytest.mark.parametrize(("limit", "count"), [(8, 8), (8, 3), (5, 20), (1, 1)])
def test_held_back_are_the_queries_by_which_a_higher_limit_would_extend_the_study(limit: int, count: int) -> None:
    seen = choose_subset(WHOLE, limit, seed=3)
    held_back = hold_back(WHOLE, seen, count, 3, nobody)
    assert len(held_back.queries) == count
    assert not set(ids(held_back.queries)) & set(ids(seen))
    assert set(ids(seen)) | set(ids(held_back.queries)) == set(ids(choose_subset(WHOLE, limit + count, seed=3)))
    assert held_back.notes == ()


def test_held_back_queries_are_spread_over_the_categories() -> None:
    seen = choose_subset(WHOLE, 8, seed=0)
    held_back = hold_back(WHOLE, seen, 8, 0, nobody)
    assert len({query.category for query in held_back.queries}) == 8


def test_where_fewer_queries_are_left_all_of_them_are_held_back_and_that_is_said() -> None:
    held_back = hold_back(WHOLE, choose_subset(WHOLE, 40, 0), 40, 0, nobody)
    assert (len(held_back.queries), held_back.notes) == (8, ("held back: 8 queries are left of the 40 asked for",))
    nothing = hold_back(WHOLE, WHOLE, 48, 0, nobody)
    assert nothing.queries == ()
    assert "no query is left to hold back: fresh seeds alone are confirmed" in nothing.notes[0]
    assert hold_back(WHOLE, WHOLE, 0, 0, nobody) == HeldBack((), ())


def test_queries_that_demonstrations_show_are_passed_over_by_name_and_others_take_their_place() -> None:
    seen = choose_subset(WHOLE, 8, seed=0)
    first = hold_back(WHOLE, seen, 8, 0, nobody).queries
    shown = [Demonstration("leak", f"  {first[2].turns[1].upper()}", "Yes.")]
    held_back = hold_back(WHOLE, seen, 8, 0, lambda queries: shown_queries(queries, shown, None))
    assert len(held_back.queries) == 8
    assert set(ids(first)) - set(ids(held_back.queries)) == {first[2].id}
    assert (
        f"1 queries are passed over, because demonstrations show them or were chosen by them: {first[2].id}"
        in (held_back.notes[0])
    )


def test_every_query_that_one_demonstration_shows_is_found() -> None:
    twins = [replace(make_queries(1)[0], id=f"twin{number}") for number in range(3)]
    shown = [Demonstration("one", "Question 0, turn 0!", "Yes."), Demonstration("other", "Something else?", "No.")]
    assert shown_queries([*twins, *make_queries(3)[1:]], shown, None) == {"twin0", "twin1", "twin2"}


def held(*queries: Query) -> Confirmation:
    return Confirmation(2, HeldBack(queries, ()))


def test_the_follow_up_evaluates_the_baseline_and_the_conditions_once_on_all_queries(tmp_path: Path) -> None:
    spec = replace(make_spec(tmp_path, START + TEMPERATURE + PENALTY), queries=make_queries(6)[:4])
    best: list[Values] = [{"temperature": 1.0, "repetition_penalty": 1.2}, {"temperature": 0.5}]
    follow_up = held(*make_queries(6)[4:]).follow_up(spec, best)
    assert (follow_up.name, follow_up.confirms) == ("s.confirmation", "s")
    assert ids(follow_up.queries) == [f"q{number}" for number in range(6)]
    points = [(point.role, point.replicate, dict(point.values)) for point in follow_up.design]
    assert points == [
        ("baseline", 0, {"temperature": 0.0, "repetition_penalty": 1.0}),
        ("listed", 0, {"temperature": 1.0, "repetition_penalty": 1.2}),
        ("listed", 0, {"temperature": 0.5, "repetition_penalty": 1.0}),
    ]
    assert follow_up.total_trials == 3


@pytest.mark.parametrize("sampler", ["tpe", "grid", "brute", "qmc"])
def test_every_kind_of_study_has_a_follow_up(tmp_path: Path, sampler: str) -> None:
    spec = changed(make_spec(tmp_path, START + TEMPERATURE), mode="search", sampler=sampler)
    follow_up = held().follow_up(spec, [{"temperature": 1.0}])
    assert [point.role for point in follow_up.design] == ["baseline", "listed"]


def test_the_follow_ups_seeds_are_others_and_always_the_same() -> None:
    seeds = {request_seed(seed, "q", 1, 0) for study in range(50) for seed in (study, fresh_seed(study))}
    assert len(seeds) == 100
    assert fresh_seed(0) == fresh_seed(0)


def test_demonstrations_chosen_for_each_query_are_chosen_for_held_back_ones_too(tmp_path: Path) -> None:
    space = START + 'shots = 1\nsource = "random-per-query"\n' + TEMPERATURE
    pool = Pool("test", tuple(Demonstration(f"d{number}", f"Ask {number}?", "Yes.") for number in range(5)))

    class Nearest(Chooser):
        def _nearest(self, count: int):  # type: ignore[no-untyped-def]
            return ((query.id, pool.demonstrations[:count]) for query in self.queries)

    queries = make_queries(4)
    base = make_spec(tmp_path, START + TEMPERATURE)
    path = tmp_path / "space.toml"
    path.write_text(space)
    prepared = Prepared(Nearest(pool, queries[:2]), (), False, ())
    spec = replace(base, config=load(path, name="s"), queries=queries[:2], prepared=prepared)
    follow_up = held(*queries[2:]).follow_up(spec, [{"temperature": 0.5}])
    shown = {query.id: follow_up.baseline.prompt.shown_to(query.id) for query in follow_up.queries}
    assert all(len(own) == 1 for own in shown.values())
    assert {name: shown[name] for name in ("q0", "q1")} == dict(spec.baseline.prompt.by_query)


def test_a_name_that_leaves_no_room_for_the_follow_ups_is_refused(tmp_path: Path) -> None:
    spec = changed(make_spec(tmp_path, START + TEMPERATURE), name="x" * 95)
    with pytest.raises(UsageError, match="is longer than 100 characters; shorten --name"):
        held().follow_up(spec, [])


def identity(spec: ConditionsSpec, judge: dict[str, str] | None = None) -> dict[str, object]:
    return spec.identity(FakeBackend().identity.to_dict(), judge or FakeJudge().identity)


def test_a_follow_up_of_other_conditions_or_queries_is_run_again_and_of_another_configuration_refused(
    tmp_path: Path,
) -> None:
    spec = make_spec(tmp_path, START + TEMPERATURE)
    stored = identity(held().follow_up(spec, [{"temperature": 0.5}]))
    other = identity(held().follow_up(spec, [{"temperature": 1.0}]))
    more = identity(held(*make_queries(5)[4:]).follow_up(spec, [{"temperature": 0.5}]))
    for current in (stored, other, more):
        check_stored("s", stored, current)
    assert [same_choice(stored, current) for current in (stored, other, more)] == [True, False, False]
    judged = identity(held().follow_up(spec, []), {"judge": "another"})
    with pytest.raises(StudyMismatchError, match=r"judge\.judge: was 'fake', now 'another'"):
        check_stored("s", stored, judged)
    check_stored("s", stored, None)  # it is to be forgotten
    check_stored("s", None, stored)


def test_answers_to_compare_with_of_more_queries_are_part_of_the_choice(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, START + TEMPERATURE)
    one = identity(held().follow_up(spec, []), {"judge": "pairwise", "compared with": "a"})
    other = identity(held().follow_up(spec, []), {"judge": "pairwise", "compared with": "b"})
    check_stored("s", one, other)
    assert not same_choice(one, other)


def test_a_study_that_has_the_follow_ups_name_is_not_touched(tmp_path: Path) -> None:
    own = identity(changed(make_spec(tmp_path, START + TEMPERATURE), name=follow_up_name("s")))
    for current in (own, None):
        with pytest.raises(StudyMismatchError, match=r"another study of that name exists; give this one another name"):
            check_stored("s", own, current)


def results_of(spec: ConditionsSpec, *trials: tuple[int, float, float, Role, TrialState]) -> Results:
    """Return what a study left whose trials are (number, mean, temperature, role, state)."""
    rows, records = [], {}
    for number, mean, temperature, role, state in trials:
        point: Values = {"temperature": temperature, "repetition_penalty": 1.0}
        name, replicate = spec.to_condition(point).condition_id, int(role is Role.REPLICATE)
        failed, label = state is TrialState.FAILED, f"t={temperature}"
        records[number] = TrialRecord(
            number, name, label, label, role, state, point, point, mean, "why" if failed else None, replicate
        )
        own = {"trial": number, "condition_id": name, "role": str(role), "state": str(state), "replicate": replicate}
        for query, difficulty in (("q0", -1.0), ("q1", 1.0)):
            rows.append(own | {"label": label, "query_id": query, "turn": 1, "score": mean + difficulty})
    nothing = pl.DataFrame(schema=RESULT_SCHEMA)
    return Results(spec.name, pl.concat([nothing, pl.DataFrame(rows)], how="diagonal_relaxed"), records)


COMPLETE = TrialState.COMPLETE


def test_the_best_are_complete_other_conditions_each_once_and_of_equals_the_first(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, START + TEMPERATURE + PENALTY)
    trials = (
        (0, 5.0, 0.0, Role.BASELINE, COMPLETE),
        (1, 9.0, 0.0, Role.REPLICATE, COMPLETE),
        (2, 8.0, 0.0, Role.SAMPLED, COMPLETE),  # the baseline's condition, chosen again
        (3, 9.0, 0.9, Role.FILL, TrialState.FAILED),
        (4, 7.0, 1.0, Role.FILL, COMPLETE),
        (5, 6.0, 0.75, Role.FILL, COMPLETE),
        (6, 6.0, 0.5, Role.SAMPLED, COMPLETE),
        (7, 6.5, 1.0, Role.SAMPLED, COMPLETE),
    )
    found = results_of(spec, *trials)
    assert [one["temperature"] for one in best_conditions(found, 2)] == [1.0, 0.75]
    assert [one["temperature"] for one in best_conditions(found, 9)] == [1.0, 0.75, 0.5]
    assert best_conditions(results_of(spec, *trials[2:]), 2) == []  # no baseline to compare with


def test_a_replicated_anchor_goes_by_the_mean_of_its_condition(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, START + TEMPERATURE + PENALTY)
    trials = (
        (0, 5.0, 0.0, Role.BASELINE, COMPLETE),
        (1, 9.0, 0.6, Role.ANCHOR, COMPLETE),
        (2, 4.0, 0.6, Role.REPLICATE, COMPLETE),
        (3, 7.0, 1.0, Role.FILL, COMPLETE),
        (4, 6.0, 1.2, Role.FILL, COMPLETE),
    )
    assert [one["temperature"] for one in best_conditions(results_of(spec, *trials), 9)] == [1.0, 0.6, 1.2]
    again = (5, 8.0, 0.6, Role.REPLICATE, COMPLETE)
    assert [one["temperature"] for one in best_conditions(results_of(spec, *trials, again), 9)] == [0.6, 1.0, 1.2]


def test_fewer_conditions_than_asked_for_are_planned_as_they_are(tmp_path: Path) -> None:
    spec = make_spec(tmp_path, START + TEMPERATURE)
    assert [Confirmation(best, HeldBack((), ())).planned(spec) for best in (1, 2, 9)] == [2, 3, 3]
