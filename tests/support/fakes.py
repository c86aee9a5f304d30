"""A backend and a judge without a model, for tests of everything around them."""

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.core.condition import DECODING_PARAMETERS, DecodingParams
from ablations.core.errors import BackendError, JudgeError
from ablations.core.records import Completion, Judgment, PaidReply, Price, Prompt, Query, Score, Usage
from ablations.judges.prices import Budget
from ablations.models.base import BackendIdentity


class FakeBackend:
    """Answers with a text that depends on everything a real engine's output depends on."""

    name = "fake"
    honours = frozenset(DECODING_PARAMETERS)
    max_stops: int | None = None

    def __init__(self, fail_after: int | None = None, context_length: int | None = None) -> None:
        self.requests: list[tuple[str, DecodingParams, int]] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.closed = False
        self._fail_after = fail_after
        self._context_length = context_length

    @property
    def identity(self) -> BackendIdentity:
        return BackendIdentity(self.name, "fake-model", {})

    @property
    def answered(self) -> int:
        """How many requests were answered: those that a failure found in flight were cancelled."""
        return len(self.requests) - self.in_flight

    async def start(self) -> None:
        pass

    chat_template = None
    prefix_cache = None

    async def count_tokens(self, text: str, templated: bool = False) -> int:
        return len(text.split())

    @property
    def context_length(self) -> int | None:
        return self._context_length

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        if self._fail_after is not None and len(self.requests) >= self._fail_after:
            raise BackendError("the fake engine is out of order")
        self.requests.append((prompt.text, decoding, seed))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0.001)
        self.in_flight -= 1
        digest = hashlib.sha256(repr((prompt.text, decoding, seed)).encode()).hexdigest()
        words = [digest[start : start + 4] for start in range(0, 40, 4)]
        return Completion(
            text=" ".join(words[: decoding.max_tokens]) + "\n```",
            prompt_tokens=len(prompt.text.split()),
            completion_tokens=min(10, decoding.max_tokens),
            finish_reason="length" if decoding.max_tokens < 10 else "stop",
            seed=seed,
        )

    async def close(self) -> None:
        self.closed = True


class FakeJudge:
    """Prefers low temperatures; some noise comes from the answer."""

    name = "fake"
    scale = (1.0, 10.0)
    max_turns = 2

    def __init__(self, unscored: Sequence[str] = (), broken: bool = False) -> None:
        self.judged = 0
        self.budget = Budget(Price(0.0, 0.0))
        self._unscored = unscored
        self._broken = broken

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"judge": self.name}

    def check(self, queries: Sequence[Query]) -> None:
        pass

    async def start(self) -> None:
        pass

    def expected_usage(self, query: Query, turn: int, answer_tokens: float) -> Usage:
        return Usage()

    def against(self, query: Query) -> Sequence[str]:
        return ()

    def keep_replies(self, keep: Callable[[PaidReply], None]) -> None:
        pass

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        if self._broken:
            raise JudgeError("the fake judge is out of order")
        self.judged += 1
        if query.id in self._unscored:
            return Judgment(self.name, Score(None, "no rating"), replies=("hm",))
        noise = int(hashlib.sha256(completions[-1].text.encode()).hexdigest()[:4], 16) / 65535
        return Judgment(self.name, Score(1 + 9 * noise), replies=(f"Rating: {noise}",))

    async def close(self) -> None:
        pass


class TelltaleBackend(FakeBackend):
    """Says at which temperature it was asked."""

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        made = await super().generate(prompt, decoding, seed)
        return replace(made, text=f"temperature {decoding.temperature} {made.text}")


class ColdJudge(FakeJudge):
    """Gives points for low temperatures; some noise comes from the answer."""

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        noise = (await super().judge(query, completions)).score.value
        assert noise is not None
        found = re.match(r"temperature ([\d.]+)", completions[-1].text)
        assert found is not None
        return Judgment(self.name, Score(8 - 5 * float(found[1]) + noise / 5))


def make_queries(count: int = 4, turns: int = 2) -> tuple[Query, ...]:
    return tuple(
        Query(
            id=f"q{number}",
            category="math" if number % 2 else "writing",
            turns=tuple(f"question {number} turn {turn}" for turn in range(turns)),
            references=tuple(f"reference {number} {turn}" for turn in range(turns)),
        )
        for number in range(count)
    )
