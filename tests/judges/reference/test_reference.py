"""The reference judge: its formula, what it cannot score, and how it fares against planted controls."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ablations.core.errors import QueryError, UsageError
from ablations.core.records import Query
from ablations.datasets.queries import second_answers, wrong_answers
from ablations.judges.audit.audit import AuditRow, audit, plant_controls
from ablations.judges.audit.calibration import GRID, calibrate, halves
from ablations.judges.audit.controls import CONTROLS, HARD_CONTROLS, WRONG
from ablations.judges.reference.judge import NO_REFERENCE, Features, ReferenceJudge, Weights, rate
from ablations.judges.reference.text_statistics import ends_closed, freshness, length_share, own_share, split_sentences
from ablations.judges.registry import make_judge
from tests.support.judge_contract import LOOP, QUERY, JudgeContract, completion

PERFECT = Features(1.0, 1.0, 1.0, 1.0, 1.0, True)


@pytest.fixture(scope="module")
def all_cores() -> Iterator[None]:
    """Encoders take every core here; beside an engine they take one."""
    import torch

    before, set_threads = torch.get_num_threads(), torch.set_num_threads
    set_threads(len(os.sched_getaffinity(0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "set_num_threads", lambda _: None)
        yield
    set_threads(before)


@pytest.fixture(scope="module")
def judge(all_cores: None) -> Iterator[ReferenceJudge]:
    made = ReferenceJudge()
    LOOP.run(made.start())
    yield made
    LOOP.run(made.close())


class TestReferenceJudge(JudgeContract):
    def test_the_reference_itself_gets_the_highest_score(self, judge: ReferenceJudge) -> None:
        assert self.ask(judge, QUERY.references[0] or "").score.value == pytest.approx(10.0)

    def test_an_empty_answer_gets_the_lowest_score(self, judge: ReferenceJudge) -> None:
        assert self.ask(judge, "``` \n").score.value == 1.0

    def test_without_a_reference_there_is_a_reason_and_no_number(self, judge: ReferenceJudge) -> None:
        judgment = asyncio.run(judge.judge(Query("x", "", ("Why?",)), [completion("Because.")]))
        assert (judgment.score.value, judgment.score.reason) == (None, NO_REFERENCE)

    def test_queries_without_any_reference_are_refused_beforehand(self, judge: ReferenceJudge) -> None:
        with pytest.raises(QueryError, match="--reference-answers"):
            judge.check([Query("x", "", ("Why?",))])
        with pytest.raises(QueryError, match="2 of 3 turns"):
            judge.check([Query("x", "", ("Why?",)), QUERY])
        judge.check([QUERY])


def test_the_formula_is_the_documented_one() -> None:
    weights = Weights(0.3, 2.0, 0.8, 0.5, 0.4, 1.5, 1.0, 0.7)
    features = Features(0.5, 0.4, 0.2, 0.9, 0.8, False)
    similarity = (0.3 * 0.5 + 0.7 * 0.4) / 0.8
    quality = similarity**2 * (0.2 / 0.4) ** 0.5 * 0.9**1.5 * 0.8 * 0.7
    assert rate(features, weights) == pytest.approx(1 + 9 * quality)


@pytest.mark.parametrize(
    "worse",
    [
        {"document_cosine": -0.5, "sentence_f1": 0.0},
        {"length_share": 0.1},
        {"freshness": 0.3},
        {"own_share": 0.4},
        {"closed": False},
    ],
)
def test_each_feature_lowers_the_score(worse: dict[str, float]) -> None:
    assert rate(PERFECT, Weights()) == 10.0
    assert 1.0 <= rate(replace(PERFECT, **worse), Weights()) < 10.0  # type: ignore[arg-type]


def test_text_statistics_see_loops_cuts_and_run_ons() -> None:
    assert freshness("one two three one two three one two three") < 0.5 < freshness("one two three four five")
    assert length_share("a b", "a b c d") == 0.5
    assert own_share("Yes.\n\nUser: and then?") == pytest.approx(0.24, abs=0.1)
    assert own_share("The question: answered in a line.") == own_share("Answer: 42.") == own_share("") == 1.0
    assert [ends_closed(text) for text in ("Done.", "and then the", "`x = 1`")] == [True, False, True]
    assert split_sentences("") == []


@pytest.fixture(scope="module")
def rows(judge: ReferenceJudge) -> dict[str, AuditRow]:
    planted = plant_controls(halves()[1], second_answers(), wrong_answers())
    return {row.control: row for row in asyncio.run(audit(judge, planted)).rows}


@pytest.mark.slow
@pytest.mark.parametrize("control", CONTROLS)
def test_a_good_answer_beats_each_control_in_95_of_100_held_back_pairs(rows: dict[str, AuditRow], control: str) -> None:
    row = rows[control]
    print(f"{control}: {row.wins}/{row.pairs} [{row.low:.3f}, {row.high:.3f}]")
    assert (row.pairs, row.unscored) == (48, 0)
    assert row.share is not None
    assert row.share >= 0.95


@pytest.mark.slow
def test_the_judge_passes_the_whole_audit(rows: dict[str, AuditRow]) -> None:
    assert {name for name, row in rows.items() if not row.passed} == set()
    assert {name: (rows[name].wins, rows[name].pairs) for name in HARD_CONTROLS} == dict.fromkeys(
        HARD_CONTROLS, (48, 48)
    )
    assert (rows[WRONG].wins, rows[WRONG].pairs) == (15, 18)


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_the_shipped_weights_are_those_the_calibration_chooses() -> None:
    chosen = calibrate(plant_controls(halves()[0], second_answers()))
    assert chosen.weights == Weights()
    assert chosen.worst_share >= 0.95


def test_weights_are_reported_on_queries_they_were_not_chosen_on() -> None:
    chosen, reported = halves()
    assert not {query.id for query in chosen} & {query.id for query in reported}
    assert {query.category for query in chosen} == {query.category for query in reported}
    assert len(GRID) >= 5


def test_planted_controls_are_seeded_and_differ_from_the_good_answer() -> None:
    first, again = (plant_controls(halves()[1], second_answers()) for _ in range(2))
    assert first == again
    for item in first:
        assert all(text != item.good for text in item.controls.values())
        assert sorted(item.controls["shuffled words"].split()) == sorted(item.good.split())
        assert len(item.controls["cut after 10 words"].split()) == 10


def test_an_unknown_judge_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean reference"):
        make_judge("referense")
