"""The one client of all LLM judges: chat requests to an OpenAI-compatible server, limited, repeated, paid for.

Knows requests and replies, neither queries nor scores.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai
from aiolimiter import AsyncLimiter

from ablations.core.condition import content_hash
from ablations.core.errors import JudgeError, UsageError, redacted
from ablations.core.records import PaidReply, Usage
from ablations.judges.base import NO_REPLY, REFUSED_REQUEST
from ablations.judges.prices import TURN_TOKENS, Budget, estimated_tokens, tokens_at_most
from ablations.models.http import NO_KEY, MalformedReplyError, api_key, explain, is_transient, retrying, told_pause

DEFAULT_URL = "https://api.openai.com/v1"
_FATAL_STATUS = frozenset({401, 402, 403, 404})


@dataclass(frozen=True)
class Limits:
    """How hard a judge's server is used, and when it is given up.

    Attributes:
        in_flight: requests at once.
        requests_per_minute, tokens_per_minute: None for no limit; tokens are prompt plus longest reply.
        call_seconds: time for one attempt, from its start to its last byte.
        total_seconds: time for all attempts of one request.
        attempts: attempts of one request at most.
        breaker_failures, breaker_seconds: the judge counts as dead after so many attempts in a row that got no
            answer at all, or a 5xx, when the last of them came at least so many seconds after the first. Any other
            answer, a 429 too, is a sign of life.
    """

    in_flight: int = 32
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    call_seconds: float = 120.0
    total_seconds: float = 600.0
    attempts: int = 16
    breaker_failures: int = 5
    breaker_seconds: float = 120.0


@dataclass(frozen=True)
class Token:
    """One token of a reply, and the log-probabilities of what could have stood in its place, itself included.

    `raw` are the bytes that the server names: a token may hold a part of a character, which has no text.
    """

    text: str
    alternatives: Mapping[str, float]
    raw: bytes | None = None

    @property
    def data(self) -> bytes:
        """Its part of the reply in UTF-8."""
        return self.text.encode() if self.raw is None else self.raw


@dataclass(frozen=True)
class Reply:
    """The server's answer to one question.

    Attributes:
        text: the reply, "" where there is none.
        finish_reason: "stop", "length", "content_filter", …
        usage: what it used.
        tokens: with log-probabilities where they were asked for and given, else empty.
    """

    text: str
    finish_reason: str
    usage: Usage
    tokens: tuple[Token, ...] = ()


class CallFailedError(Exception):
    """One request got no reply, though the server lives.

    Its message is the reason for a missing score; `detail` is what the server said.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.detail = detail


@dataclass
class _Breaker:
    """Counts failures in a row; opens when they are many and have lasted."""

    limits: Limits
    failures: int = 0
    seconds: float = 0.0
    last: str = ""
    _since: float = 0.0

    def succeeded(self) -> None:
        self.failures = 0

    def failed(self, error: BaseException) -> None:
        if isinstance(error, openai.APIStatusError) and error.status_code < 500:
            self.succeeded()  # it refuses, so it lives
            return
        now = time.monotonic()
        if not self.failures:
            self._since = now
        self.failures += 1
        self.seconds = now - self._since
        self.last = explain(error)

    @property
    def open(self) -> bool:
        return self.failures >= self.limits.breaker_failures and self.seconds >= self.limits.breaker_seconds


