"""What the person at the terminal sees: the plan and the progress display.

Knows what to show, not how it was computed. Without a terminal, progress comes as plain lines.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ablations.conditions import Condition, format_value
from ablations.demonstrations import CHARACTERS_PER_TOKEN
from ablations.evaluation import Progress as EvaluationProgress
from ablations.judges import Judge
from ablations.records import Usage
from ablations.spec import StudySpec
from ablations.study import PlannedTrial, Study

PLAIN_INTERVAL_SECONDS = 15.0
_SIZES = {"8B": 8e9, "70B": 70e9}


def make_console(quiet: bool) -> Console:
    """Return the console that everything for the user goes to; a quiet one shows nothing but errors."""
    # A descriptor of its own: while the engine starts, everything printed to the usual one goes to its log.
    # It lives as long as the process, so nothing closes it.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", closefd=False)
    # A file or a pipe has no width: tables are not squeezed into the 80 columns that would be assumed.
    width = None if output.isatty() else 160
    return Console(file=output, quiet=quiet, highlight=False, soft_wrap=width is not None, width=width)


def show_plan(console: Console, spec: StudySpec, model: str, judge: Judge, list_conditions: bool) -> None:
    """Print what the study is about to do: conditions, requests and the most tokens they can take."""
    conditions = [spec.to_condition(point.values) for point in spec.design]
    average = sum(condition.decoding.max_tokens for condition in conditions) / max(len(conditions), 1)
    requests = spec.total_trials * spec.turns
    table = Table(title=f"Plan of the study {spec.name!r}", title_justify="left", show_header=False, box=None)
    for key, value in (
        ("model", model),
        ("judge", _described(judge)),
        ("mode", _mode(spec)),
        ("varied", "; ".join(f"{p.name}: {p.domain.describe()}" for p in spec.space.parameters)),
        ("prompt", _prompt(spec)),
        ("pool", _pool(spec)),
        ("queries", f"{len(spec.queries)}, {spec.turns} turns"),
        ("trials", f"{spec.total_trials}, {spec.concurrency} in flight"),
        ("requests", f"{requests} completions and as many judgments; what is stored is not asked again"),
        ("tokens", f"at most {round(requests * average):,} new tokens (max_tokens {average:.0f} on average)"),
        ("judging", _expected_judging(spec, judge, average)),
        ("compute", _expected_compute(spec, conditions, requests * average)),
    ):
        table.add_row(f"[bold]{key}[/bold]", escape(value))
    console.print(table)
    for note in spec.prepared.notes if spec.prepared is not None else ():
        console.print(f"[yellow]{escape(note)}[/yellow]")
    if spec.left_out:
        console.print(
            f"[yellow]--trials {spec.trials} leaves out {spec.left_out} conditions of the design; "
            f"{spec.trials + spec.left_out} trials take all of them[/yellow]"
        )
    if list_conditions:
        _show_design(console, spec)


def _mode(spec: StudySpec) -> str:
    design = f", design {spec.design_kind}" if spec.mode == "ablation" else ""
    return f"{spec.mode}{design}, sampler {spec.sampler}, seed {spec.seed}"


def _prompt(spec: StudySpec) -> str:
    parts = spec.baseline.prompt
    return f"rules {parts.rules_name}, headings {parts.headings.name}, {len(parts.demonstrations)} demonstrations"


def _pool(spec: StudySpec) -> str:
    if spec.prepared is None:
        return "the built-in demonstrations"
    pool = spec.prepared.chooser.pool
    leaks = len(spec.prepared.overlaps) if spec.prepared.allowed else 0
    equal = f"{leaks} of them equal to queries" if leaks else "none of them equal to a query"
    return f"{pool.name}, {len(pool.demonstrations)} demonstrations, {equal}"


def _expected_compute(spec: StudySpec, conditions: Sequence[Condition], new_tokens: float) -> str:
    """Estimate what the study takes on larger models: 2 operations per parameter and token (Kaplan et al. 2020).

    Prompts are counted at four characters a token; what the prefix cache saves is not taken off.
    """
    characters = sum(
        len(parts.rules) + sum(len(one.query) + len(one.answer or "") for one in parts.shown_to(query.id)) + len(text)
        for parts in (condition.prompt for condition in conditions)
        for query in spec.queries
        for text in query.turns
    )
    read = characters / CHARACTERS_PER_TOKEN * spec.total_trials / max(len(conditions), 1)
    petaflop = {name: 2 * size * (read + new_tokens) / 1e15 for name, size in _SIZES.items()}
    shown = ", ".join(f"{amount:,.0f} PFLOP with {name} parameters" for name, amount in petaflop.items())
    return f"about {read:,.0f} prompt tokens before caching; {shown}"


def _described(judge: Judge) -> str:
    if judge.name == "reference":
        return "reference  (a proxy without an LLM, for trying things out)"
    return f"{judge.name}, model {judge.identity.get('model', 'none')}"


def _expected_judging(spec: StudySpec, judge: Judge, answer_tokens: float) -> str:
    """Estimate what judging takes: answers at their longest, nothing stored, no question asked twice."""
    once = sum(
        (
            judge.expected_usage(query, turn, answer_tokens)
            for query in spec.queries
            for turn in range(1, len(query.turns) + 1)
        ),
        Usage(),
    )
    calls, prompt, completion = (
        spec.total_trials * number for number in (once.calls, once.prompt_tokens, once.completion_tokens)
    )
    if not calls:
        return "no calls, no cost"
    cost = format_money(judge.budget.cost(Usage(calls, prompt, completion)))
    limit = "" if judge.budget.limit is None else f", stops before ${judge.budget.limit:g}"
    return f"about {calls:,} calls, {prompt:,} tokens in and {completion:,} out: {cost}{limit}"


def format_money(cost: float | None) -> str:
    """Return US dollars as a person reads them, or that the price is not known."""
    return "price of the model not known" if cost is None else f"${cost:.4f}"


def _show_design(console: Console, spec: StudySpec) -> None:
    table = Table("trial", "role", "condition", title="Conditions", title_justify="left", box=None)
    for number, point in enumerate(spec.design):
        values = " ".join(f"{name}={format_value(value)}" for name, value in point.values.items())
        table.add_row(str(number), point.role, escape(values) + (" (A/A)" if point.replicate else ""))
    console.print(table)
    if spec.total_trials > len(spec.design):
        console.print(f"… and {spec.total_trials - len(spec.design)} trials that the {spec.sampler} sampler chooses")


@contextmanager
def progress_display(console: Console, spec: StudySpec, study: Study, evaluation: EvaluationProgress) -> Iterator[None]:
    """Show turns done, rate, time left and the best so far while a study runs."""
    total = (spec.total_trials - len(study.finished)) * spec.turns
    started = time.monotonic()

    def moved(trial: PlannedTrial) -> str:
        values = trial.point.values.items()
        changed = [f"{name}={format_value(value)}" for name, value in values if value != spec.file.baseline[name]]
        return " ".join(changed) or "the baseline"

    def status() -> str:
        seconds = max(time.monotonic() - started, 1e-9)
        best = study.best
        shown = f"best {best.summary.mean:.2f} ({moved(best.trial)})" if best else "no trial finished"
        running = ",".join(map(str, sorted(study.running))) or "-"
        done = evaluation.turns_done
        # The first turns wait for the whole first batch, and stored ones take no time: their rate says nothing.
        made = evaluation.generated
        left = f"{(total - done) * seconds / made:.0f} s left" if made > spec.turns else "time left unknown"
        return (
            f"trials {len(study.finished)}/{spec.total_trials} (running {running}) · "
            f"{evaluation.completion_tokens / seconds:.0f} tokens/s · {left} · {shown}"
        )

    show: Callable[[Console, int, Callable[[], str], EvaluationProgress], Any]
    show = _live if console.is_terminal and not console.quiet else _plain
    with show(console, total, status, evaluation):
        yield


@contextmanager
def _live(console: Console, total: int, status: Callable[[], str], evaluation: EvaluationProgress) -> Iterator[None]:
    columns = (
        BarColumn(),
        TextColumn("{task.completed}/{task.total} turns"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task("study", total=total, status="starting")

        def update() -> None:
            bar.update(task, completed=evaluation.turns_done, status=status())

        evaluation.listeners.append(update)
        try:
            yield
            update()
        finally:
            evaluation.listeners.remove(update)


@contextmanager
def _plain(console: Console, total: int, status: Callable[[], str], evaluation: EvaluationProgress) -> Iterator[None]:
    last = time.monotonic()

    def update() -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_INTERVAL_SECONDS:
            last = time.monotonic()
            console.print(f"{evaluation.turns_done}/{total} turns · {status()}", markup=False)

    evaluation.listeners.append(update)
    try:
        yield
        console.print(f"{evaluation.turns_done}/{total} turns · {status()}", markup=False)
    finally:
        evaluation.listeners.remove(update)


def show_studies(console: Console, studies: Sequence[tuple[str, str]]) -> None:
    """Print the known studies with their descriptions."""
    table = Table("study", "what it answers", box=None)
    for name, description in studies:
        table.add_row(name, description)
    console.print(table)
