"""Pages: what MLflow's pages say of a study, made from its report, and which of its trials are shown as traces.

Knows what is shown, neither how it was computed nor how MLflow keeps it. A study that has just ended and one whose view
is rebuilt take the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from ablations.core.condition import format_value
from ablations.core.jsonl import JsonObject
from ablations.core.records import JudgedTurn, Price, Query, Role, TrialRecord, Usage
from ablations.core.statistics import Scale
from ablations.judges.base import ALSO, audit_key
from ablations.judges.prices import format_money
from ablations.judges.registry import PROGRAMS
from ablations.storage.store import Store
from ablations.studies.engine.results import judged_turns
from ablations.studies.kind import Findings, Results
from ablations.studies.manifest import StudyManifest
from ablations.tracking.traces import TracedTrial
from ablations.tracking.tracker import FIRST_PROMPT, ChildPage, Tracker
from analysis.frames import judge_name
from analysis.report.page import About, Report
from analysis.report.tables import cell

TRACED_TURNS = 40
"""Turns of a trial that are shown as traces, at most: each takes a hundredth of a second to write."""


@dataclass(frozen=True)
class Judging:
    """Usage of a study's judging.

    Attributes:
        usage: of all judges.
        cost: in US dollars, or None where the price is not known.
        audits: the newest audit of each judge by its name, that of the judge that decides first; None where there is
            none.
    """

    usage: Usage
    cost: float | None
    audits: Mapping[str, JsonObject | None]

    @property
    def audit(self) -> JsonObject | None:
        """The newest audit of the judge that decides."""
        return next(iter(self.audits.values()), None)

    @classmethod
    def of(cls, store: Store, study_id: str, judge: JsonObject, price: Price | None) -> "Judging":
        """Return what the store knows of a study's account and of its judges, by its judge's identity."""
        usage, identities = store.paid(study_id), [judge, *judge.get(ALSO, ())]
        audits = {one["judge"]: store.find_audit(audit_key(one)) for one in identities}
        return cls(usage, None if price is None else price.cost(usage), audits)

    def sentences(self) -> tuple[str, ...]:
        """Say what judging took, and whether each judge has passed an audit."""
        took = (f"Judging: {took_of_judge(self.usage, self.cost)}.",) if self.usage.calls else ()
        return (*took, *(_audited(name, audit) for name, audit in self.audits.items()))


def _audited(judge: str, audit: JsonObject | None) -> str:
    """Say whether a judge has passed an audit."""
    if judge in PROGRAMS:
        return f"The {judge} judge needs no audit: it tests what each query asks, by rules with tests of their own."
    if audit is None:
        return (
            f"The {judge} judge has no audit on record here: run audit-judge with the same judge options before you "
            "trust its scores."
        )
    return f"Audit of the {judge} judge: {audit['verdict']}."


def took_of_judge(used: Usage, cost: float | None) -> str:
    """Say what was asked of a judge's server, and what it cost in US dollars; None where the price is not known."""
    tokens = f"{used.prompt_tokens:,} tokens in, {used.completion_tokens:,} out"
    return f"{used.calls:,} calls, {tokens}, {format_money(cost)}"


@dataclass(frozen=True)
class Recorded:
    """A study's trials as the store keeps them.

    Attributes:
        trials: what the store keeps of each, by number.
        turns: the judged turns of each, in the queries' order.
        prompts: the exact prompts of a trial, by query id and turn; a function of its number.
    """

    trials: Mapping[int, TrialRecord]
    turns: Mapping[int, Sequence[JudgedTurn]]
    prompts: Callable[[int], Mapping[tuple[str, int], str]]

    def first_prompt(self, number: int) -> str | None:
        """The exact prompt of the first query's first turn, or None where it is not known."""
        turns = self.turns.get(number)
        return self.prompts(number).get((turns[0].query.id, 1)) if turns else None


def recorded_in(store: Store, study: str, queries: Sequence[Query], scales: Mapping[str, Scale]) -> Recorded:
    """Return the trials that the store has of a study, whose judges `scales` names."""
    turns = judged_turns(store, study, queries, scales)
    return Recorded(store.trials(study), turns, lambda number: store.prompts(study, number))


def about_study(
    name: str, frame: pl.DataFrame, identity: JsonObject, judging: Judging | None, manifest: StudyManifest | None = None
) -> About:
    """Return what a study was made from, as far as that is known; its findings add what differs between kinds.

    Args:
        name: of the study.
        frame: its results of record.
        identity: what the store says that it was made from; {} without a store.
        judging: what judging took and the judge's newest audit, or None without a store.
        manifest: the study's, or None.
    """
    audit = None if judging is None else judging.audit
    judge = judge_name(frame, "none")
    asked = identity.get("judge", {}).get("model")
    beside = [one["judge"] for one in identity.get("judge", {}).get(ALSO, ())]
    turns = frame.unique(["query_id", "turn"])
    source = "" if manifest is None else str(manifest.parameters.get("queries", ""))  # not known of results alone
    labels = frame.filter(pl.col("role") == Role.BASELINE).get_column("label").unique().to_list()
    space = None if manifest is None else manifest.space
    coverage = float(frame.get_column("score").is_not_null().to_numpy().mean())
    facts = {
        "model": _named(identity.get("model") or (manifest.parameters.get("model") if manifest is not None else None)),
        "judge": ", ".join(filter(None, (judge, asked, f"{', '.join(beside)} beside it" if beside else ""))),
        "audit of the judge": _verdict(judge, audit),
        "queries": f"{turns['query_id'].n_unique()}{source and f' of {Path(source).name}'}, {len(turns)} turns",
        "baseline": labels[0] if len(labels) == 1 else "",
        "coverage": f"{coverage:.1%} of the completions have a score",
        "varied": "; ".join(f"{one.name} ({one.domain.describe()})" for one in space.parameters) if space else "",
        "design": ", ".join(format_value(identity[key]) for key in ("mode", "design", "sampler") if identity.get(key)),
        "seed": str(identity.get("seed", "")),
    }
    return About(
        name,
        tuple((key, text) for key, text in facts.items() if text),
        None if audit is None else audit["table"],
        () if judging is None else judging.sentences(),
        "" if manifest is None else manifest.about,
    )


