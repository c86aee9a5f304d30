"""What the person at the terminal sees: the plan, the progress display, the closing tables.

Knows what to show, not how it was computed. Without a terminal, progress comes as plain lines.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ablations.conditions import format_value
from ablations.evaluation import Progress as EvaluationProgress
from ablations.judges import Judge
from ablations.records import Usage
from ablations.spec import StudySpec
from ablations.study import PlannedTrial, Study

PLAIN_INTERVAL_SECONDS = 15.0
IDENTICAL = "identical scores"


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
    design = spec.design
    longest = [spec.to_condition(point.values).decoding.max_tokens for point in design] or [0]
    average = sum(longest) / len(longest)
    requests = spec.total_trials * spec.turns
    table = Table(title=f"Plan of the study {spec.name!r}", title_justify="left", show_header=False, box=None)
    for key, value in (
        ("model", model),
        ("judge", _described(judge)),
        ("mode", f"{spec.mode}, sampler {spec.sampler}, seed {spec.seed}"),
        ("varied", "; ".join(f"{p.name}: {p.domain.describe()}" for p in spec.space.parameters)),
        ("queries", f"{len(spec.queries)}, {spec.turns} turns"),
        ("trials", f"{spec.total_trials}, {spec.concurrency} in flight"),
        ("requests", f"{requests} completions and as many judgments; what is stored is not asked again"),
        ("tokens", f"at most {round(requests * average):,} new tokens (max_tokens {average:.0f} on average)"),
        ("judging", _expected_judging(spec, judge, average)),
    ):
        table.add_row(f"[bold]{key}[/bold]", escape(value))
    console.print(table)
    if spec.left_out:
        console.print(
            f"[yellow]--trials {spec.trials} leaves out {spec.left_out} of the fixed conditions; "
            f"{spec.trials + spec.left_out} trials take all of them[/yellow]"
        )
    if list_conditions:
        _show_design(console, spec)


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
    price = judge.budget.price
    cost = "price of the model not known" if price is None else f"${price.cost(Usage(calls, prompt, completion)):.2f}"
    limit = "" if judge.budget.limit is None else f", stops before ${judge.budget.limit:g}"
    return f"about {calls:,} calls, {prompt:,} tokens in and {completion:,} out: {cost}{limit}"


def show_judging(
    console: Console, judge: str, used: Usage, cost: float | None, audit: Mapping[str, Any] | None
) -> None:
    """Print what judging took, and whether the judge has passed an audit."""
    if used.calls:
        money = "price of the model not known" if cost is None else f"${cost:.4f}"
        console.print(
            f"Judging: {used.calls:,} calls, {used.prompt_tokens:,} tokens in, {used.completion_tokens:,} out, {money}"
        )
    if audit is None:
        console.print(
            f"[yellow]The {judge} judge has no audit on record here: run audit-judge with the same judge options "
            "before you trust these scores[/yellow]"
        )
    else:
        console.print(f"Audit of the {judge} judge: {audit['verdict']}", markup=False)


def show_audit(console: Console, judge: str, audit: Any, cost: float | None) -> None:
    """Print the table and the verdict of a `judges.audit.Audit`."""
    table = Table(
        "control",
        "good answer wins",
        "95 % interval (Wilson)",
        "ties",
        "unscored",
        "needed",
        "",
        title=f"{judge} judge: good answers against planted controls",
        title_justify="left",
        box=None,
    )
    for row in audit.rows:
        share = "-" if row.share is None else f"{row.wins}/{row.pairs} = {row.share:.1%}"
        interval = "-" if row.share is None else f"{row.low:.1%} to {row.high:.1%}"
        verdict = "passed" if row.passed else "[red]failed[/red]"
        table.add_row(row.control, share, interval, str(row.ties), str(row.unscored), f"{row.least:.0%}", verdict)
    console.print(table)
    spread = "no scored pair" if audit.spread is None else f"{audit.spread:.2f} points on average"
    console.print(f"The same answer judged twice differs by: {spread}")
    console.print(f"Scored: {audit.n_scored} of {audit.n_judged} judgments")
    for reason, count in sorted(audit.unscored.items()):
        console.print(f"  {count} x {reason}", markup=False)
    if audit.agreement is not None:
        agreed = audit.agreement
        share = "-" if agreed.share is None else f"{agreed.share:.1%}"
        kappa = "-" if agreed.kappa is None else f"{agreed.kappa:.2f}"
        console.print(f"Agreement with the given preferences: {share} of {agreed.n} pairs, Cohen's kappa {kappa}")
    if audit.usage.calls:
        money = "price of the model not known" if cost is None else f"${cost:.4f}"
        console.print(f"{audit.usage.calls:,} calls, {audit.usage.prompt_tokens:,} tokens in, {money}")
    console.print(f"Verdict: {audit.verdict}", style="bold", markup=False)


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


def show_findings(console: Console, findings: Any) -> None:
    """Print the closing tables of `analysis.report.Findings`, with an interval beside every effect."""
    console.print()
    for row in findings.trials.filter(pl.col("role") == "baseline").iter_rows(named=True):
        console.print(
            f"Baseline ({escape(row['label'])}): mean score {_mean(row)} over {row['n_queries']} queries, "
            f"coverage {row['coverage']:.0%}"
        )
    if len(findings.effects):
        table = Table(
            "parameter",
            "from",
            "to",
            "around",
            "change",
            "95 % interval",
            "queries",
            title="Effect of one parameter at a time",
            title_justify="left",
            box=None,
        )
        for row in findings.effects.sort("parameter", "value").iter_rows(named=True):
            clear = row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
            change = _signed(row["difference"])
            table.add_row(
                row["parameter"],
                escape(row["against"]),
                escape(row["value"]),
                escape(row["around"]) or "the baseline",
                f"[bold]{change}[/bold]" if clear else change,
                _interval(row),
                str(row["n"]),
            )
        console.print(table)
    _show_importances(console, findings)
    for row in findings.noise.iter_rows(named=True):
        console.print(f"A/A noise floor, {escape(row['label'])}: {_shown(row)}")
    for row in findings.trials.filter(pl.col("state") == "failed").iter_rows(named=True):
        console.print(f"Trial {row['trial']} counts for nothing: {row['failed_because']}", markup=False)
    coverage = findings.trials.get_column("coverage")
    console.print(
        f"Coverage (scored completions): {coverage.mean():.1%} overall, {coverage.min():.1%} in the worst trial"
    )
    console.print()
    console.print(findings.headline, style="bold", markup=False)


def _show_importances(console: Console, findings: Any) -> None:
    if findings.no_importance:
        console.print(f"No importances: {findings.no_importance}")
        return
    table = Table(
        "parameter", "importance", "95 % interval", title="Importance (fANOVA)", title_justify="left", box=None
    )
    for row in findings.importances.iter_rows(named=True):
        table.add_row(
            row["parameter"], f"{row['importance']:.2f}", f"[{row['low']:.2f}, {row['high']:.2f}]".replace("[", "\\[")
        )
    console.print(table)


def _mean(row: dict[str, Any]) -> str:
    return "none" if row["mean"] is None else f"{row['mean']:.2f}"


def _shown(row: dict[str, Any]) -> str:
    """Return a difference with its interval; equal outputs are called so, because a width of 0 is no certainty."""
    interval = _interval(row)
    return interval if interval == IDENTICAL else f"{_signed(row['difference'])} {interval}"


def _interval(row: dict[str, Any]) -> str:
    if row["difference"] == row["low"] == row["high"] == 0:
        return IDENTICAL
    return "too few queries" if row["low"] is None else f"\\[{_signed(row['low'])}, {_signed(row['high'])}]"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # never -0.00


def show_studies(console: Console, studies: Sequence[tuple[str, str]]) -> None:
    """Print the known studies with their descriptions."""
    table = Table("study", "what it answers", box=None)
    for name, description in studies:
        table.add_row(name, description)
    console.print(table)
