"""Claims about the judges' client, against a real server that misbehaves on demand."""

import asyncio
import random
import time
from dataclasses import replace
from typing import Any

import pytest
from tenacity import RetryCallState

from ablations.core.errors import BudgetError, JudgeError, UsageError
from ablations.core.records import Judgment, PaidReply, Price, Query, Usage
from ablations.judges.base import NO_REPLY
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import CallFailedError, JudgeClient, Limits
from ablations.judges.llm.parsing import CUT_OFF, EMPTY, NO_RATING, OUT_OF_RANGE, REFUSED, SEVERAL
from ablations.judges.prices import Budget, tokens_at_most
from ablations.judges.registry import make_judge
from ablations.models.http import retrying
from tests.support.bad_server import (
    MODEL,
    Answer,
    BadServer,
    bad_server,
    drips,
    fails,
    hangs,
    reply,
    resets,
    says,
    sends,
    truncates,
)
from tests.support.calls import QUICK, together
from tests.support.judge_contract import QUERY, completion


def settings(server: BadServer, **changes: Any) -> JudgeSettings:
    return replace(JudgeSettings(model=MODEL, base_url=server.url, limits=QUICK), **changes)


def judge_once(server: BadServer, answers: int = 1, **changes: Any) -> list[Judgment]:
    async def run() -> list[Judgment]:
        judge = make_judge("rubric", settings(server, **changes))
        texts = [f"Blue light is scattered most, {number}." for number in range(answers)]
        return await together(judge, [judge.judge(QUERY, [completion(text)]) for text in texts])

    return asyncio.run(run())


def started(name: str, server: BadServer, **changes: Any) -> None:
    judge = make_judge(name, settings(server, **changes))
    asyncio.run(together(judge, [judge.start()]))


