"""Reports of what is no study: the audit of a judge, and a stored trial that was asked for again.

Knows what was found; neither the terminal nor how MLflow keeps it.
"""

from collections.abc import Sequence

import polars as pl

from ablations.core.jsonl import JsonObject
from ablations.judges.audit.audit import Audit
from ablations.studies.views.pages import took_of_judge
from ablations.studies.views.reproduction import KeptTrial, Repeated, Reproduction
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
    figures = audit_figures(pl.DataFrame(stored["table"]), str(stored["judge"]["judge"]))
    await tracker.log_findings(stored["metrics"], stored["verdict"], {"judge_audit": stored["table"]}, figures, {})
    await tracker.finish("FINISHED")


def reproduction_report(trial: KeptTrial, found: Reproduction) -> Report:
    """Return the report of a trial that was asked for again: which answers and scores differ, and what may be why."""
    same = sum(turn.same for turn in found.turns)
    said = [] if found.judged else ["The judge was not asked again: that costs money, or nothing of it is stored."]
    differing = Section("Answers that differ", (), tuple(said), tables=filled(_differing(found.differing)), brief=True)
    changed = [f"Made from something else: {text}." for text in found.ingredients]
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
