"""The run of a study: the one way of every trial through evaluator, store, Optuna and MLflow.

Knows neither kinds of studies nor how text is made; a kind says which trials there are.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import polars as pl

from ablations.core.condition import Condition
from ablations.core.errors import JudgeError
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import Value
from ablations.core.records import JudgedTurn, Query, Score, Stop, TrialRecord, TrialState
from ablations.core.statistics import Scale, Summary, summarise
from ablations.judges.base import NO_REPLY, Judge
from ablations.models.base import Backend
from ablations.storage.store import ResultKeys, Store
from ablations.studies.engine.evaluator import Evaluator, Progress
from ablations.studies.engine.optuna_view import OptunaView
from ablations.studies.engine.results import FILE_NOTE, PAGE_NOTE, TABLE_NOTE, judged_turns, training_steps
from ablations.studies.engine.trial import PlannedTrial, Stopwatch, TrialResult
from ablations.studies.reporter import Reporter
from ablations.studies.spec import StudySpec
from ablations.tracking.tracker import ChildPage, Tracker


class Engines(Protocol):
    """Starts the judge and engines, each once, and gives engines back."""

    async def start(self, *backends: Backend) -> None:
        """Start the judge, and then a backend with those that share its engine, unless that is done."""
        ...

    async def stop(self, backend: Backend) -> None:
        """Give back what a backend holds."""
        ...


@dataclass
class Run:
    """One run of a study; the first argument of a kind's `run`.

    Attributes:
        spec: what is evaluated.
        backend: the study's own model; others are given with each trial.
        judge, store, tracker: opened ones; the judge is started by `start`.
        reporter: shows messages and progress to the user.
        optuna: the study's view in Optuna, or None where its trials have no search space.
        engines: starts the judge and what answers, when they are first needed.
        alone: raises `StorageError` where another process runs the study by now.
        scales: what the scores of each judge are read against, the one that decides first.
        asks_again: whether a stored judgment without a score may be asked for again.
    """

    spec: StudySpec
    backend: Backend
    judge: Judge
    store: Store
    tracker: Tracker
    reporter: Reporter
    optuna: OptunaView | None
    engines: Engines
    alone: Callable[[], None]
    scales: Mapping[str, Scale]
    asks_again: bool = True
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.records = dict(self.store.trials(self.spec.name))
        self.damaged = self.store.damaged(self.spec.name)
        self._evaluators: dict[int, Evaluator] = {}
        self._telling = asyncio.Lock()
        self._answered: dict[int, dict[tuple[str, int], tuple[list[ResultKeys], bool]]] = {}

    @property
    def deciding_scale(self) -> Scale:
        """What the scores of the judge that decides are read against."""
        return next(iter(self.scales.values()))

    def finished(self) -> Mapping[int, TrialRecord]:
        """Return the trials that are finished and whose answers are all there, by number."""
        return {number: record for number, record in self.records.items() if number not in self.damaged}

    def judged(self, numbers: Collection[int]) -> dict[int, list[JudgedTurn]]:
        """Return the judged turns of finished trials by number, in the order of the queries."""
        return judged_turns(self.store, self.spec.name, self.spec.queries, self.scales, numbers)

    def note(self, kind: str, record: JsonObject) -> None:
        """Keep the newest record of its kind about the study."""
        self.store.add_note(self.spec.name, kind, record)

    def table(self, name: str, frame: pl.DataFrame) -> None:
        """Keep a further table of the study, which is written beside its results too."""
        self.note(f"{TABLE_NOTE} {name}", frame.to_dict(as_series=False))

    def file(self, name: str, text: str) -> None:
        """Keep a text of the study, which is written beside its results too."""
        self.note(f"{FILE_NOTE} {name}", {"text": text})

    async def page(self, page: ChildPage) -> None:
        """Show a part of the study that is no trial as a run of its own; one that is known has its old times."""
        kind = f"{PAGE_NOTE} {page.number}"
        if (known := self.store.notes(self.spec.name).get(kind)) is not None:
            page = replace(page, started=known["started"], ended=known["ended"])
        self.note(kind, page.to_dict())
        if not self.tracker.knows(page.number):
            await self.tracker.log_page(page)

    async def evaluate(
        self,
        trial: PlannedTrial,
        queries: Sequence[Query] | None = None,
        backend: Backend | None = None,
        on_generated: Callable[[], None] = lambda: None,
    ) -> TrialResult:
        """Evaluate a trial: ask, judge, summarise, check coverage, record, log.

        A finished trial is looked up; of one whose answers were lost the lost ones are asked for again.

        Args:
            trial: with its number in the study.
            queries: those it answers; None for all of the study.
            backend: what answers; None for the study's own model.
            on_generated: called once, when its last answer is there.

        Raises:
            PartFailedError: a part failed; what was stored stays.
        """
        asked = self.spec.queries if queries is None else queries
        if (known := self.records.get(trial.number)) is not None:
            return await self._again(trial, known, asked, backend, on_generated)
        watch, generating = Stopwatch(), [0.0]

        def generated() -> None:
            generating[0] = watch.seconds
            on_generated()

        turns = await self.answer(trial, asked, backend, generated)
        return await self.finish(trial, turns, watch, backend=backend, seconds=generating[0])

    async def _again(
        self,
        trial: PlannedTrial,
        known: TrialRecord,
        queries: Sequence[Query],
        backend: Backend | None,
        on_generated: Callable[[], None],
    ) -> TrialResult:
        """Return a finished trial; what the store lost of its answers is asked for again, its record stays."""
        lost = self.damaged.pop(trial.number, set())
        if known.state is TrialState.FAILED and trial.number not in self.store.answered(self.spec.name):
            return TrialResult(known, [], summarise([], self.scales))
        asked = [query for query in queries if query.id in lost] if lost else queries
        turns = await self.answer(trial, asked, backend, on_generated)
        if lost:
            self._add_results(trial.number)
            found = judged_turns(self.store, self.spec.name, queries, self.scales, [trial.number])
            turns = found.get(trial.number, [])
        result = TrialResult(known, turns, summarise(turns, self.scales))
        await self._log(result)
        return result

    async def ask(self, number: int, sampler: str, seed: int) -> dict[str, Value]:
        """Return what a sampler chooses for a trial, by Optuna's study of all trials so far."""
        assert self.optuna is not None  # its plan has a space, as every kind that samples has
        async with self._telling:
            return await asyncio.to_thread(self.optuna.ask, number, sampler, seed)

    async def answer(
        self,
        trial: PlannedTrial,
        queries: Sequence[Query],
        backend: Backend | None = None,
        on_generated: Callable[[], None] = lambda: None,
    ) -> list[JudgedTurn]:
        """Return the judged turns of some queries under a trial, in the queries' order."""
        backend = backend or self.backend
        evaluator, replicate = self._evaluator(backend), trial.point.replicate
        if not evaluator.stored(trial.condition, queries, replicate):
            await self.engines.start(backend)
        found = self._answered.setdefault(trial.number, {})
        return await evaluator.evaluate(
            trial.condition,
            queries,
            replicate,
            lambda turn, keys: found.update({(turn.query.id, turn.turn): (keys.of(turn), keys.reused)}),
            on_generated,
        )

    def stored(self, condition: Condition, backend: Backend) -> bool:
        """Whether all answers of the study's queries under a condition are stored, with their judgments."""
        return self._evaluator(backend).stored(condition, self.spec.queries, 0)

    def _evaluator(self, backend: Backend) -> Evaluator:
        if id(backend) not in self._evaluators:
            evaluator = Evaluator(backend, self.judge, self.store, self.spec.seed)
            evaluator.progress, evaluator.asks_again = self.progress, self.asks_again
            self._evaluators[id(backend)] = evaluator
        return self._evaluators[id(backend)]

    async def finish(
        self,
        trial: PlannedTrial,
        turns: Sequence[JudgedTurn],
        watch: Stopwatch,
        state: TrialState = TrialState.COMPLETE,
        stop: Stop | None = None,
        backend: Backend | None = None,
        seconds: float | None = None,
    ) -> TrialResult:
        """Record and log a trial whose turns `answer` has returned; one with too few scores has failed.

        Raises:
            JudgeError: judgments are missing because the judge's server gave no reply; the trial is not finished.
        """
        summary = summarise(turns, self.scales)
        why = summary.failure(self.spec.min_coverage)
        check_replies(f"trial {trial.number} ({trial.label})", turns, self.spec.min_coverage)
        reused = any(reused for _, reused in self._answered.get(trial.number, {}).values())
        self._add_results(trial.number)
        record = _record(trial, TrialState.FAILED if why else state, why, summary, watch)
        record = replace(
            record,
            seconds=watch.seconds if seconds is None else seconds,
            measured=not reused and seconds is not None,
            stopped=stop,
            answered_by=None if backend is None else backend.identity.to_dict(),
        )
        return await self._add(TrialResult(record, turns, summary))

    async def fail(self, trial: PlannedTrial, reason: str) -> TrialResult:
        """Record a trial that nothing could answer."""
        summary = summarise([], self.scales)
        return await self._add(
            TrialResult(_record(trial, TrialState.FAILED, reason, summary, Stopwatch()), [], summary)
        )

    async def _add(self, result: TrialResult) -> TrialResult:
        self.alone()
        record = result.record
        self.store.add_trial(self.spec.name, record)
        self.records[record.number] = record
        if self.optuna is not None:
            async with self._telling:  # in a thread: each takes some dozen statements, and the engine is fed meanwhile
                await asyncio.to_thread(self.optuna.add, record)
        await self._log(result)
        return result

    def _add_results(self, number: int) -> None:
        keys = [one for keys, _ in self._answered.pop(number, {}).values() for one in keys]
        self.store.add_results(self.spec.name, number, keys)

    async def complete_log(self) -> None:
        """Log the finished trials that MLflow lacks, because it failed or was moved."""
        await self.tracker.look_again()
        lacking = [
            number for number, one in sorted(self.records.items()) if one.own_run and not self.tracker.knows(number)
        ]
        turns = self.judged(lacking) if lacking else {}
        for number in lacking:
            own = turns.get(number, [])
            await self._log(TrialResult(self.records[number], own, summarise(own, self.scales)))

    async def _log(self, result: TrialResult) -> None:
        record, turns = result.record, result.turns
        if not record.own_run or self.tracker.knows(record.number):
            return
        prompts = self.store.prompts(self.spec.name, record.number)
        prompt = prompts.get((turns[0].query.id, 1)) if turns else None
        await self.tracker.log_trial(record, result.summary, turns, prompt, training_steps(self.store, record))


