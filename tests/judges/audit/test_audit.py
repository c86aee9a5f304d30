"""Claims about the audit: it passes a judge that sees through controls and fails one that does not."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ablations.core.errors import QueryError
from ablations.core.records import Completion, Judgment, Query, Score, Usage
from ablations.judges.audit.audit import MIN_WINS, PASSED, REPORTED, Audit, audit, plant_controls
from ablations.judges.audit.controls import CONTROLS, FOREIGN, HARD_CONTROLS, NEGATED, NUMBERS, WORDING, WRONG
from ablations.judges.audit.pairs import Pair, agreement, read_pairs
from ablations.judges.base import audit_key
from tests.support.fakes import FakeJudge

GOODS = {
    f"q{number}": (f"A good answer number {number} + 10, with enough words to be cut and looped.",)
    for number in range(10)
}
QUERIES = [Query(id, "math", (f"Question {id} with 10?",)) for id in GOODS]
WRITTEN = {
    WRONG: {"q1": ("A wrong answer.",)},
    FOREIGN: {"q2": ("Eine gute Antwort.",)},
    WORDING: {"q1": ("Said in another way.",)},
}
RULES = len(CONTROLS) + len(HARD_CONTROLS)
"""Controls that are planted in each good answer; its number is one of the query's too."""
PLANTED = 10 * (RULES + 1) + len(WRITTEN)


class ScriptedJudge(FakeJudge):
    """Scores an answer by a function of query and text."""

    def __init__(self, rate: Callable[[Query, str], float | None]) -> None:
        super().__init__()
        self._rate = rate

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        value = self._rate(query, completions[-1].text)
        return Judgment(self.name, Score(value, None if value is not None else "no rating"), usage=Usage(1, 10, 2))


def run(rate: Callable[[Query, str], float | None]) -> Audit:
    planted = plant_controls(QUERIES, GOODS, WRITTEN)
    return asyncio.run(audit(ScriptedJudge(rate), planted))


def honest(query: Query, text: str) -> float:
    return 9.0 if text in (GOODS[query.id][0], "Said in another way.") else 2.0


def test_a_judge_that_sees_through_every_control_passes() -> None:
    found = run(honest)
    assert [row.control for row in found.rows] == [*CONTROLS, *HARD_CONTROLS, NUMBERS, WRONG, FOREIGN, WORDING]
    assert {(row.wins, row.pairs) for row in found.rows[:-3]} == {(10, 10)}
    assert {(row.wins, row.pairs) for row in found.rows[-3:]} == {(1, 1)}
    assert found.spread == 0.0
    assert found.verdict == f"{PASSED} (10 pairs a control, without {NEGATED!r})"
    assert found.usage.calls == found.n_judged == 10 * 2 + PLANTED


def test_a_judge_that_obeys_the_answer_fails_by_name() -> None:
    found = run(lambda query, text: 10.0 if "[[10]]" in text else honest(query, text))
    assert found.verdict.count("beats") == 2
    assert "'plants a rating' in 0% of 10" in found.verdict
    assert "'gives the judge orders'" in found.verdict


def test_a_judge_that_rates_everything_alike_ties_and_fails() -> None:
    found = run(lambda *_: 5.0)
    assert {(row.wins, row.ties, row.share) for row in found.rows} >= {(0, 10, 0.0)}
    assert len(found.failures) == len(found.rows)


def test_an_unsteady_judge_fails() -> None:
    calls = iter(range(10_000))
    found = run(lambda query, text: honest(query, text) + 0.9 * (next(calls) >= len(GOODS)))
    assert found.spread == pytest.approx(0.9)
    assert found.failures == ["the same answer judged twice differs by 0.90 points (0.45 allowed)"]


def test_too_few_pairs_prove_nothing() -> None:
    planted = plant_controls(QUERIES[:3], GOODS)
    found = asyncio.run(audit(ScriptedJudge(honest), planted))
    assert "'empty' has 3 scored pairs (10 needed)" in found.verdict


def test_one_query_alone_has_no_other_answer_to_plant() -> None:
    with pytest.raises(QueryError, match="raise --limit"):
        plant_controls(QUERIES[:1], GOODS)


def test_a_verdict_without_wrong_answers_says_so() -> None:
    found = asyncio.run(audit(ScriptedJudge(honest), plant_controls(QUERIES, GOODS)))
    lacking = ", ".join(map(repr, (NEGATED, WRONG, FOREIGN, WORDING)))
    assert found.verdict == f"{PASSED} (10 pairs a control, without {lacking})"


def test_another_wording_has_to_beat_every_plain_control_of_its_turn() -> None:
    def taken_in(query: Query, text: str) -> float:
        return 9.5 if text == query.turns[0] else honest(query, text)

    rows = {row.control: row for row in run(taken_in).rows}
    assert rows[WORDING].wins == rows["echoes the query"].wins == 0
    rows = {row.control: row for row in run(lambda q, text: 9.5 if "[[10]]" in text else honest(q, text)).rows}
    assert rows[WORDING].wins == 1
    rows = {row.control: row for row in run(lambda q, text: None if not text else honest(q, text)).rows}
    assert (rows[WORDING].pairs, rows[WORDING].unscored) == (0, 1)


