"""Studies of conditions: an ablation walks through a fixed design, a search lets a sampler choose and trials race.

Knows designs, samplers and races; the way of a trial is the runner's.

In a search, a trial's scores are compared after every block of queries with those of the best trial so far on the same
queries. It stops where its mean over all queries of the study is clearly below the best one's. That is a question about
these very queries, of which it has seen a random part, so the test is the one of a finite population
(`core.statistics.clearly_negative`). The level is shared out over the tests (Bonferroni). What that costs and misses is
measured by `make bench ARGS=racing`; `studies.greedy.racing` is for many candidates that begin together.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import fmean
from typing import ClassVar

from ablations.core.concurrency import together
from ablations.core.condition import format_value
from ablations.core.records import JudgedTurn, Query, Role, Stop, TrialRecord, TrialState
from ablations.core.statistics import best_first, blocks, clearly_negative, query_means
from ablations.studies.conditions.config import MODES
from ablations.studies.conditions.confirmation import best_conditions
from ablations.studies.conditions.plan import ConditionsPlan, plan_conditions
from ablations.studies.engine.evaluator import pace
from ablations.studies.engine.run import Run
from ablations.studies.engine.trial import DesignPoint, PlannedTrial, Stopwatch, TrialResult
from ablations.studies.kind import Findings, Results, StudyKind
from ablations.studies.planning.inputs import Inputs
from ablations.studies.reporter import Reporter

LEAST, GROWTH, LEVEL = 8, 0.5, 0.3
"""Queries before the first test; size of the later blocks as a share of those before; chance, over all tests, that a
trial stops which would score the same as the best one on all queries."""


class ConditionsKind(StudyKind[ConditionsPlan]):
    """Ablations and searches, listed conditions, many-shot and retrieval."""

    modes: ClassVar = MODES

    async def plan(self, inputs: Inputs) -> ConditionsPlan:
        """Return the conditions, and what is confirmed of them."""
        return await plan_conditions(inputs)

    async def run(self, plan: ConditionsPlan, run: Run) -> None:
        """Evaluate every trial that is not finished, `concurrency` of them at a time on the engine."""
        walk = _Walk(plan, run)
        if walk.left:
            with run.reporter.progress(walk.left * plan.spec.turns, walk.status, run.progress):
                await together(walk.work() for _ in range(2 * plan.spec.concurrency))

    def summarise(self, results: Results) -> Findings:
        """Return what the study found, or what the confirmation says of it."""
        from ablations.studies.conditions.findings import summarise  # figures and forests take seconds to import

        return summarise(results)

    def follow_up(self, plan: ConditionsPlan, results: Results, reporter: Reporter) -> ConditionsPlan | None:
        """Return the plan that evaluates the baseline and the best conditions again, on fresh seeds."""
        if plan.confirmation is None:
            return None
        best = best_conditions(results, plan.confirmation.best)
        if not best:
            reporter.say("Nothing to confirm: the baseline or every other condition lacks enough scores.")
            return None
        again, seen = ConditionsPlan(plan.confirmation.follow_up(plan.spec, best)), len(plan.spec.queries)
        reporter.say(
            f"Confirmation: {again.trials - 1} conditions and the baseline again, on {seen} queries with fresh seeds "
            f"and {len(again.spec.queries) - seen} held back",
            important=True,
        )
        return again


class _Walk:
    """One walk through what is left of a study: interrupted and planned trials first, then what a sampler chooses.

    A trial gives its place on the engine back when its last answer is there; up to `concurrency` others may be waiting
    for the judge by then. Only a trial that a sampler chose keeps its place until it is judged, because the next choice
    should know its score, and one that races.
    """

    def __init__(self, plan: ConditionsPlan, run: Run) -> None:
        self._plan, self._run, self._spec = plan, run, plan.spec
        finished = run.finished()
        self._design = plan.design(run.records)
        self._best: tuple[TrialRecord, dict[str, float]] | None = None
        self.running: set[int] = set()
        damaged = [self._recorded(run.records[number]) for number in sorted(run.damaged) if number in run.records]
        taken = {one.index for one in run.records.values()}
        planned = [self._planned(index) for index in range(len(self._spec.design)) if index not in taken]
        self._waiting = [*damaged, *planned]
        self._total = max(self._spec.total_trials, len(finished) + len(self._waiting))
        self._next_number = max([*run.records, *(one.number for one in planned), -1]) + 1
        self._chosen = self._total - len(finished) - len(self._waiting)
        self.left = len(self._waiting) + self._chosen
        self.finished = len(finished)
        self._places = asyncio.Semaphore(self._spec.concurrency)
        self._speed = pace(self.left * self._spec.turns, run.progress, self._spec.turns)
        for number, turns in (run.judged(finished) if self.left else {}).items():
            self._see(run.records[number], turns)

    def _planned(self, index: int) -> PlannedTrial:
        return self._trial(index, self._design[index], index)

    def _recorded(self, record: TrialRecord) -> PlannedTrial:
        """Return the trial of a record whose answers were lost."""
        if record.index is None:
            return self._trial(record.number, DesignPoint(record.point, Role.SAMPLED), None)
        return self._trial(record.number, self._design[record.index], record.index)

    def _trial(self, number: int, point: DesignPoint, index: int | None) -> PlannedTrial:
        spec = self._spec
        reference = None if point.reference is None else spec.to_condition(point.reference)
        return PlannedTrial(
            number, spec.to_condition(point.values), point, reference, index=index, baseline=spec.config.baseline
        )

    async def work(self) -> None:
        """Evaluate one trial after the other until none is left."""
        while await self._places.acquire() and (trial := await self._next()) is not None:
            self.running.add(trial.number)
            with ExitStack() as place:
                place.callback(self._places.release)
                if self._races(trial):
                    result = await self._race(trial)
                elif trial.point.role is Role.SAMPLED:
                    result = await self._run.evaluate(trial)
                else:
                    result = await self._run.evaluate(trial, on_generated=place.close)
            self.running.discard(trial.number)
            self.finished += 1
            self._see(result.record, result.turns)
        self._places.release()

    async def _next(self) -> PlannedTrial | None:
        if self._waiting:
            return self._waiting.pop(0)
        if self._chosen < 1:
            return None
        self._chosen -= 1
        number, self._next_number = self._next_number, self._next_number + 1
        # Seeded by the trial: no two draw alike, whichever run begins them.
        values = await self._run.ask(number, self._spec.sampler, self._spec.seed + number + 1)
        return self._trial(number, DesignPoint(values, Role.SAMPLED), None)

    def _races(self, trial: PlannedTrial) -> bool:
        """Whether the trial stops where it cannot become the best; the baseline and replicates never do."""
        fixed = trial.point.role is Role.BASELINE or trial.point.replicate or trial.number in self._run.records
        return self._spec.prunes and not fixed

    async def _race(self, trial: PlannedTrial) -> TrialResult:
        """Evaluate a trial block by block of queries, until it is clearly behind the best one so far."""
        queries, turns, watch = self._spec.queries, list[JudgedTurn](), Stopwatch()
        seen, stopped = 0, None
        for some in query_blocks(queries, self._spec.seed):
            turns += await self._run.answer(trial, some)
            seen += len(some)
            if self._best is not None:
                best, scores = self._best
                stopped = stop(query_means(turns), seen, scores, best.number, len(queries))
            if stopped is not None:
                self._run.progress.skip(self._spec.turns - len(turns))
                break
        place = {query.id: at for at, query in enumerate(queries)}
        turns.sort(key=lambda turn: (place[turn.query.id], turn.turn))
        state = TrialState.COMPLETE if stopped is None else TrialState.STOPPED
        return await self._run.finish(trial, turns, watch, state, stopped)

    def _see(self, record: TrialRecord, turns: Sequence[JudgedTurn]) -> None:
        """Compare a complete trial with the best one so far; replicates are left out."""
        chooses = self._run.deciding_scale.chooses
        if record.state is TrialState.COMPLETE and not record.replicate and chooses:
            both = {record.number: query_means(turns)}
            if self._best is not None:
                both[self._best[0].number] = self._best[1]
            if best_first(dict(sorted(both.items())))[0] == record.number:
                self._best = record, both[record.number]

    def _moved(self, record: TrialRecord) -> str:
        """Return what a trial sets otherwise than the baseline."""
        baseline = self._spec.config.baseline
        changed = [f"{name}={format_value(value)}" for name, value in record.point.items() if value != baseline[name]]
        return " ".join(changed) or "the baseline"

    def status(self) -> str:
        """Say where the study is: trials, rate, time left, best so far."""
        shown = "no trial finished" if self._run.deciding_scale.chooses else "scores that choose no best"
        if self._best is not None:
            record, scores = self._best
            shown = f"best {fmean(scores.values()):.2f} ({self._moved(record)})"
        running = ",".join(map(str, sorted(self.running))) or "-"
        return f"trials {self.finished}/{self._total} (running {running}) · {self._speed()} · {shown}"


def query_blocks(queries: Sequence[Query], seed: int) -> list[list[Query]]:
    """Return the queries in the blocks in which a trial sees them, in an order that all trials of a study share."""
    left = random.Random(seed).sample(list(queries), len(queries))
    return [[left.pop() for _ in range(size)] for size in blocks(len(queries), LEAST, GROWTH)]


def stop(own: Mapping[str, float], seen: int, best: Mapping[str, float], behind: int, of: int) -> Stop | None:
    """Return why a trial stops here, or None where it continues.

    Args:
        own: scores by query, so far.
        seen: queries that the trial was asked.
        best: the best trial's scores by query.
        behind: its number.
        of: queries of the study.
    """
    differences = [score - best[query] for query, score in own.items() if query in best]
    tests = max(len(blocks(of, LEAST, GROWTH)) - 1, 1)
    if seen >= of or not clearly_negative(differences, LEVEL / tests, of):
        return None
    mean = sum(best.values()) / len(best)
    return Stop(seen, of, behind, mean + sum(differences) / len(differences))
