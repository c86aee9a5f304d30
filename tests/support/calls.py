"""Calls of a judge's server, side by side, and limits that make them end soon."""

from collections.abc import Coroutine, Sequence
from typing import Any

from ablations.core import concurrency
from ablations.judges.llm.client import Limits

QUICK = Limits(call_seconds=1.0, total_seconds=20.0, breaker_seconds=1.0)


async def together(closes: Any, calls: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run calls side by side as an evaluation does: the first error ends the others and is raised itself."""
    try:
        return await concurrency.together(calls)
    finally:
        await closes.close()
