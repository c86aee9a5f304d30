"""Terminal display of a running study.

Knows what to show, not how it was computed. Without a terminal, progress comes as plain lines.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ablations.cli.render import show
from ablations.studies.reporter import Watched
from analysis.report.page import Report

PLAIN_INTERVAL_SECONDS = 15.0


def make_console(quiet: bool) -> Console:
    """Return the console that everything for the user goes to; a quiet one shows nothing but errors."""
    # A descriptor of its own: while the engine starts, everything printed to the usual one goes to its log.
    # It lives as long as the process, so nothing closes it.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", closefd=False)
    # A file or a pipe has no width: tables are not squeezed into the 80 columns that would be assumed.
    width = None if output.isatty() else 160
    return Console(file=output, quiet=quiet, highlight=False, soft_wrap=width is not None, width=width)


@contextmanager
def progress_display(
    console: Console, total: int, status: Callable[[], str], watched: Watched, unit: str = "turns"
) -> Iterator[None]:
    """Show how much is done of `total` and the status, rate and time left among it, while the context lasts."""
    show = _live if console.is_terminal and not console.quiet else _plain
    with show(console, total, status, watched, unit):
        yield


@contextmanager
def _live(console: Console, total: int, status: Callable[[], str], watched: Watched, unit: str) -> Iterator[None]:
    columns = (
        BarColumn(),
        TextColumn(f"{{task.completed}}/{{task.total}} {unit}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task("study", total=total, status="starting")

        def update() -> None:
            bar.update(task, completed=watched.done, total=total - watched.skipped, status=status())

        watched.listeners.append(update)
        try:
            yield
            update()
        finally:
            watched.listeners.remove(update)


@contextmanager
def _plain(console: Console, total: int, status: Callable[[], str], watched: Watched, unit: str) -> Iterator[None]:
    last, before = time.monotonic(), ""

    def update() -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_INTERVAL_SECONDS:
            last = time.monotonic()
            say()

    def say() -> None:
        nonlocal before
        line = f"{watched.done}/{total - watched.skipped} {unit} · {status()}"
        if line != before:
            console.print(line, markup=False)
            before = line

    watched.listeners.append(update)
    try:
        yield
        say()
    finally:
        watched.listeners.remove(update)


class ConsoleReporter:
    """The reporter of the terminal.

    Args:
        console: where messages and progress are shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str, important: bool = False) -> None:
        """Print one thing."""
        self._console.print(text, style="yellow" if important else None, markup=False, highlight=False)

    def show(self, report: Report, brief: bool = True) -> None:
        """Print a report: the sections marked brief, or all of them."""
        show(self._console, report, brief)

    def progress(
        self, total: int, status: Callable[[], str], watched: Watched, unit: str = "turns"
    ) -> AbstractContextManager[None]:
        """Show how much of `total` is done and the status, rate and time left among it, while the context lasts."""
        return progress_display(self._console, total, status, watched, unit)