class JudgeClient:
    """Chat requests to one model of one server; calls may overlap freely.

    Args:
        model: as the server calls it.
        base_url: ends in `/v1`; None is OpenAI's own.
        limits, budget: see there.
    """

    def __init__(self, model: str, base_url: str | None, limits: Limits, budget: Budget) -> None:
        self.model = model
        self.url = base_url or DEFAULT_URL
        self.budget = budget
        self.on_reply: Callable[[PaidReply], None] = lambda reply: None
        self._limits = limits
        self._places = asyncio.Semaphore(limits.in_flight)
        self._requests = _limiter(limits.requests_per_minute)
        self._tokens = _limiter(limits.tokens_per_minute)
        self._breaker = _Breaker(limits)
        self._quiet_until = 0.0
        try:
            self._client = openai.AsyncOpenAI(
                base_url=self.url,
                api_key=api_key("JUDGE_API_KEY", "OPENAI_API_KEY"),
                timeout=limits.call_seconds,
                max_retries=0,  # tenacity repeats, so that attempts are counted once
            )
        except Exception as error:  # the client raises whatever its address parser raises
            raise UsageError(
                f"--judge-base-url {redacted(self.url)} is no address ({explain(error)}); "
                "give one such as http://host:8000/v1"
            ) from error

    async def probe(self) -> None:
        """Ask the server whether it serves the model; raise `UsageError` where it does not."""
        if self.url == DEFAULT_URL and api_key("JUDGE_API_KEY", "OPENAI_API_KEY") == NO_KEY:
            raise UsageError(
                "the judge's server needs a key: set JUDGE_API_KEY or OPENAI_API_KEY, or give --judge-base-url"
            )
        try:
            async with asyncio.timeout(20):
                served = [entry.id for entry in (await self._client.models.list()).data]
        except Exception as error:  # a page that is no server makes the client raise anything, with the key in it
            raise UsageError(
                f"the judge's server {redacted(self.url)} does not answer ({explain(error)}); check --judge-base-url "
                "(such as http://host:8000/v1), the server, and the key in JUDGE_API_KEY or OPENAI_API_KEY"
            ) from None
        if self.model not in served:
            shown = ", ".join(served[:20]) + (", …" if len(served) > 20 else "")
            raise UsageError(f"--judge-model {self.model!r} is not served by {redacted(self.url)}; it serves: {shown}")

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        top_logprobs: int | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Return the reply.

        Args:
            messages: of role and content.
            max_tokens: of the reply, at most.
            temperature: 0 for the most likely reply.
            seed: of a sampled reply.
            top_logprobs: how many alternatives of each token to ask for.
            schema: a JSON schema that the reply must follow, where the server supports it.

        Raises:
            CallFailedError: this request got no reply, though the server lives.
            JudgeError: the server is dead, or refuses every request.
            BudgetError: the budget is used up.
        """
        request: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        if top_logprobs is not None:
            request |= {"logprobs": True, "top_logprobs": top_logprobs}
        if schema is not None:
            named = {"name": "judgment", "strict": True, "schema": schema}
            request["response_format"] = {"type": "json_schema", "json_schema": named}
        most = Usage(1, sum(tokens_at_most(m["content"]) + TURN_TOKENS for m in messages), max_tokens)
        async with self._places, self.budget.reserve(most):
            reply = await self._repeated(request, most)
            self.budget.spend(reply.usage)
            self.on_reply(PaidReply(self.model, content_hash(request, length=32), reply.text, reply.usage))
        return reply

    async def _repeated(self, request: Mapping[str, Any], most: Usage) -> Reply:
        try:
            async for attempt in retrying(self._limits.attempts, self._limits.total_seconds):
                with attempt:
                    return await self._attempt(request, most)
        except JudgeError:
            raise
        except Exception as error:  # its own text may hold the key, so it is not chained
            self._stop_if_dead()
            if _refuses_all(error):
                raise JudgeError(
                    f"the judge's server {redacted(self.url)} refuses {self.model!r}: {explain(error)}; check the key, "
                    "the model and the account, then run the same command again: finished work is stored"
                ) from None
            if isinstance(error, openai.APIStatusError) and not is_transient(error):
                raise CallFailedError(f"{REFUSED_REQUEST} ({error.status_code})", explain(error)) from None
            if is_transient(error):
                raise CallFailedError(NO_REPLY, explain(error)) from None
            raise
        raise AssertionError("tenacity ended without a result or an error")  # for the type checker

    async def _attempt(self, request: Mapping[str, Any], most: Usage) -> Reply:
        self._stop_if_dead()
        await asyncio.sleep(max(self._quiet_until - time.monotonic(), 0.0))
        await _take(self._requests, 1)
        await _take(self._tokens, estimated_tokens(request["messages"]) + most.completion_tokens)
        try:
            async with asyncio.timeout(self._limits.call_seconds):
                reply = _read(await self._client.chat.completions.create(**request), most)
        except Exception as error:
            self._breaker.failed(error)
            if (told := told_pause(error)) is not None:  # the server speaks to all of its callers
                self._quiet_until = max(self._quiet_until, time.monotonic() + min(told, self._limits.total_seconds))
            raise
        self._breaker.succeeded()
        return reply

    def _stop_if_dead(self) -> None:
        if self._breaker.open:
            raise JudgeError(
                f"the judge's server {redacted(self.url)} has failed {self._breaker.failures} times in a row over "
                f"{self._breaker.seconds:.0f} s, last with: {self._breaker.last}; finished work is "
                "stored, run the same command again when it is well"
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


async def _take(limiter: AsyncLimiter | None, amount: float) -> None:
    """Wait until `amount` has passed the limiter, which takes no more at once than a burst."""
    while limiter is not None and amount > 0:
        step = min(amount, limiter.max_rate)
        await limiter.acquire(step)
        amount -= step


def _limiter(per_minute: float | None) -> AsyncLimiter | None:
    """Return a limiter that spreads a minute's calls evenly, with bursts of at most a second's worth."""
    if per_minute is None:
        return None
    seconds = max(60.0 / per_minute, 1.0)
    return AsyncLimiter(per_minute * seconds / 60.0, seconds)


def _refuses_all(error: BaseException) -> bool:
    if not isinstance(error, openai.APIStatusError):
        return False
    return error.status_code in _FATAL_STATUS or getattr(error, "code", None) == "insufficient_quota"


def _read(reply: Any, most: Usage) -> Reply:
    try:
        return _parsed(reply, most)
    except (AttributeError, TypeError, ValueError, KeyError) as error:  # whatever a wrong schema makes of the parser
        raise MalformedReplyError(f"the reply has another form ({type(error).__name__})") from None


def _parsed(reply: Any, most: Usage) -> Reply:
    choices = getattr(reply, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(choice, "message", None)
    text = getattr(message, "content", None)
    if message is None or not isinstance(text, str | None):
        raise MalformedReplyError("the reply has no message with a text")
    refused = bool(getattr(message, "refusal", None))
    finish_reason = "content_filter" if refused else str(getattr(choice, "finish_reason", None))
    return Reply(text or "", finish_reason, _usage(reply, text or "", most), _tokens(choice))


def _usage(reply: Any, text: str, most: Usage) -> Usage:
    """Return what the server counted; a server that counts nothing is charged the estimate."""
    counted = getattr(reply, "usage", None)
    prompt, completion = (getattr(counted, name, None) for name in ("prompt_tokens", "completion_tokens"))
    if isinstance(prompt, int) and isinstance(completion, int):
        return Usage(1, prompt, completion)
    return Usage(1, most.prompt_tokens, min(tokens_at_most(text), most.completion_tokens))


def _tokens(choice: object) -> tuple[Token, ...]:
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    return tuple(
        Token(
            entry.token,
            {top.token: float(top.logprob) for top in entry.top_logprobs or []},
            None if getattr(entry, "bytes", None) is None else bytes(entry.bytes),
        )
        for entry in content or []
    )
