"""The reference judge: its formula, what it cannot score, and how it fares against planted controls."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from ablations.core.errors import QueryError, UsageError
from ablations.core.records import Query
from ablations.datasets.queries import foreign_answers, reworded_answers, second_answers, wrong_answers
from ablations.judges.audit.audit import AuditRow, audit, plant_controls
from ablations.judges.audit.calibration import GRID, calibrate, halves, short_halves, short_pairs
from ablations.judges.audit.controls import CONTROLS, FOREIGN, HARD_CONTROLS, NEGATED, NUMBERS, WORDING, WRONG
from ablations.judges.reference.judge import NO_REFERENCE, Features, ReferenceJudge, Weights, rate
from ablations.judges.reference.text_statistics import (
    ends_closed,
    freshness,
    length_share,
    own_share,
    split_sentences,
    word_order,
)
from ablations.judges.registry import make_judge
from tests.support.judge_contract import LOOP, QUERY, JudgeContract, completion

PERFECT = Features(**{field.name: 1.0 for field in fields(Features)})


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
    weights = Weights(
        similarity_power=2.0,
        full_similarity=0.8,
        expected_novelty=0.5,
        fullness_power=0.5,
        expected_share=0.4,
        coverage_weight=0.8,
        numbers_weight=0.5,
        polarity_weight=0.9,
        unclosed_factor=0.7,
    )
    features = Features(
        similarity=0.4,
        novelty=0.25,
        length=0.2,
        coverage=0.5,
        numbers=0.6,
        polarity=0.7,
        exactness=0.75,
        freshness=0.9,
        order=0.95,
        own=0.8,
        closed=0.0,
    )
    similar, new, long = (0.4 / 0.8) ** 2, 0.25 / 0.5, (0.2 / 0.4) ** 0.5
    covered, counted, meant = 0.2 + 0.8 * 0.5, 0.5 + 0.5 * 0.6, 0.1 + 0.9 * 0.7
    quality = similar * new * long * covered * counted * meant * 0.75 * 0.9 * 0.95 * 0.8 * 0.7
    assert rate(features, weights) == pytest.approx(1 + 9 * quality)


@pytest.mark.parametrize(
    "worse",
    [
        {"similarity": 0.3},
        {"novelty": 0.1},
        {"length": 0.1},
        {"coverage": 0.5},
        {"numbers": 0.5},
        {"polarity": 0.5},
        {"exactness": 0.5},
        {"freshness": 0.3},
        {"order": 0.5},
        {"own": 0.4},
        {"closed": 0.0},
    ],
)
def test_each_feature_lowers_the_score(worse: dict[str, float]) -> None:
    assert rate(PERFECT) == 10.0
    assert 1.0 <= rate(replace(PERFECT, **worse)) < 10.0


def test_text_statistics_see_loops_cuts_and_run_ons() -> None:
    assert freshness("one two three one two three one two three") < 0.5 < freshness("one two three four five")
    assert length_share("a b", "a b c d") == 0.5
    assert own_share("Yes.\n\nUser: and then?") == pytest.approx(0.24, abs=0.1)
    assert own_share("The question: answered in a line.") == own_share("Answer: 42.") == own_share("") == 1.0
    assert [ends_closed(text) for text in ("Done.", "and then the", "`x = 1`")] == [True, False, True]
    assert split_sentences("") == []
    assert word_order("The of lake the is a deep and a on.") <= 0.4
    assert word_order("The lake is a deep one: 4/3 A, with the same shore.") == word_order("") == 1.0


BERLIN = Query("b", "", ("What is the capital of Germany, and since when?",), ("Berlin, since 1990.",))
CELLS = Query(
    "c",
    "stem",
    ("Why do red blood cells carry oxygen, and how long do they live?", "Which organ removes them?"),
    (
        "Red blood cells are packed with haemoglobin, an iron protein that binds oxygen in the lungs and lets it go in "
        "the tissues. They do not have a nucleus, so they cannot repair themselves and live for about 120 days.",
        "the spleen",
    ),
)
RIGHT = (
    "Their haemoglobin picks up oxygen where there is plenty of it, in the lungs, and releases it where the tissues "
    "need it. Without a nucleus no repair is possible, and after some 120 days the cell is worn out."
)


def score(judge: ReferenceJudge, query: Query, *answers: str) -> float:
    value = LOOP.run(judge.judge(query, [completion(answer) for answer in answers])).score.value
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize(
    "answer",
    [
        CELLS.turns[0],
        CELLS.turns[0].upper(),
        "why do red blood cells carry oxygen and how long do they live",
        "Question: Why do red blood cells carry oxygen -- and how long do they live?!",
        f"I'm sorry, but as an assistant I cannot answer that. {CELLS.turns[0]}",
        f"{CELLS.turns[0]} Unfortunately I have no answer.",
        "red, blood, cells, carry, oxygen, long, live",
        "- Cells\n- Oxygen\n- Blood",
        "",
    ],
)
def test_what_adds_nothing_to_the_query_scores_at_the_bottom(judge: ReferenceJudge, answer: str) -> None:
    assert score(judge, CELLS, answer) < 1.6 < 4 < score(judge, CELLS, RIGHT)


def test_an_answer_that_repeats_the_query_first_is_still_an_answer(judge: ReferenceJudge) -> None:
    assert score(judge, CELLS, f"{CELLS.turns[0]} {RIGHT}") > 0.5 * score(judge, CELLS, RIGHT) > 2


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (RIGHT, RIGHT.replace("120", "12")),
        (RIGHT.replace("120", "one hundred and twenty"), RIGHT.replace("120", "two hundred")),
        (CELLS.references[0], (CELLS.references[0] or "").replace("do not have", "have").replace("cannot", "can")),
        (CELLS.references[0], (CELLS.references[0] or "").replace("lets it go", "never lets it go")),
        (CELLS.references[0], (CELLS.references[0] or "").replace("are packed", "aren't packed")),
        (RIGHT, " ".join(RIGHT.split()[: len(RIGHT.split()) // 2])),
    ],
)
def test_numbers_negations_and_halves_are_seen(judge: ReferenceJudge, right: str, wrong: str) -> None:
    assert score(judge, CELLS, right) > score(judge, CELLS, wrong) + 0.3


@pytest.mark.parametrize(
    "right", ["spleen", "the spleen", "It is the spleen.", "The organ that removes them is the spleen."]
)
@pytest.mark.parametrize(
    "wrong", ["the liver", "Which organ removes them?", "The organ is the heart.", "not the spleen"]
)
def test_a_short_answer_to_a_second_turn_is_right_or_wrong(judge: ReferenceJudge, right: str, wrong: str) -> None:
    assert score(judge, CELLS, RIGHT, right) > 8 > 4 > score(judge, CELLS, RIGHT, wrong)


def test_the_capital_of_a_country_is_no_other_town(judge: ReferenceJudge) -> None:
    china = Query("x", "", ("What is the capital of China?",), ("Beijing",))
    assert score(judge, china, "The capital of China is Shanghai.") < 4 < 9 < score(judge, china, "It's Beijing.")
    assert score(judge, BERLIN, "Berlin, since 1990.") > score(judge, BERLIN, "Berlin, since 1949.") + 2


@pytest.fixture(scope="module")
def rows(judge: ReferenceJudge) -> dict[str, AuditRow]:
    written = {WRONG: wrong_answers(), FOREIGN: foreign_answers(), WORDING: reworded_answers()}
    planted = plant_controls(halves()[1], second_answers(), written)
    return {row.control: row for row in asyncio.run(audit(judge, planted)).rows}


@pytest.mark.slow
@pytest.mark.parametrize("control", [*CONTROLS, NUMBERS])
def test_a_good_answer_beats_each_control_in_95_of_100_held_back_pairs(rows: dict[str, AuditRow], control: str) -> None:
    row = rows[control]
    print(f"{control}: {row.wins}/{row.pairs} [{row.low:.3f}, {row.high:.3f}]")
    assert (row.pairs, row.unscored) == (35 if control == NUMBERS else 48, 0)
    assert row.share is not None
    assert row.share >= 0.95


@pytest.mark.slow
def test_the_judge_passes_the_whole_audit(rows: dict[str, AuditRow]) -> None:
    assert {name for name, row in rows.items() if not row.passed} == set()
    assert {name: (rows[name].wins, rows[name].pairs) for name in HARD_CONTROLS} == dict.fromkeys(
        HARD_CONTROLS, (48, 48)
    )
    found = {name: (rows[name].wins, rows[name].pairs) for name in (NEGATED, WRONG, FOREIGN, WORDING)}
    assert found == {NEGATED: (46, 48), WRONG: (17, 18), FOREIGN: (24, 24), WORDING: (23, 24)}


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_the_shipped_weights_are_those_the_calibration_chooses() -> None:
    chosen = calibrate(plant_controls(halves()[0], second_answers()), short_halves()[0])
    assert chosen.weights == Weights()
    assert chosen.worst_share >= 0.9


@pytest.mark.slow
def test_right_short_answers_beat_nine_wrong_ones_of_ten_on_the_reported_half() -> None:
    for name, pairs in short_pairs(short_halves()[1]).items():
        wins = sum(rate(right) > rate(wrong) for right, wrong in pairs)
        print(f"{name}: {wins}/{len(pairs)}")
        assert wins >= 0.9 * len(pairs), name


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
