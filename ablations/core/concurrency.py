"""Tasks side by side: where one fails the others are cancelled, and its own error is raised.

Knows asyncio alone.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class TaskGroup(asyncio.TaskGroup):
    """A task group that raises the first error itself instead of an exception group."""

    async def __aexit__(self, *details: Any) -> None:
        """Wait for every task."""
        try:
            await super().__aexit__(*details)
        except BaseExceptionGroup as group:
            first = first_error(group)
            raise first from first.__cause__


async def together(work: Iterable[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """Return the results of all coroutines, in their order."""
    async with TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]


def first_error(error: BaseException) -> BaseException:
    """Return the first leaf of an exception group, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
