"""Claims about several judges of one study: the first decides, nothing is averaged, settings and budget are shared."""

import asyncio

import pytest

from ablations.core.errors import QueryError, UsageError
from ablations.core.records import Check, Query
from ablations.core.statistics import Scale
from ablations.judges.base import ALSO, audit_key
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.panel import Panel, members, scales
from ablations.judges.registry import free_judge, make_judge
from tests.support.fakes import FakeJudge

CAPITAL = Query("c", "", ("Capital of France?",), ("Paris",), ((Check("answer:mentions", {"any": ["Paris"]}),),))
SERVED = JudgeSettings(model="gpt-4o-mini", base_url="http://localhost:1/v1", max_cost=1.0)


def test_a_judge_alone_is_no_panel_and_one_that_is_named_twice_is_asked_once() -> None:
    assert not isinstance(make_judge("checks", also=["checks"]), Panel)
    names = [one.name for one in members(make_judge("checks", also=["reference", "checks", "reference"]))]
    assert names == ["checks", "reference"]


def test_the_first_judge_decides_and_the_identity_holds_all() -> None:
    panel, alone = make_judge("checks", also=["reference"]), make_judge("checks")
    assert (panel.name, panel.scale) == (alone.name, alone.scale)
    assert panel.identity == {**alone.identity, ALSO: [dict(make_judge("reference").identity)]}
    assert audit_key(panel.identity) == audit_key(alone.identity)


def test_what_scores_are_read_against_is_each_judges_own() -> None:
    found = scales(make_judge("checks", also=["reference"]), [CAPITAL])
    assert list(found) == ["checks", "reference"]
    assert found["checks"] == Scale(0.0, 1.0, 1.0, "Paris", 0.0, True)
    assert found["reference"] == Scale(1.0, 10.0)
    assert not scales(make_judge("checks", JudgeSettings(checks_score="share")), [CAPITAL])["checks"].chooses
    assert scales(make_judge("checks"), [Query("q", "", ("Why?",))])["checks"] == Scale(0.0, 1.0)


def test_a_flag_is_refused_where_no_judge_takes_it_and_an_unknown_judge_by_its_own_flag() -> None:
    assert len(members(make_judge("checks", SERVED, also=["rubric"]))) == 2
    with pytest.raises(UsageError, match="--judge-model has no effect with the judges checks and reference"):
        make_judge("checks", SERVED, also=["reference"])
    with pytest.raises(UsageError, match=r"--also-judge 'rubrik' is not a known judge; did you mean rubric"):
        make_judge("checks", also=["rubrik"])
    with pytest.raises(UsageError, match="the rubric judge needs a model"):
        make_judge("checks", also=["rubric"])


def test_judges_on_a_server_share_one_budget() -> None:
    first, second = members(make_judge("rubric", SERVED, also=["expected-rating"]))
    assert first.budget is second.budget
    panel = make_judge("checks", SERVED, also=["rubric"])
    assert panel.budget.limit == 1.0
    assert panel.budget is members(panel)[1].budget


def test_every_judge_must_be_able_to_judge_the_queries() -> None:
    make_judge("checks", also=["reference"]).check([CAPITAL])
    without = Query("q", "", CAPITAL.turns, (), CAPITAL.checks)
    with pytest.raises(QueryError, match="the reference judge compares with reference answers"):
        make_judge("checks", also=["reference"]).check([without])


def test_the_judge_of_a_stored_study_is_made_again_where_it_asks_no_server() -> None:
    strict = make_judge("checks", JudgeSettings(checks_score="strict"), also=["reference"])
    again = free_judge(strict.identity)
    assert again is not None
    assert again.identity == members(strict)[0].identity
    assert free_judge({"judge": "rubric"}) is None


def test_closing_a_panel_closes_every_judge() -> None:
    class Closing(FakeJudge):
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    judges = [Closing(), Closing()]
    asyncio.run(Panel(judges).close())
    assert [one.closed for one in judges] == [1, 1]