FAULTS: dict[str, Answer] = {
    "429": fails(429, {"Retry-After": "0"}),
    "500": fails(500),
    "503": fails(503),
    "408": fails(408),
    "hang": hangs(2.0),
    "reset": resets,
    "truncated JSON": truncates,
    "slow drip": drips,
    "wrong schema": sends({"answer": "7"}),
    "a list": sends([1, 2]),
    "no choices": sends({"choices": [], "usage": None}),
    "no message": sends({"choices": [{"index": 0, "finish_reason": "stop"}]}),
    "a number as text": sends({"choices": [{"index": 0, "finish_reason": "stop", "message": {"content": 7}}]}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_is_survived_and_the_score_is_the_judges_own(fault: str) -> None:
    with bad_server([FAULTS[fault]]) as server:
        (judgment,) = judge_once(server)
    assert judgment.score.value == 7.0
    assert judgment.replies == ("Rating: [[7]]",)
    assert len(server.requests) == 2


UNSCORED: dict[str, tuple[Answer, str]] = {
    "empty": (says(""), EMPTY),
    "null": (says(None), EMPTY),
    "refusal": (says(None, refusal="I cannot."), REFUSED),
    "filtered": (says("Rating: [[7]]", "content_filter"), REFUSED),
    "cut off": (says("Rating: [[7]]", "length"), CUT_OFF),
    "no rating": (says("A fine answer."), NO_RATING),
    "several": (says("[[2]] or [[9]]"), SEVERAL),
    "out of range": (says("Rating: [[12]]"), OUT_OF_RANGE),
}


@pytest.mark.parametrize("kind", UNSCORED)
def test_a_reply_without_a_score_is_asked_again_twice_and_then_has_a_reason(kind: str) -> None:
    answer, reason = UNSCORED[kind]
    with bad_server([], default=answer) as server:
        (judgment,) = judge_once(server)
    assert (judgment.score.value, judgment.score.reason) == (None, reason)
    assert len(server.requests) == len(judgment.replies) == judgment.usage.calls == 3


@pytest.mark.parametrize("kind", UNSCORED)
def test_a_second_reply_may_hold_the_score(kind: str) -> None:
    with bad_server([UNSCORED[kind][0]]) as server:
        (judgment,) = judge_once(server)
    assert judgment.score.value == 7.0
    assert judgment.usage.calls == 2
    assert [request["temperature"] for request in server.requests] == [0.0, 0.5]


def test_retry_after_is_obeyed_by_all_calls() -> None:
    """Eight calls are in flight; the pause is longer than the breaker's time, and no sign of death."""
    with bad_server([fails(429, {"Retry-After": "2"}) for _ in range(8)]) as server:
        judgments = judge_once(server, answers=8, limits=replace(QUICK, breaker_seconds=0.5))
    assert [judgment.score.value for judgment in judgments] == [7.0] * 8
    refused, later = server.times[:8], server.times[8:]
    assert len(later) == 8
    assert min(later) - max(refused) >= 1.9


def test_a_pause_longer_than_the_time_limit_is_not_begun() -> None:
    with bad_server([], default=fails(429, {"Retry-After": "86400"})) as server:
        begun = time.monotonic()
        (judgment,) = judge_once(server)
    assert judgment.score.reason == NO_REPLY
    assert time.monotonic() - begun < 5


def test_a_server_that_refuses_requests_and_rests_is_alive() -> None:
    """Five refused requests, silence for longer than the breaker's time, then a good reply."""
    client_limits = replace(QUICK, breaker_seconds=0.2)

    async def run(url: str) -> str:
        client = JudgeClient(MODEL, url, client_limits, Budget(None))
        question = [{"role": "user", "content": "x"}]
        for _ in range(5):
            with pytest.raises(CallFailedError):
                await client.chat(question, max_tokens=8)
        await asyncio.sleep(0.4)
        (last,) = await together(client, [client.chat(question, max_tokens=8)])
        return str(last.text)

    with bad_server([fails(400)] * 5) as server:
        assert asyncio.run(run(server.url)) == "Rating: [[7]]"


def test_every_reply_is_handed_on_the_moment_it_is_paid_for() -> None:
    """Also the first of two, when the second call ends in an error."""
    paid: list[PaidReply] = []

    async def run(server: BadServer) -> None:
        judge = make_judge("rubric", settings(server))
        judge.keep_replies(paid.append)
        await together(judge, [judge.judge(QUERY, [completion("x")])])

    with bad_server([says("no rating")], default=fails(401)) as server, pytest.raises(JudgeError):
        asyncio.run(run(server))
    assert [(reply.text, reply.usage) for reply in paid] == [("no rating", Usage(1, 100, 10))]


def test_log_probabilities_of_another_form_are_a_malformed_reply() -> None:
    body = reply("Rating: [[7]]")
    body["choices"][0]["logprobs"] = {"content": ["m"]}
    with bad_server([sends(body)]) as server:
        (judgment,) = judge_once(server)
    assert judgment.score.value == 7.0
    assert len(server.requests) == 2


@pytest.mark.parametrize("text", ["1 2 3 4 5 6 7 8 9 " * 40, "😀" * 100])
def test_no_text_has_more_tokens_than_are_held_back_for_it(text: str) -> None:
    from transformers import AutoTokenizer

    from ablations.models.resolve import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("smollm2-135m-instruct").location)
    assert len(tokenizer(text).input_ids) <= tokens_at_most(text)


def test_a_request_that_the_server_refuses_is_unscored_and_not_repeated() -> None:
    with bad_server([fails(400)]) as server:
        (judgment,) = judge_once(server)
    assert judgment.score.reason == "the judge's server refused the request (400)"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [fails(401), fails(402), fails(403), fails(404), fails(429, code="insufficient_quota")],
    ids=["401", "402", "403", "404", "quota"],
)
def test_a_server_that_refuses_everything_stops_the_study_at_once(answer: Answer) -> None:
    with bad_server([], default=answer) as server, pytest.raises(JudgeError, match="finished work is stored"):
        judge_once(server)
    assert len(server.requests) == 1


def test_one_request_without_a_reply_is_unscored_while_the_server_lives() -> None:
    limits = replace(QUICK, attempts=2, breaker_failures=50)
    with bad_server([fails(500), fails(500)]) as server:
        (judgment,) = judge_once(server, limits=limits)
    assert judgment.score.reason == NO_REPLY


def test_a_dead_server_stops_the_study_instead_of_failing_every_trial() -> None:
    with bad_server([], default=fails(500)) as server:
        begun = time.monotonic()
        with pytest.raises(JudgeError, match="times in a row"):
            judge_once(server, answers=40)
        assert time.monotonic() - begun < 15
    assert len(server.requests) < 40 * QUICK.attempts


def test_a_server_that_is_gone_stops_the_study() -> None:
    with bad_server([]) as server:
        url = server.url
    judge = make_judge("rubric", JudgeSettings(model=MODEL, base_url=url, limits=replace(QUICK, breaker_failures=3)))
    with pytest.raises(JudgeError, match="times in a row"):
        asyncio.run(together(judge, [judge.judge(QUERY, [completion("x")])]))


