"""What the person at the terminal sees while a study runs.

Knows what to show, not how it was computed. Without a terminal, progress comes as plain lines.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ablations.core.condition import format_value
from ablations.models.training.tuner import TuningProgress
from ablations.studies.conditions.study import Study
from ablations.studies.engine.evaluator import Progress as EvaluationProgress
from ablations.studies.engine.trial import PlannedTrial
from ablations.studies.greedy.search import GreedySearch
from ablations.studies.icl_vs_ift.study import TuningStudy
from ablations.studies.spec import StudySpec

PLAIN_INTERVAL_SECONDS = 15.0


def make_console(quiet: bool) -> Console:
    """Return the console that everything for the user goes to; a quiet one shows nothing but errors."""
    # A descriptor of its own: while the engine starts, everything printed to the usual one goes to its log.
    # It lives as long as the process, so nothing closes it.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", closefd=False)
    # A file or a pipe has no width: tables are not squeezed into the 80 columns that would be assumed.
    width = None if output.isatty() else 160
    return Console(file=output, quiet=quiet, highlight=False, soft_wrap=width is not None, width=width)


class Watched(Protocol):
    """What goes on: how much of it is done, how much nobody needs, and who is told."""

    skipped: int
    listeners: list[Callable[[], None]]

    @property
    def done(self) -> int:
        """How much is done."""
        ...


@contextmanager
def progress_display(
    console: Console, total: int, status: Callable[[], str], watched: Watched, unit: str = "turns"
) -> Iterator[None]:
    """Show how much is done of `total` and the status, rate and time left among it, while it goes on."""
    show = _live if console.is_terminal and not console.quiet else _plain
    with show(console, total, status, watched, unit):
        yield


def pace(total: int, evaluation: EvaluationProgress, at_least: int) -> Callable[[], str]:
    """Return what tells the rate and the time left, from now on; the time once `at_least` turns were generated."""
    started = time.monotonic()

    def told() -> str:
        seconds = max(time.monotonic() - started, 1e-9)
        # The first turns wait for the whole first batch, and stored ones take no time: their rate says nothing.
        made, waiting = evaluation.generated, total - evaluation.skipped - evaluation.turns_done
        left = f"{waiting * seconds / made:.0f} s left" if made > at_least else "time left unknown"
        return f"{evaluation.completion_tokens / seconds:.0f} tokens/s · {left}"

    return told


def study_status(spec: StudySpec, study: Study, evaluation: EvaluationProgress) -> tuple[int, Callable[[], str]]:
    """Return the turns that are to do, and what tells where a study of trials is."""
    total = (spec.total_trials - len(study.finished)) * spec.turns
    speed = pace(total, evaluation, spec.turns)

    def moved(trial: PlannedTrial) -> str:
        values = trial.point.values.items()
        changed = [f"{name}={format_value(value)}" for name, value in values if value != spec.config.baseline[name]]
        return " ".join(changed) or "the baseline"

    def status() -> str:
        best = study.best
        shown = f"best {best.mean or 0:.2f} ({moved(best.trial)})" if best else "no trial finished"
        running = ",".join(map(str, sorted(study.running))) or "-"
        running += f"; other workers {len(study.elsewhere)}" if study.elsewhere else ""
        return f"trials {len(study.finished)}/{spec.total_trials} (running {running}) · {speed()} · {shown}"

    return total, status


def search_status(search: GreedySearch, evaluation: EvaluationProgress) -> tuple[int, Callable[[], str]]:
    """Return the most turns that a search can take, and what tells where it is."""
    total = search.plan.evaluations
    speed = pace(total, evaluation, len(search.plan.halves.selection))

    def status() -> str:
        state = search.state
        return f"round {state.round}/{search.plan.rounds} · {speed()} · best so far: {state.best}"

    return total, status


def tuning_status(progress: TuningProgress, total: int) -> Callable[[], str]:
    """Return what tells where the trainings of a study are; `total` are the steps of all of them."""

    def status() -> str:
        seen = progress.last
        if seen is None:
            return f"loading the model: {progress.what}"
        left = total - progress.skipped - progress.done
        shown = f"{progress.what}: step {seen.step}/{seen.steps} · loss {seen.loss:.3f}"
        pace = f"{seen.tokens / max(seen.seconds, 1e-9):.0f} tokens/s"
        return f"{shown} · {pace} · about {left * seen.seconds / seen.step:.0f} s left"

    return status


def arms_status(study: TuningStudy, turns: int) -> Callable[[], str]:
    """Return what tells where the arms of a comparison with fine-tuning are; `turns` are left to do."""
    speed = pace(turns, study.progress, study.spec.turns)

    def status() -> str:
        return f"{study.state.answering} · {speed()} · best so far: {study.state.best}"

    return status


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
            show()

    def show() -> None:
        nonlocal before
        line = f"{watched.done}/{total - watched.skipped} {unit} · {status()}"
        if line != before:
            console.print(line, markup=False)
            before = line

    watched.listeners.append(update)
    try:
        yield
        show()
    finally:
        watched.listeners.remove(update)


def format_money(cost: float | None) -> str:
    """Return US dollars as a person reads them, or that the price is not known."""
    return "price of the model not known" if cost is None else f"${cost:.4f}"
