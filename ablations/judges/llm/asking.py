"""How an LLM judge is asked: settings, one question to the client, and asking again where a reply holds no score.

Knows the client, not what is asked and what a score means.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from ablations.core.errors import UsageError
from ablations.core.records import Usage
from ablations.judges.base import GRADED
from ablations.judges.llm.client import CallFailedError, JudgeClient, Limits, Reply
from ablations.judges.llm.parsing import UnscoredError
from ablations.judges.prices import PRICES_FILE, Budget, read_prices

ASKS = 3
"""A question is put at most so often: once, and twice again where the reply holds no score."""
AGAIN_TEMPERATURE = 0.5
"""Later asks sample, because at temperature 0 a server may only repeat itself."""
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class JudgeSettings:
    """Settings of a judge, as the command line or a study file gives them.

    Attributes:
        model, base_url: of the judge's server; the reference judge takes neither.
        prompts: a `judge_prompts.jsonl`, or None for the project's own.
        prices: a price table, or None for the project's own.
        max_cost: the most to spend, in US dollars.
        limits: on the client.
        compare_with: a file of answers that a comparing judge compares with.
        reply_tokens: the longest reply; one that is cut off has no score.
        two_scores: whether a comparing judge asks for two scores, as Han does.
        checks_score: how the checks judge makes one score of its checks.
        seed: of the order in which answers are shown.
    """

    model: str | None = None
    base_url: str | None = None
    prompts: Path | None = None
    prices: Path | None = None
    max_cost: float | None = None
    limits: Limits = field(default_factory=Limits)
    compare_with: Path | None = None
    two_scores: bool = False
    checks_score: str = GRADED
    reply_tokens: int = 2048
    seed: int = 0

    def make_client(self, judge: str) -> JudgeClient:
        """Return a client that has asked nothing yet; raise `UsageError` without a model."""
        if self.model is None:
            raise UsageError(f"the {judge} judge needs a model; give --judge-model NAME (and --judge-base-url URL)")
        return JudgeClient(self.model, self.base_url, self.limits, self._budget)

    @cached_property
    def _budget(self) -> Budget:
        """The budget of all judges with these settings together."""
        price = read_prices(self.prices or PRICES_FILE).get(str(self.model))
        return Budget(price, self.max_cost)


@dataclass(frozen=True)
class Answered(Generic[_Value]):
    """Outcome of a question: a value or the reason why there is none, every raw reply, and the usage."""

    value: _Value | None
    reason: str | None
    replies: tuple[str, ...]
    usage: Usage


async def ask(
    client: JudgeClient,
    messages: Sequence[Mapping[str, str]],
    read: Callable[[Reply], _Value],
    *,
    max_tokens: int,
    temperature: float = 0.0,
    top_logprobs: int | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Answered[_Value]:
    """Ask until `read` finds a value, at most `ASKS` times.

    `read` returns the value of a reply, or raises `UnscoredError`; the rest is as in `JudgeClient.chat`.
    """
    replies: list[str] = []
    usage, reason = Usage(), ""
    for number in range(ASKS):
        try:
            reply = await client.chat(
                messages,
                max_tokens=max_tokens,
                temperature=max(temperature, AGAIN_TEMPERATURE) if number else temperature,
                seed=number,
                top_logprobs=top_logprobs,
                schema=schema,
            )
        except CallFailedError as error:
            return Answered(None, str(error), tuple(replies), usage)
        replies.append(reply.text)
        usage += reply.usage
        try:
            return Answered(read(reply), None, tuple(replies), usage)
        except UnscoredError as error:
            reason = str(error)
    return Answered(None, reason, tuple(replies), usage)