def _verdict(judge: str, audit: JsonObject | None) -> str:
    if judge in PROGRAMS:
        return "needs none: it tests what each query asks"
    lacking = "none on record: do not rely on these scores before audit-judge was run"
    return lacking if audit is None else str(audit["verdict"])


def _named(model: object) -> str:
    if isinstance(model, Mapping):
        return " ".join(str(value) for value in model.values() if value)
    return "" if model is None else str(model)


@dataclass(frozen=True)
class StoredStudy:
    """A study as its results of record hold it.

    Attributes:
        study_id: of the study.
        identity: what may not change under its name.
        manifest: what it is made from, as far as that is known.
        recorded: its trials.
        record: its results of record, of all judges.
        results: what it left, as its kind takes it.
        judging: what judging took.
        pages: parts that are no trials, with runs of their own.
        finished: whether it came to its end.
        lacking: what is not known, in words.
        confirms: the id of the study whose confirmation it is, or None.
    """

    study_id: str
    identity: JsonObject
    manifest: StudyManifest
    recorded: Recorded
    record: pl.DataFrame
    results: Results
    judging: Judging
    pages: tuple[ChildPage, ...]
    finished: bool
    lacking: tuple[str, ...] = ()
    confirms: str | None = None

    @property
    def name(self) -> str:
        """The study's name."""
        return self.results.name

    @property
    def about(self) -> About:
        """What it was made from, as far as that is known."""
        return about_study(self.name, self.results.frame, self.identity, self.judging, self.manifest)


async def log_study(
    tracker: Tracker, study: StoredStudy, findings: Findings, report: Report, files: Sequence[Path]
) -> None:
    """Log what was found, and the files of it, on the study's page, and the traces of the trials that matter most."""
    recorded, judging, audit = study.recorded, study.judging, study.judging.audit
    metrics = {
        **findings.metrics(),
        "judge_calls": judging.usage.calls,
        "judge_prompt_tokens": judging.usage.prompt_tokens,
        "judge_completion_tokens": judging.usage.completion_tokens,
        "judge_cost_usd": judging.cost,
    }
    tags = {"ablations.judge_audit": "none" if audit is None else audit["verdict"]}
    tables = {name: frame.to_dict(as_series=False) for name, frame in findings.tables().items()}
    tables |= {} if audit is None else {"judge_audit": audit["table"]}
    traced = traced_trials(recorded, report.reading)
    about = report.about.having(
        traces=_shown_turns(traced, recorded),
        results_of_record=f"results/{study.name}/results.parquet of the results folder, an artifact here too",
    )
    note = study_note(replace(report, about=about))
    await tracker.log_findings(metrics, note, tables, report.figures, tags)
    await tracker.log_files(files)
    baseline = baseline_number(recorded.trials)
    prompt = recorded.first_prompt(baseline) if baseline is not None and baseline in recorded.turns else None
    await tracker.log_texts({} if prompt is None else {FIRST_PROMPT: prompt})
    await tracker.log_traces([one for one in traced if tracker.knows(one.number)])
    if study.confirms is not None:
        await tracker.log_confirmation(study.confirms, report.headline)


def study_note(report: Report) -> str:
    """Return the description of a study's page as Markdown: its headline, what it studies, its facts."""
    about = report.about
    facts = "\n".join(f"- **{name[:1].upper()}{name[1:]}**: {cell(text)}" for name, text in about.facts)
    return "\n\n".join(filter(None, (report.headline, about.description, facts)))


def _shown_turns(traced: Sequence[TracedTrial], recorded: Recorded) -> str:
    if not traced:
        return ""
    whole = max(len(recorded.turns[one.number]) for one in traced)
    most = max(len(one.turns) for one in traced)
    some = f"all {whole} turns" if most == whole else f"the first {most} of {whole} turns"
    return f"{some} of each of: {', '.join(one.role for one in traced)}"


def traced_trials(recorded: Recorded, reading: Mapping[int, str]) -> list[TracedTrial]:
    """Return the trials that are worth reading, by number with the reason, as far as their turns are recorded.

    Whole queries are shown, as many as `TRACED_TURNS` leaves room for.
    """
    shown = []
    for number, role in reading.items():
        if number not in recorded.turns:
            continue
        record, turns = recorded.trials[number], recorded.turns[number]
        queries = dict.fromkeys(turn.query.id for turn in turns)
        first = list(queries)[: max(TRACED_TURNS * len(queries) // len(turns), 1)]
        some = [turn for turn in turns if turn.query.id in first]
        prompts = recorded.prompts(number)
        shown.append(TracedTrial(number, role, record.run_name, record.condition_id, some, prompts, record.ended))
    return shown


def baseline_number(trials: Mapping[int, TrialRecord]) -> int | None:
    """Return the number of the baseline's trial, or None."""
    return min((number for number, record in trials.items() if record.role is Role.BASELINE), default=None)
