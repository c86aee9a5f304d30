"""LLM judges keep the contract of all judges, on a scripted server that tells good answers from an oven's."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ablations.judges.base import Judge
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.aspects import ASPECTS
from ablations.judges.registry import make_judge
from tests.support.bad_server import MODEL, Handler, bad_server, reply
from tests.support.judge_contract import LOOP, JudgeContract

POOR = "Preheat the oven"


def rates(handler: Handler, body: dict[str, Any]) -> None:
    """Rate with log-probabilities where they are asked for, and as JSON where a schema is."""
    poor = POOR in body["messages"][-1]["content"]
    if "response_format" in body:
        text = json.dumps({name: {"reason": "so", "rating": 1 if poor else 5} for name in ASPECTS})
    else:
        text = f"Rating: [[{2 if poor else 9}]]"
    answered = reply(text)
    if body.get("logprobs"):
        top = [{"token": letter, "logprob": 0.0, "bytes": list(letter.encode())} for letter in text]
        content = [entry | {"top_logprobs": [entry]} for entry in top]
        answered["choices"][0]["logprobs"] = {"content": content}
    handler.send(200, answered)


class LlmJudgeContract(JudgeContract):
    name: str

    @pytest.fixture
    def judge(self) -> Iterator[Judge]:
        with bad_server([], default=rates) as server:
            made = make_judge(self.name, JudgeSettings(model=MODEL, base_url=server.url))
            LOOP.run(made.start())
            yield made
            LOOP.run(made.close())


class TestRubric(LlmJudgeContract):
    name = "rubric"


class TestExpectedRating(LlmJudgeContract):
    name = "expected-rating"


class TestAspects(LlmJudgeContract):
    name = "aspects"


@pytest.mark.parametrize(
    ("name", "settings", "flag"),
    [
        ("reference", {"reply_tokens": 64}, "--judge-max-tokens"),
        ("reference", {"limits": "changed"}, "--judge-rpm"),
        ("reference", {"prices": "prices.toml"}, "--judge-prices"),
        ("alpaca-eval", {"reply_tokens": 64}, "--judge-max-tokens"),
        ("rubric", {"two_scores": True}, "--two-scores"),
    ],
)
def test_a_setting_that_a_judge_would_ignore_is_refused(name: str, settings: dict[str, Any], flag: str) -> None:
    from ablations.core.errors import UsageError

    with pytest.raises(UsageError, match=f"{flag}.* has no effect with the {name} judge"):
        make_judge(name, JudgeSettings(**settings))
