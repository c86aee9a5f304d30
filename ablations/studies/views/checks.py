"""Checks: the audit of a judge and a stored trial that is asked for again, run and reported.

Knows what was found; neither the terminal nor how MLflow stores it.
"""

import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack

import polars as pl

from ablations.core.jsonl import JsonObject
from ablations.judges.audit.audit import Audit, Planted, audit
from ablations.judges.audit.pairs import Pair
from ablations.judges.base import Judge, audit_key
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.reporter import Reporter
from ablations.studies.views.pages import took_of_judge
from ablations.studies.views.reproduction import Repeated, Reproduction, StoredTrial
from ablations.tracking.tracker import Tracker
from analysis.figures import audit_figures
from analysis.report.page import About, Report, Section
from analysis.report.scores import audit_table
from analysis.report.tables import Columns, Table, filled, make_table, number

AUDITS = "judge-audits"
"""The experiment of audits."""
ABOUT_AUDITS = "Audits of judges: how often each prefers good answers to planted controls."
SHOWN_CHARACTERS = 24
"""Of an answer, from the place on at which it differs."""


def audit_report(name: str, audit: Audit, cost: float | None) -> Report:
    """Return the report of an audit: its table, agreement and cost; the verdict is its headline.

    Args:
        name: of the judge.
        audit: what was found.
        cost: of the judge's calls in US dollars, or None where the price is not known.
    """
    spread = "no scored pair" if audit.spread is None else f"{audit.spread:.2f} points on average"
    said = [
        f"The same answer judged twice differs by: {spread}.",
        f"Scored: {audit.n_scored} of {audit.n_judged} judgments.",
        *(f"Without a score: {count} x {reason}." for reason, count in sorted(audit.unscored.items())),
    ]
    if (agreed := audit.agreement) is not None:
        share = "–" if agreed.share is None else f"{agreed.share:.1%}"
        kappa = "–" if agreed.kappa is None else f"{agreed.kappa:.2f}"
        said.append(f"Agreement with the given preferences: {share} of {agreed.n} pairs, Cohen's kappa {kappa}.")
    if audit.usage.calls:
        said.append(f"Judging: {took_of_judge(audit.usage, cost)}.")
    frame = pl.DataFrame(audit.table())
    section = Section(
        f"Audit of the {name} judge",
        (),
        tuple(said),
        audit_figures(frame, name),
        (audit_table(frame, counts=True),),
        brief=True,
    )
    return Report(About(name), f"Verdict: {audit.verdict}", (section,))


async def log_audit(tracker: Tracker, stored: JsonObject) -> None:
    """Log an audit as a run of its own, from what the store has of it."""
    await tracker.start(stored["id"], ABOUT_AUDITS, stored["judge"], {})
    status = "FAILED"
    try:
        figures = audit_figures(pl.DataFrame(stored["table"]), str(stored["judge"]["judge"]))
        await tracker.log_findings(stored["metrics"], stored["verdict"], {"judge_audit": stored["table"]}, figures, {})
        status = "FINISHED"
    finally:
        await tracker.finish(status)


def reproduction_report(trial: StoredTrial, found: Reproduction) -> Report:
    """Return the report of a trial that was asked for again: which answers and scores differ, and what may be why."""
    same = sum(turn.same for turn in found.turns)
    said = [] if found.judged else ["The judge was not asked again: that costs money, or nothing of it is stored."]
    differing = Section("Answers that differ", (), tuple(said), tables=filled(_differing(found.differing)), brief=True)
    changed = [f"Made from something else: {text}." for text in found.changes]
    if found.environment is None:
        changed.append("The environment of that time is not on record.")
    elif not found.environment:
        changed.append("Versions, machine and code are those of that time.")
    changed += [f"{name}: {then} then, {now} now." for name, (then, now) in (found.environment or {}).items()]
    headline = (
        f"Trial {trial.number} of {trial.study} ({trial.label}): {same} of {len(found.turns)} answers are the same, "
        "character for character."
    )
    sections = (differing, Section("What it was made with", (), tuple(changed), brief=True))
    shown = (section for section in sections if not section.empty)
    return Report(About(trial.study), headline, tuple(shown))


def _differing(turns: Sequence[Repeated]) -> Table:
    columns: Columns = {"query": "query", "turn": "turn", "same up to": "at", "then": "then", "now": "now"}
    columns |= {"score then": number("score_then"), "score now": number("score_now")}
    rows = [
        {
            "query": turn.request.query_id,
            "turn": turn.request.turn,
            "at": turn.first_difference,
            "then": _from(turn.request.completion.text, turn.first_difference),
            "now": _from(turn.completion.text, turn.first_difference),
            "score_then": turn.request.judgment.score.value,
            "score_now": turn.score,
        }
        for turn in turns
    ]
    numbers = {"score_then": pl.Float64, "score_now": pl.Float64}
    return make_table("Differing turns", pl.DataFrame(rows, schema_overrides=numbers), columns)


def _from(text: str, at: int) -> str:
    """Return a text from a place on, cut and in one line."""
    return repr(text[at : at + SHOWN_CHARACTERS])[1:-1] + ("…" if len(text) > at + SHOWN_CHARACTERS else "")


async def run_audit(
    judge: Judge, planted: Sequence[Planted], pairs: Sequence[Pair], places: Places, reporter: Reporter
) -> Audit:
    """Audit a judge, show and log what was found, store the verdict for later studies, and return it."""
    async with AsyncExitStack() as opened:
        store = Store(places.store)
        opened.callback(store.close)
        opened.push_async_callback(judge.close)
        name = f"{judge.name} {judge.identity.get('model', '')}".strip()
        tracker = Tracker(places.tracking_uri, places.artifacts, AUDITS, name)
        opened.callback(tracker.close)
        await tracker.connect()
        account = uuid.uuid4().hex
        judge.keep_replies(lambda reply: store.add_reply(account, reply))
        await judge.start()
        found = await audit(judge, planted, pairs)
        cost = judge.budget.cost(store.paid(account))
        stored: JsonObject = {
            "id": account,
            "name": name,
            "judge": dict(judge.identity),
            "metrics": found.metrics() | {"judge_cost_usd": cost},
            "verdict": found.verdict,
            "table": found.table(),
        }
        store.add_audit(audit_key(judge.identity), stored)
        reporter.show(audit_report(name, found, cost))
        await log_audit(tracker, stored)
        return found
