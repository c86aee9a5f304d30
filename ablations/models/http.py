"""Shared parts of every client of a model server: its key, transient failures, pauses, wording of errors.

Knows neither completions nor judges.
"""

import email.utils
import json
import math
import os
import time

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base, wait_random_exponential

from ablations.core.errors import one_line

KEYS = ("OPENAI_API_KEY", "JUDGE_API_KEY")
NO_KEY = "none"
LONGEST_PAUSE_SECONDS = 60.0
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429})


class MalformedReplyError(ValueError):
    """A server's reply lacks what it must have, such as choices."""


def api_key(*names: str) -> str:
    """Return the first of these environment variables that is set; local servers take any text."""
    return next((os.environ[name] for name in names if os.environ.get(name)), NO_KEY)


def explain(error: BaseException) -> str:
    """Return an error's message on one line, at most 300 characters, without any key of the environment."""
    text = one_line(error)
    for key in (os.environ.get(name) for name in KEYS):
        if key:
            text = text.replace(key, "***")
    return text


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed later: lost connections, time limits, overload, broken replies."""
    if isinstance(error, openai.APIStatusError):
        if getattr(error, "code", None) == "insufficient_quota":
            return False
        return error.status_code in _TRANSIENT_STATUS or error.status_code >= 500
    broken = (openai.APIConnectionError, openai.APIResponseValidationError, json.JSONDecodeError)
    return isinstance(error, (*broken, MalformedReplyError, TimeoutError))


def told_pause(error: BaseException | None) -> float | None:
    """Return the seconds that a reply's Retry-After asks for (RFC 9110: seconds or a date), or None."""
    if not isinstance(error, openai.APIStatusError):
        return None
    told = error.response.headers.get("retry-after")
    if told is None:
        return None
    try:
        seconds = float(told)
    except ValueError:
        pass
    else:
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    try:
        date = email.utils.parsedate_to_datetime(told)
    except (TypeError, ValueError):
        return None
    return max(date.timestamp() - time.time(), 0.0)


class _Pause(wait_base):
    """The pause that the server asks for, and never less than exponential back-off with full jitter."""

    def __init__(self) -> None:
        self._backoff = wait_random_exponential(multiplier=1, max=LONGEST_PAUSE_SECONDS)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome is not None else None
        told = told_pause(error)
        # A little more than asked for, or all that wait would come back in the same instant.
        return self._backoff(retry_state) if told is None else told + min(self._backoff(retry_state), 1.0)


def retrying(attempts: int, seconds: float) -> AsyncRetrying:
    """Return tenacity's loop over passing failures; the last one is raised as it is.

    A pause that would end after `seconds` is not begun, whatever Retry-After says.
    """
    return AsyncRetrying(
        retry=retry_if_exception(is_transient),
        wait=_Pause(),
        stop=stop_after_attempt(attempts) | stop_before_delay(seconds),
        reraise=True,
    )