def _record(trial: PlannedTrial, state: TrialState, why: str | None, summary: Summary, watch: Stopwatch) -> TrialRecord:
    """Return what the store keeps of a trial, beside what only its evaluation knows."""
    point = trial.point
    return TrialRecord(
        number=trial.number,
        condition_id=trial.condition.condition_id,
        label=trial.label,
        run_name=trial.run_name,
        role=point.role,
        state=state,
        values=trial.condition.values(),
        point=dict(point.values),
        mean=summary.mean,
        failed_because=why,
        replicate=point.replicate,
        varied=point.varied,
        reference=None if trial.reference is None else trial.reference.condition_id,
        index=trial.index,
        seconds=watch.seconds,
        started=watch.started,
        ended=watch.now,
        own_run=trial.own_run,
        arm=trial.arm,
        recipe=trial.recipe,
        job=trial.job,
    )


def check_replies(name: str, turns: Sequence[JudgedTurn], min_coverage: float) -> None:
    """Raise `JudgeError` if a trial lacks a judge's judgments because the judge's server gave no reply."""
    by_judge: dict[str, list[Score]] = {}
    for judgment in (judgment for turn in turns for judgment in turn.judgments):
        by_judge.setdefault(judgment.judge, []).append(judgment.score)
    for judge, scores in by_judge.items():
        lost = sum(score.reason == NO_REPLY for score in scores)
        if lost and sum(score.value is not None for score in scores) < min_coverage * len(scores):
            raise JudgeError(
                f"{name} lacks {lost} judgments because the {judge} judge's server gave no reply. That says nothing of "
                "the answers, so the trial is not finished: the same command asks again"
            )
