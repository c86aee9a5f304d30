"""The reporter: where a study says what happens. `cli` has the one of the terminal.

Knows neither terminals nor what a study does.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from analysis.report.page import Report


class Watched(Protocol):
    """Progress that a display watches.

    Attributes:
        listeners: called whenever something is done.
        skipped: how much will not be done.
    """

    listeners: list[Callable[[], None]]
    skipped: int

    @property
    def done(self) -> int:
        """How much is done."""
        ...


class Reporter(Protocol):
    """Display of messages and progress."""

    def say(self, text: str, important: bool = False) -> None:
        """Say one thing."""
        ...

    def show(self, report: Report, brief: bool = True) -> None:
        """Show a report: the sections marked brief, or all of them."""
        ...

    def progress(
        self, total: int, status: Callable[[], str], watched: Watched, unit: str = "turns"
    ) -> AbstractContextManager[None]:
        """Show how much of `total` is done, and the status, while the context lasts."""
        ...
