"""Replies of LLM judges -> scores, or the reason why there is none.

Knows text alone. A number is taken from the judge's own reply in the form that was asked for, never guessed.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

EMPTY = "empty reply"
REFUSED = "the judge refused"
CUT_OFF = "reply cut off"
NO_RATING = "no rating in the reply"
SEVERAL = "several different ratings"
OUT_OF_RANGE = "rating out of range"
NO_LOGPROBS = "no log-probabilities of the rating"

_DOUBLE = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_SINGLE = re.compile(r"\[(\d+\.?\d*)\]")
_VERDICT = re.compile(r"\[\[([ABC])\]\]")
_TWO_NUMBERS = re.compile(r"^\s*(\d+(?:\.\d+)?)(?:\s*,\s*|\s+)(\d+(?:\.\d+)?)\s*$")

FIRST, SECOND, TIE = "first", "second", "tie"


class UnscoredError(ValueError):
    """A reply holds no score; its message is the reason, one of this module's."""


def check_whole(text: str, finish_reason: str) -> None:
    """Raise `UnscoredError` for a reply that holds no score whatever it says: refused, cut off, or empty."""
    if finish_reason == "content_filter":
        raise UnscoredError(REFUSED)
    if finish_reason == "length":
        raise UnscoredError(CUT_OFF)
    if not text.strip():
        raise UnscoredError(EMPTY)


def rating_match(text: str) -> re.Match[str] | None:
    """Return where the rating stands: the first `[[number]]`, else the first `[number]` (MT-Bench's rule)."""
    return _DOUBLE.search(text) or _SINGLE.search(text)


def parse_rating(text: str, low: float, high: float) -> float:
    """Return the rating of a reply.

    MT-Bench's rule (Zheng et al. 2023, FastChat) reads the first rating; here, in addition, it must lie in
    `low` to `high`, and a reply with several different ratings has none.

    Raises:
        UnscoredError: there is no such rating.

    >>> parse_rating("Clear and correct. Rating: [[7]]", 1, 10)
    7.0
    """
    found = _DOUBLE.findall(text) or _SINGLE.findall(text)
    if not found:
        raise UnscoredError(NO_RATING)
    if len({float(number) for number in found}) > 1:
        raise UnscoredError(SEVERAL)
    return _bounded(float(found[0]), low, high)


def parse_verdict(text: str) -> str:
    """Return `FIRST`, `SECOND` or `TIE` from `[[A]]`, `[[B]]` or `[[C]]`; raise `UnscoredError` without just one."""
    found = set(_VERDICT.findall(text))
    if len(found) != 1:
        raise UnscoredError(SEVERAL if found else NO_RATING)
    return {"A": FIRST, "B": SECOND, "C": TIE}[found.pop()]


def parse_two_scores(text: str, low: float, high: float) -> str:
    r"""Return the verdict of Han's format: two scores "a b" on the first line; higher wins, equal is a tie.

    Raises:
        UnscoredError: the first line is not two numbers in range.

    >>> parse_two_scores("8 6.5\nThe first is more precise.", 1, 10)
    'first'
    """
    lines = text.strip().splitlines()
    match = _TWO_NUMBERS.match(lines[0]) if lines else None
    if match is None:
        raise UnscoredError(NO_RATING)
    first, second = (_bounded(float(number), low, high) for number in match.groups())
    return TIE if first == second else FIRST if first > second else SECOND


def parse_aspects(text: str, names: Sequence[str], low: int, high: int) -> dict[str, float]:
    """Return the rating of each aspect from a JSON object of `{aspect: {"reason": …, "rating": …}}`.

    Raises:
        UnscoredError: the reply is no such object, an aspect is missing, or a rating is out of range.
    """
    bare = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    try:
        reply: Any = json.loads(bare, object_pairs_hook=_without_repeats)
        ratings = {name: reply[name]["rating"] for name in names}
    except UnscoredError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError):  # ValueError: no JSON, or a number without end
        raise UnscoredError(NO_RATING) from None
    if not all(isinstance(rating, int) and not isinstance(rating, bool) for rating in ratings.values()):
        raise UnscoredError(NO_RATING)
    return {name: float(_bounded(rating, low, high)) for name, rating in ratings.items()}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; one that says two things under one name says neither."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made and made[name] != value:
            raise UnscoredError(SEVERAL)
        made[name] = value
    return made


def _bounded(value: float, low: float, high: float) -> float:
    """Return a number in range; a whole one may be too large for a float, so bounds come first."""
    if not low <= value <= high:
        raise UnscoredError(OUT_OF_RANGE)
    return value
