"""Claims about the checks judge: its scores, its outcomes, and the floor."""

import asyncio
from collections.abc import Iterator

import pytest

from ablations.core.errors import QueryError, UsageError
from ablations.core.records import Check, Judgment, Query
from ablations.judges.base import CHECKS_SCORES
from ablations.judges.checks.judge import NO_CHECKS, ChecksJudge
from ablations.judges.checks.scores import floors
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.registry import make_judge
from tests.support.judge_contract import LOOP, JudgeContract, completion

MENTIONS = Check("answer:mentions", {"any": ["Paris"]})
CAPITAL = Query("c", "facts", ("Capital of France?",), ("Paris",), ((MENTIONS, Check("finished")),))


@pytest.fixture(scope="module")
def judge() -> Iterator[ChecksJudge]:
    made = ChecksJudge(JudgeSettings())
    LOOP.run(made.start())
    yield made
    LOOP.run(made.close())


class TestChecksJudge(JudgeContract):
    pass


def asked(text: str, reason: str = "stop", score: str = "graded", query: Query = CAPITAL) -> Judgment:
    judge = make_judge("checks", JudgeSettings(checks_score=score))
    return asyncio.run(judge.judge(query, [completion(text, reason)]))


@pytest.mark.parametrize(
    ("text", "reason", "graded", "strict", "share"),
    [
        ("Paris", "stop", 1.0, 1.0, 1.0),
        ("Paris is", "length", 0.5, 0.0, 0.5),
        ("Lyon", "stop", 0.0, 0.0, 0.5),
        ("Lyon is", "length", 0.0, 0.0, 0.0),
        ("```\n```", "stop", 0.0, 0.0, 0.0),
    ],
)
def test_the_three_scores_and_both_outcomes(text: str, reason: str, graded: float, strict: float, share: float) -> None:
    found = {score: asked(text, reason, score).score.value for score in CHECKS_SCORES}
    assert found == {"graded": graded, "strict": strict, "share": share}
    details = asked(text, reason).details
    assert details["content"] == ("Paris" in text)
    assert details["finished"] == (reason == "stop")
    assert details["check answer:mentions"] == ("Paris" in text)


def test_the_loose_reading_drops_a_first_line_and_asterisks() -> None:
    is_paris = Check("answer:is", {"values": ["Paris"]})
    query = Query("c", "", ("Capital of France?",), (), ((is_paris,),))
    judgment = asked("Sure:\n**Paris**", score="strict", query=query)
    assert (judgment.score.value, judgment.details["loose"]) == (0.0, 1.0)


def test_content_that_is_not_asked_for_is_right_where_there_is_some() -> None:
    query = Query("c", "", ("Say anything.",), (), ((Check("finished"),),))
    assert [asked(text, query=query).score.value for text in ("Well.", "")] == [1.0, 0.0]


def test_a_turn_without_checks_has_a_reason_and_no_number() -> None:
    judgment = asked("Paris", query=Query("c", "", ("Capital of France?",)))
    assert (judgment.score.value, judgment.score.reason) == (None, NO_CHECKS)


def test_queries_without_checks_are_refused_beforehand(judge: ChecksJudge) -> None:
    judge.check([CAPITAL])
    with pytest.raises(QueryError, match=r"1 of 2 turns have none \(query .x.\)"):
        judge.check([CAPITAL, Query("x", "", ("Why?",))])


def test_ways_to_score_belong_to_this_judge_and_are_part_of_its_identity() -> None:
    identities = {str(make_judge("checks", JudgeSettings(checks_score=score)).identity) for score in CHECKS_SCORES}
    assert len(identities) == len(CHECKS_SCORES)
    with pytest.raises(UsageError, match="--checks-score has no effect"):
        make_judge("reference", JudgeSettings(checks_score="strict"))


def test_the_floor_is_what_one_answer_to_everything_gets() -> None:
    other = Query("d", "", ("And of Italy?",), ("Rome",), ((Check("answer:mentions", {"any": ["Rome"]}),),))
    found = floors([CAPITAL, other, Query("x", "", ("Why?",))])
    assert found["graded"].best == found["strict"].best == 0.5
    assert found["graded"].answer in ("Paris", "Rome")
    assert (found["share"].best, found["share"].answer) == (0.75, "Rome")
    assert {one.empty for one in found.values()} == {0.0}
    with pytest.raises(ValueError, match="no turn has checks"):
        floors([Query("x", "", ("Why?",))])
