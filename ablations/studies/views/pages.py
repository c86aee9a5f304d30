"""Pages: what MLflow's pages say of a study, made from its card, its results and what was found.

Knows what is shown, neither how it was computed nor how MLflow keeps it. A study that has just ended and one whose view
is made anew take the same way.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import polars as pl

from ablations.core.records import JudgedTurn, Price, Query, Role, Usage
from ablations.judges.base import audit_key
from ablations.storage.store import Store
from ablations.studies.engine.results import judged_turns
from ablations.studies.manifest import StudyCard
from ablations.tracking.traces import TracedTrial
from ablations.tracking.tracker import PROMPT_FILE, Tracker

TRACED_TURNS = 40
"""Turns of a trial that are shown as traces, at most: each takes a hundredth of a second to write."""
AUDITS = "judge-audits"
"""The experiment of audits."""
ABOUT_AUDITS = "Audits of judges: how often each prefers good answers to planted controls."


@dataclass(frozen=True)
class Judging:
    """What judging a study took, what that cost (None where the price is not known), and the judge's newest audit."""

    usage: Usage
    cost: float | None
    audit: Mapping[str, Any] | None

    @classmethod
    def of(cls, store: Store, study_id: str, judge: Mapping[str, Any], price: Price | None) -> "Judging":
        """Return what the store knows of a study's account and of its judge, by the judge's identity."""
        usage = store.paid(study_id)
        return cls(usage, None if price is None else price.cost(usage), store.find_audit(audit_key(judge)))


@dataclass(frozen=True)
class Recorded:
    """A study's trials as the store keeps them.

    Attributes:
        trials: what the store keeps of each, by number.
        turns: the judged turns of each, in the queries' order.
        prompts: the exact prompts of a trial, by query id and turn; a function of its number.
    """

    trials: Mapping[int, Mapping[str, Any]]
    turns: Mapping[int, Sequence[JudgedTurn]]
    prompts: Callable[[int], Mapping[tuple[str, int], str]]

    def first_prompt(self, number: int) -> str | None:
        """The exact prompt of the first query's first turn, or None where it is not known."""
        turns = self.turns.get(number)
        return self.prompts(number).get((turns[0].query.id, 1)) if turns else None


def recorded_in(store: Store, study: str, queries: Sequence[Query]) -> Recorded:
    """Return the trials that the store has of a study."""
    turns = judged_turns(store, study, queries)
    return Recorded(store.trials(study), turns, lambda number: store.prompts(study, number))


@dataclass(frozen=True)
class Closing:
    """A study that has come to its end.

    Attributes:
        name: of the study.
        card: what it is made from.
        frame: its results of record.
        findings: an object with `headline`, `figures`, `metrics()` and `tables()`.
        judging: what judging took.
        files: kept as artifacts.
        confirms: the id of the study whose confirmation it is, or None.
    """

    name: str
    card: StudyCard
    frame: pl.DataFrame
    findings: Any
    judging: Judging
    files: Sequence[Path]
    confirms: str | None = None


async def log_closing(tracker: Tracker, closing: Closing, recorded: Recorded) -> None:
    """Log what was found on the study's page, and the traces of the trials that matter most."""
    judging, audit = closing.judging, closing.judging.audit
    metrics = closing.findings.metrics() | {
        "judge_calls": judging.usage.calls,
        "judge_prompt_tokens": judging.usage.prompt_tokens,
        "judge_completion_tokens": judging.usage.completion_tokens,
        "judge_cost_usd": judging.cost,
    }
    tags = {"ablations.judge_audit": "none" if audit is None else audit["verdict"]}
    tables = closing.findings.tables() | ({} if audit is None else {"judge_audit": audit["table"]})
    traced = traced_trials(recorded)
    note = study_note(closing, traced, recorded)
    await tracker.log_findings(metrics, note, tables, closing.findings.figures, tags)
    await tracker.log_files(closing.files)
    baseline = baseline_number(recorded.trials)
    prompt = recorded.first_prompt(baseline) if baseline is not None and baseline in recorded.turns else None
    await tracker.log_texts({} if prompt is None else {PROMPT_FILE: prompt})
    await tracker.log_traces([one for one in traced if tracker.knows(one.number)])
    if closing.confirms is not None:
        await tracker.log_confirmation(closing.confirms, closing.findings.headline)