def test_the_attempts_of_a_request_last_longer_than_a_server_that_is_away_for_a_minute() -> None:
    random.seed(0)
    attempts = retrying(Limits().attempts, Limits().total_seconds)
    waits = [RetryCallState(attempts, None, (), {}) for _ in range(1, Limits().attempts)]
    for number, state in enumerate(waits, start=1):
        state.attempt_number = number
    shortest = min(sum(map(attempts.wait, waits)) for _ in range(1000))
    assert 60 < shortest < Limits().total_seconds
    assert Limits().breaker_seconds > 60


def test_no_more_requests_are_in_flight_than_allowed() -> None:
    running, most = [0], [0]

    def slow(handler: Any, body: Any) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.2)
        running[0] -= 1
        says("Rating: [[7]]")(handler, body)

    with bad_server([], default=slow) as server:
        judge_once(server, answers=12, limits=replace(QUICK, in_flight=3))
    assert 2 <= most[0] <= 3


def test_requests_are_spread_to_the_rate_that_is_allowed() -> None:
    with bad_server([]) as server:
        judge_once(server, answers=6, limits=replace(QUICK, requests_per_minute=120))
        spread = server.times[-1] - server.times[0]
    assert spread >= 5 / 120 * 60 - 1.1


def test_tokens_are_spread_to_the_rate_that_is_allowed() -> None:
    with bad_server([]) as server:
        judge_once(server, answers=3, limits=replace(QUICK, tokens_per_minute=120_000))
        spread = server.times[-1] - server.times[0]
    # Each request counts its prompt and its longest reply, at least 2,048 tokens: two more than the burst.
    assert spread >= 1.5


def test_a_budget_is_never_exceeded_and_its_end_is_orderly() -> None:
    async def run(client: JudgeClient) -> None:
        question = [{"role": "user", "content": "Rate it."}]
        await together(client, [client.chat(question, max_tokens=100) for _ in range(50)])

    price = Price(prompt=10.0, completion=10.0)
    with bad_server([]) as server:
        budget = Budget(price, limit=0.01)
        client = JudgeClient(MODEL, server.url, QUICK, budget)
        with pytest.raises(BudgetError, match="a higher --max-cost resumes"):
            asyncio.run(run(client))
    assert 0.005 < budget.spent <= 0.01


def test_a_limit_without_a_price_is_refused() -> None:
    with pytest.raises(UsageError, match="--judge-prices"):
        make_judge("rubric", JudgeSettings(model="nobody-knows", max_cost=1.0))


def test_a_server_without_log_probabilities_is_refused_before_anything_runs() -> None:
    with bad_server([]) as server, pytest.raises(UsageError, match="use --judge rubric"):
        started("expected-rating", server)


@pytest.mark.parametrize("judge", ["rubric", "aspects"])
def test_a_server_that_refuses_the_judges_form_is_found_at_the_start(judge: str) -> None:
    refusal = fails(400, code="unsupported_parameter")
    with bad_server([], default=refusal) as server, pytest.raises(UsageError, match="in this judge's form"):
        started(judge, server)


def test_a_model_that_is_not_served_is_refused_with_what_is() -> None:
    with bad_server([]) as server, pytest.raises(UsageError, match=f"it serves: {MODEL}"):
        started("rubric", server, model="gpt-17")


def test_without_json_schemas_the_prompt_alone_asks_for_the_form() -> None:
    import json

    from ablations.judges.llm.aspects import ASPECTS

    text = json.dumps({name: {"reason": "so", "rating": 4} for name in ASPECTS})
    with bad_server([fails(400)], default=says(text)) as server:

        async def run() -> Judgment:
            judge = make_judge("aspects", settings(server))
            await judge.start()
            (made,) = await together(judge, [judge.judge(QUERY, [completion("x")])])
            return made  # type: ignore[no-any-return]

        judgment = asyncio.run(run())
    assert judgment.score.value == 4.0
    assert "response_format" in server.requests[0]
    assert "response_format" not in server.requests[1]


def test_a_refused_request_is_an_error_of_its_own() -> None:
    with bad_server([fails(400)]) as server:
        client = JudgeClient(MODEL, server.url, QUICK, Budget(None))
        with pytest.raises(CallFailedError, match="refused the request"):
            asyncio.run(together(client, [client.chat([{"role": "user", "content": "x"}], max_tokens=1)]))


def test_reference_guided_categories_need_a_reference() -> None:
    from ablations.core.errors import QueryError

    with bad_server([]) as server:
        judge = make_judge("rubric", settings(server))
        with pytest.raises(QueryError, match="--reference-answers"):
            judge.check([Query("q", "math", ("1+1?",))])
