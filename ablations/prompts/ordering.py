"""How demonstrations are arranged: their order, and which answer stands under which query.

Knows demonstrations alone. Whatever is random is drawn by the texts themselves, so that it is the same everywhere.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from ablations.core.errors import ConditionError, nearest
from ablations.core.prompt import Demonstration
from ablations.prompts.packaged import read_lines

Demonstrations = tuple[Demonstration, ...]


def _length(shown: Demonstration) -> int:
    return len(shown.query) + len(shown.answer or "")


def _shuffled(shown: Demonstrations) -> Demonstrations:
    return tuple(random.Random(len(shown)).sample(shown, len(shown)))


ORDERS: dict[str, Callable[[Demonstrations], Demonstrations]] = {
    "given": lambda shown: shown,
    "reversed": lambda shown: shown[::-1],
    "by-length": lambda shown: tuple(sorted(shown, key=_length)),
    "shuffled": _shuffled,
}
"""By length: shortest first."""

MATCHINGS = ("correct", "shifted", "pool", "outside", "none")
"""Which answer stands under a query: its own; that of the next query shown (Zhao et al.'s circular shift); that of a
random other query of the pool; a random one to none of its queries; no answer at all."""


def put_in_order(shown: Demonstrations, order: str) -> Demonstrations:
    """Return the demonstrations in one of `ORDERS`; raise `ConditionError` for another."""
    if order not in ORDERS:
        raise ConditionError(f"order = {order!r} is not known; {nearest(order, ORDERS)}")
    return ORDERS[order](shown)


def match_answers(shown: Demonstrations, matching: str, pool: Sequence[Demonstration]) -> Demonstrations:
    """Return the demonstrations with answers of one of `MATCHINGS`; raise `ConditionError` for another.

    Args:
        shown: with their own answers.
        matching: the way.
        pool: where random answers of other queries come from.
    """
    if matching not in MATCHINGS:
        raise ConditionError(f"matching = {matching!r} is not known; {nearest(matching, MATCHINGS)}")
    if matching == "correct":
        return shown
    if matching == "shifted":
        return tuple(
            replace(one, answer=following.answer) for one, following in zip(shown, shown[1:] + shown[:1], strict=True)
        )
    return tuple(replace(one, answer=_other_answer(one, matching, pool)) for one in shown)


def _other_answer(shown: Demonstration, matching: str, pool: Sequence[Demonstration]) -> str | None:
    generator = random.Random(f"{matching}|{shown.id}|{shown.query}")
    if matching == "pool":
        return generator.choice([other.answer for other in pool if other.query != shown.query])
    if matching == "outside":
        return str(generator.choice(read_lines("outside_answers.jsonl"))["answer"])
    return None