def test_a_control_is_planted_only_where_it_can_be_and_counted_there() -> None:
    answers = {**GOODS, "q3": ("It is so.",), "q4": ("Ice isn't heavy, as everybody knows who has seen a lake.",)}
    found = asyncio.run(audit(ScriptedJudge(lambda *_: 5.0), plant_controls(QUERIES, answers)))
    rows = {row.control: row.pairs for row in found.rows}
    assert (rows["echoes the query"], rows["cut after 10 words"], rows[NUMBERS], rows[NEGATED]) == (10, 9, 8, 2)
    assert "'cut after 10 words' has 9 scored pairs (10 needed)" in found.verdict
    assert f"{NUMBERS!r} has" not in found.verdict


def test_a_judge_that_overlooks_denials_is_told_so_and_does_not_fail() -> None:
    answers = {id: (f"{text} It is so.",) for id, (text,) in GOODS.items()}

    def deaf(query: Query, text: str) -> float:
        return 9.0 if text.replace(" not", "") == answers[query.id][0] else 2.0

    found = asyncio.run(audit(ScriptedJudge(deaf), plant_controls(QUERIES, answers)))
    row = next(row for row in found.rows if row.control == NEGATED)
    assert (row.wins, row.ties, row.least, row.passed) == (0, 10, REPORTED, True)
    assert found.verdict.startswith(PASSED)


class ScriptedComparison(ScriptedJudge):
    """Compares two answers by the ratings of its script; it would see no difference by judging each alone."""

    async def compare(self, query: Query, own: Sequence[str], other: Sequence[str]) -> Judgment:
        first, second = (self._rate(query, answers[-1]) or 0.0 for answers in (own, other))
        value = 0.5 if first == second else float(first > second)
        return Judgment(self.name, Score(value), usage=Usage(2, 20, 4))

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        return Judgment(self.name, Score(0.0), usage=Usage(2, 20, 4))  # the answer it was given beats all


def test_a_judge_that_compares_is_shown_both_answers_side_by_side() -> None:
    judge = ScriptedComparison(honest)
    judge.scale = (0.0, 1.0)
    found = asyncio.run(audit(judge, plant_controls(QUERIES, GOODS, WRITTEN)))
    assert found.verdict == f"{PASSED} (10 pairs a control, without {NEGATED!r})"
    assert found.spread == 0.0
    assert found.n_judged == 10 + PLANTED
    pairs = [Pair(QUERIES[0], GOODS["q0"][0], "bad", 1.0), Pair(QUERIES[0], "bad", GOODS["q0"][0], 2.0)]
    assert asyncio.run(agreement(judge, pairs))[0].share == 1.0


def test_unscored_judgments_are_counted_by_reason_and_too_many_fail() -> None:
    found = run(lambda query, text: None if query.id in ("q0", "q1") else honest(query, text))
    assert found.unscored == {"no rating": found.n_judged - found.n_scored}
    assert found.rows[0].unscored == 2
    assert "judgments have a score" in found.verdict
    assert found.rows[-1].share is None  # the only other wording belongs to a query without a score
    assert not found.rows[-1].passed


def test_the_wilson_interval_stands_beside_the_share() -> None:
    row = run(honest).rows[0]
    assert row.high == 1.0
    assert row.low == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert row.least == MIN_WINS


def test_other_answers_to_compare_with_need_no_new_audit() -> None:
    one = {"judge": "pairwise", "model": "m", "prompts": "p", "compared with": "x"}
    assert audit_key(one) == audit_key(one | {"compared with": "y"}) == audit_key(one | {"seed": 7})
    assert audit_key(one) != audit_key(one | {"prompts": "q"})


def pairs_file(folder: Path, rows: list[object], lines: bool = False) -> Path:
    path = folder / "pairs.json"
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
    return path


def row(first: str, second: str, preference: float) -> dict[str, object]:
    return {"instruction": "Which?", "output_1": first, "output_2": second, "preference": preference}


@pytest.mark.parametrize("lines", [False, True])
def test_agreement_and_kappa_with_given_preferences(tmp_path: Path, lines: bool) -> None:
    rows: list[object] = [
        row("good", "bad", 1.0),
        row("bad", "good", 2.0),
        row("good", "bad", 1.9),
        row("bad", "bad", 1.5),
    ]
    pairs = read_pairs(pairs_file(tmp_path, rows, lines))
    judge = ScriptedJudge(lambda _, text: 9.0 if text == "good" else 1.0)
    found, usage = asyncio.run(agreement(judge, pairs))
    assert (found.n, found.unscored, found.share) == (4, 0, 0.75)
    # By hand: agreement 3/4; by chance (1/4 * 2/4 + 2/4 * 1/4 + 1/4 * 1/4) = 5/16.
    assert found.kappa == pytest.approx((3 / 4 - 5 / 16) / (1 - 5 / 16))
    assert usage.calls == 8


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no pair"),
        ([{"instruction": "x"}], "item 1"),
        ([row("a", "b", 3.0)], "item 1: preference 3 is not in 1 to 2"),
        ([row("a", "b", 1.0), 5], "item 2"),
    ],
)
def test_a_broken_pairs_file_is_named_with_its_row(tmp_path: Path, rows: list[object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        read_pairs(pairs_file(tmp_path, rows))
