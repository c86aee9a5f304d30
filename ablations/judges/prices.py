"""Cost of judging: prices per model, and a budget that is never exceeded.

Knows tokens and money, not judges.
"""

import asyncio
import math
import tomllib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from ablations.core.errors import BudgetError, UsageError, reason
from ablations.core.jsonl import DATA
from ablations.core.records import Price, Usage

PRICES_FILE = DATA / "judge_prices.toml"

TYPICAL_BYTES = 4
"""Of a token of plain English, for plans and rate limits."""
TURN_TOKENS = 16
"""Tokens that a chat format adds to a message, at most."""


def tokens_at_most(text: str) -> int:
    """Return a bound on a text's tokens: byte-level tokenizers make one of a byte at most."""
    return len(text.encode())


def estimated_tokens(messages: Sequence[Mapping[str, str]]) -> int:
    """Return the tokens of a question in plain English, roughly."""
    return math.ceil(sum(len(message["content"].encode()) for message in messages) / TYPICAL_BYTES)


def typical_usage(messages: Sequence[Mapping[str, str]], reply_tokens: int) -> Usage:
    """Return what a question and a reply of so many tokens take, roughly."""
    return Usage(1, estimated_tokens(messages), reply_tokens)


def read_prices(path: Path = PRICES_FILE) -> Mapping[str, Price]:
    """Return prices by model name; raise `UsageError` for a file that is no price table."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the price table {path} cannot be read: {reason(error)}") from error
    prices = {}
    for model, table in tables.items():
        if (
            not isinstance(table, dict)
            or set(table) != {"prompt", "completion"}
            or not all(map(_is_price, table.values()))
        ):
            raise UsageError(
                f'{path}: ["{model}"] must have prompt = and completion = , in US dollars per million tokens'
            )
        prices[model] = Price(**table)
    return prices


def _is_price(number: object) -> bool:
    usable = isinstance(number, int | float) and not isinstance(number, bool)
    return usable and math.isfinite(number) and number >= 0  # type: ignore[operator, arg-type]


class Budget:
    """Money for judging. Each call reserves the most it can cost before it is made.

    Args:
        price: of the judge's model, or None where it is not known.
        limit: the most to spend, in US dollars, or None.
        spent: what was spent before, so that a resumed study keeps its limit.

    Raises:
        UsageError: a limit without a price.
    """

    def __init__(self, price: Price | None, limit: float | None = None, spent: float = 0.0) -> None:
        if limit is not None and price is None:
            raise UsageError("--max-cost needs the price of the judge's model; give --judge-prices FILE with it")
        self.price = price
        self.limit = limit
        self.spent = spent
        self._reserved = 0.0
        self._calls = 0
        self._ended = False
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def reserve(self, most: Usage) -> AsyncIterator[None]:
        """Hold back the cost of `most` for as long as the call runs; wait while other calls hold too much.

        Raises:
            BudgetError: the call could exceed the limit, and no other call will give anything back.
        """
        cost = 0.0 if self.price is None else self.price.cost(most)
        async with self._changed:
            while self.limit is not None and (self._ended or self.spent + self._reserved + cost > self.limit):
                if not self._calls:
                    self._ended = True  # no cheaper call begins, only to be broken off by the end of the study
                    raise BudgetError(
                        f"--max-cost {self.limit:g}: {self.spent:.4f} US dollars are spent, and the next judgment "
                        f"may cost {cost:.4f}; everything is stored, the same command with a higher --max-cost resumes"
                    )
                await self._changed.wait()
            self._calls += 1
            self._reserved += cost
        try:
            yield
        finally:
            async with self._changed:
                self._calls -= 1
                self._reserved = self._reserved - cost if self._calls else 0.0  # no rounding error is carried along
                self._changed.notify_all()

    def cost(self, usage: Usage) -> float | None:
        """Return what these tokens cost, in US dollars, or None where the price is not known."""
        return None if self.price is None else self.price.cost(usage)

    def spend(self, usage: Usage) -> None:
        """Count what a call used."""
        if self.price is not None:
            self.spent += self.price.cost(usage)


def format_money(cost: float | None) -> str:
    """Return US dollars as a person reads them, or that the price is not known."""
    return "price of the model not known" if cost is None else f"${cost:.4f}"