def study_note(closing: Closing, traced: Sequence[TracedTrial], recorded: Recorded) -> str:
    """Return the description of a study's page as Markdown; its first line is the headline."""
    card, trials = closing.card, closing.frame.unique("trial").sort("trial")
    turns = closing.frame.unique(["query_id", "turn"])
    judge, model = str(closing.frame.get_column("judge").drop_nulls()[0]), card.parameters.get("model", "not recorded")
    asked = f"`{card.parameters['judge.model']}` as `{judge}`" if "judge.model" in card.parameters else f"`{judge}`"
    failed = len(trials.filter(pl.col("state") == "failed"))
    counted = [_counted_trials(card, trials), *([f"{failed} failed"] if failed else [])]
    source = next((one.name for one in card.inputs if one.context == "evaluation"), None)
    lines = [
        ("Model", f"`{model}`"),
        ("Judge", asked),
        (
            "Queries",
            f"{turns.get_column('query_id').n_unique()}{f' of `{source}`' if source else ''}, {len(turns)} turns",
        ),
        ("Trials", ", ".join(counted)),
        ("Varied", "; ".join(_varied(card))),
        ("Traces", _shown_turns(traced, recorded)),
        ("Results of record", f"`results/{closing.name}/results.parquet` of the results folder, an artifact here too"),
    ]
    about = f"\n\n{card.about}" if card.about else ""
    return f"{closing.findings.headline}{about}\n\n" + "\n".join(
        f"- **{name}**: {text}" for name, text in lines if text
    )


def _counted_trials(card: StudyCard, trials: pl.DataFrame) -> str:
    if card.mode == "icl-vs-ift":
        return f"{len(trials)} arms"
    if card.mode == "greedy-search":
        raced = len(trials.filter(pl.col("role") == Role.CANDIDATE))
        return f"{raced} candidates in races, and the prompts before and after"
    replicates = len(trials.filter(pl.col("replicate") > 0))
    aside = f" and {replicates} A/A replicate{'s' * (replicates > 1)}" if replicates else ""
    return f"{len(trials)}: {len(trials) - replicates} conditions{aside}"


def _varied(card: StudyCard) -> list[str]:
    if card.mode == "icl-vs-ift":
        return ["what the examples go into: the prompt, or the weights", "how many there are"]
    if card.mode == "greedy-search":
        return ["the demonstrations"]
    parameters = () if card.space is None else card.space.parameters
    return [f"{one.name} ({one.domain.describe()})" for one in parameters]


def _shown_turns(traced: Sequence[TracedTrial], recorded: Recorded) -> str:
    if not traced:
        return ""
    whole = max(len(recorded.turns[one.number]) for one in traced)
    most = max(len(one.turns) for one in traced)
    kept = f"all {whole} turns" if most == whole else f"the first {most} of {whole} turns"
    return f"{kept} of each of: {', '.join(one.role for one in traced)}"


def traced_trials(recorded: Recorded) -> list[TracedTrial]:
    """Return the trials that are worth reading: the baseline, the best and the worst, A/A replicates left out.

    Of a greedy search: the prompts before and after, on the held-back queries. Whole queries are shown, as many as
    `TRACED_TURNS` leaves room for.
    """
    shown = []
    for number, role in _roles(recorded.trials).items():
        if number not in recorded.turns:
            continue
        record, turns = recorded.trials[number], recorded.turns[number]
        queries = dict.fromkeys(turn.query.id for turn in turns)
        kept = list(queries)[: max(TRACED_TURNS * len(queries) // len(turns), 1)]
        some = [turn for turn in turns if turn.query.id in kept]
        name = str(record.get("run_name", record["label"]))
        prompts = recorded.prompts(number)
        ended = float(record.get("ended", time.time()))
        shown.append(TracedTrial(number, role, name, record["condition_id"], some, prompts, ended))
    return shown


def _roles(trials: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
    """Return why each trial is shown, by number; one that is several is shown once."""
    held_back = [number for number in sorted(trials) if trials[number]["role"] == Role.HELD_BACK]
    if held_back:
        return dict(zip(held_back, ("start prompt", "chosen prompt"), strict=False))
    counted = {
        n: r
        for n, r in trials.items()
        if r["state"] == "complete" and not r["replicate"] and r["role"] != Role.CANDIDATE
    }
    means: dict[str, list[float]] = {}  # replicates count for their condition
    for record in trials.values():
        if record["state"] == "complete" and record["mean"] is not None:
            means.setdefault(record["condition_id"], []).append(record["mean"])
    named = {str(Role.BASELINE): baseline_number(counted)}
    if counted:
        named["best"] = max(counted, key=lambda number: (fmean(means[counted[number]["condition_id"]]), -number))
        named["worst"] = min(counted, key=lambda number: (fmean(means[counted[number]["condition_id"]]), number))
    roles: dict[int, str] = {}
    for role, number in named.items():
        if number is not None:
            roles[number] = f"{roles[number]} and {role}" if number in roles else role
    return roles


def baseline_number(trials: Mapping[int, Mapping[str, Any]]) -> int | None:
    """Return the number of the baseline's trial, or None."""
    return min((number for number, record in trials.items() if record["role"] == Role.BASELINE), default=None)


async def log_audit(tracker: Tracker, audit: Mapping[str, Any]) -> None:
    """Log an audit as a run of its own, from what the store keeps of it."""
    await tracker.start(audit["id"], ABOUT_AUDITS, audit["judge"], {})
    from analysis.figures import audit_figures

    figures = audit_figures(pl.DataFrame(audit["table"]), str(audit["judge"]["judge"]))
    await tracker.log_findings(audit["metrics"], audit["verdict"], {"judge_audit": audit["table"]}, figures, {})
    await tracker.finish("FINISHED")
