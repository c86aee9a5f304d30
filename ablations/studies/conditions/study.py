"""The study: Optuna's ask and tell around the evaluation of conditions.

Knows how trials are chosen, run side by side, resumed and recorded; neither how text is generated
nor how results are drawn.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ablations.core.concurrency import together
from ablations.core.errors import StudyMismatchError
from ablations.core.prompt import Value
from ablations.core.records import JudgedTurn, Role, Stop
from ablations.core.statistics import Summary, query_means, summarise
from ablations.storage.claims import Claims
from ablations.storage.store import ResultKeys, Store
from ablations.studies.conditions.optuna_storage import add_running, from_optuna, make_sampler, report, storage_errors
from ablations.studies.conditions.pruning import query_blocks, stop
from ablations.studies.engine.evaluator import Evaluator, OnTurn, TurnKeys
from ablations.studies.engine.results import judged_turns
from ablations.studies.engine.trial import DesignPoint, PlannedTrial, Stopwatch, check_replies
from ablations.studies.spec import StudySpec
from ablations.tracking.tracker import Tracker

WATCH_SECONDS = 2.0
"""How often a worker with nothing left to do looks after the trials of the others."""


@dataclass
class Finished:
    """A trial that has been told to Optuna, with its mean score."""

    trial: PlannedTrial
    mean: float | None
    state: str


class Study:
    """Runs the trials of one spec, beginning where an earlier run of the same study stopped.

    Args:
        spec: what to evaluate.
        optuna_study: from `open_optuna_study`.
        evaluator: its parts may start after this, but before `run`.
        store, tracker: opened ones.
        claims: what this process has taken of the study; others may work on it at the same time.
    """

    def __init__(
        self,
        spec: StudySpec,
        optuna_study: optuna.Study,
        evaluator: Evaluator,
        store: Store,
        tracker: Tracker,
        claims: Claims,
    ) -> None:
        self._spec = spec
        self._evaluator = evaluator
        self._store = store
        self._tracker = tracker
        self._claims = claims
        self._optuna = optuna_study
        begun = optuna_study.get_trials(deepcopy=False)
        self._design = self._known_design({trial.user_attrs.get("design", -1) for trial in begun})
        self.damaged = store.damaged(spec.name)
        """Finished trials of which the store lost answers, as on a failing disk, with the ids of their queries."""
        self.finished: list[Finished] = []
        self.best: Finished | None = None
        """The finished trial with the highest mean, replicates left out."""
        self._scores: tuple[int, Mapping[str, float]] = (-1, {})
        self.running: dict[int, PlannedTrial] = {}
        self._interrupted: list[FrozenTrial] = []
        self.elsewhere: set[int] = set()
        """Trials that other workers evaluate."""
        self._points: list[int] = []
        self._waiting, self._begun, self._to_begin = 0, 0, 0
        self._handing_out = asyncio.Lock()
        self._places = asyncio.Semaphore(spec.concurrency)

    async def run(self) -> None:
        """Evaluate every trial that is not finished, `concurrency` of them at a time on the engine.

        A trial gives its place on the engine back when its last answer is there; up to `concurrency` others may
        be waiting for the judge by then. Only a trial that a sampler chose keeps its place until it is judged,
        because the next choice should know its score, and one that races.

        Raises:
            PartFailedError: a part failed; unfinished trials are taken up by the next run.
        """
        with storage_errors():
            await self._mend()
            async with self._claims.desk():
                self._look_up()
            await together(self._work() for _ in range(2 * self._spec.concurrency))

    def _known_design(self, indices: Collection[int]) -> list[DesignPoint]:
        """Return the design, as long as the longest that any run of this study asked for."""
        longest = max(indices, default=-1) + 1
        return (self._spec if longest <= self._spec.trials else self._spec.with_trials(longest)).design

    @property
    def remaining(self) -> int:
        """How many trials are not finished, interrupted and damaged ones included."""
        with storage_errors():
            finished = {trial.number for trial in self._optuna.get_trials(deepcopy=False) if trial.state.is_finished()}
        return max(self._spec.total_trials - len(finished - set(self.damaged)), 0)

    def _add(self, done: Finished) -> None:
        self.finished.append(done)
        if done.state == "complete" and not done.trial.point.replicate:
            best = self.best
            ahead = best is None or (done.mean or 0.0, -done.trial.number) > (best.mean or 0.0, -best.trial.number)
            self.best = done if ahead else best

    def _scores_of(self, done: Finished) -> Mapping[str, float]:
        """Return a finished trial's scores by query, the mean of its turns."""
        number = done.trial.number
        if self._scores[0] != number:
            turns = judged_turns(self._store, self._spec.name, self._spec.queries, [number])
            self._scores = number, query_means(turns[number])
        return self._scores[1]

    async def _mend(self) -> None:
        """Ask for the answers that finished trials lost; what their records say stays."""
        records, queries = self._store.trials(self._spec.name), self._spec.queries
        for trial in self._optuna.get_trials(deepcopy=False):
            if trial.number in self.damaged and trial.state.is_finished():
                if not self._claims.take(trial.number):  # another worker mends it
                    del self.damaged[trial.number]
                    continue
                planned, known = self._restored(trial), self.damaged[trial.number]
                some = [query for query in queries if query.id in known]
                turns = await self._evaluator.evaluate(
                    planned.condition, some, planned.point.replicate, lambda turn, keys: None
                )
                state = str(records[trial.number]["state"])
                self._add(Finished(planned, summarise(turns).mean, state))
                del self.damaged[trial.number]
                self._claims.give_back(trial.number)

    async def _work(self) -> None:
        while await self._places.acquire() and (trial := await self._next()) is not None:
            if trial.point.role == Role.SAMPLED or self._races(trial):
                await self._evaluate(trial, on_generated=lambda: None)
                self._places.release()
            else:
                await self._evaluate(trial, on_generated=self._places.release)
        self._places.release()

    async def _next(self) -> PlannedTrial | None:
        """Return a trial to evaluate, or None when there is none left; wait for those that other workers evaluate."""
        async with self._handing_out:
            while True:
                async with self._claims.desk():
                    trial = await self._hand_out()
                if trial is not None or not self.elsewhere:
                    return trial
                await asyncio.sleep(WATCH_SECONDS)

    async def _hand_out(self) -> PlannedTrial | None:
        """Return an interrupted trial first, then new ones until the study has all of its trials."""
        if self._claims.shared:
            self._look_up()
        taken = self._claims.taken()
        while self._interrupted:
            left = self._interrupted.pop(0)
            if left.number in taken or not self._claims.take(left.number):
                continue
            if self._optuna.get_trials(deepcopy=False)[left.number].state.is_finished():  # since it was looked up
                self._claims.give_back(left.number)
                continue
            self.elsewhere.discard(left.number)
            if self._claims.shared:
                await self._tracker.look_again()  # its former worker may have begun its page
            return self._begun_by(optuna.trial.Trial(self._optuna, left._trial_id))
        if self._to_begin < 1:
            return None
        self._to_begin -= 1
        self._begun += 1
        trial = self._begin()
        self._claims.take(trial.number)
        return trial

    def _begin(self) -> PlannedTrial:
        """Begin a trial that waits already, or else the next point of the design, or else what the sampler chooses."""
        if not self._waiting and self._points:
            index = self._points.pop(0)
            values = dict(self._design[index].values)
            number = add_running(self._optuna, self._spec.space, values, {"design": index})
            return self._run_next(number, values, index)
        self._waiting = max(self._waiting - 1, 0)
        # Seeded by the trial: no two draw alike, whichever run or worker begins them.
        self._optuna.sampler = make_sampler(self._spec.sampler, self._spec.seed + self._begun)
        return self._begun_by(self._optuna.ask())

    def _look_up(self) -> None:
        """Find out what is interrupted, what is still to begin, and what other workers have finished meanwhile."""
        trials = self._optuna.get_trials(deepcopy=False)
        self._waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        known = {trial.user_attrs.get("design", -1) for trial in trials}
        if max(known, default=-1) >= len(self._design):  # another worker's run has more trials
            self._design = self._known_design(known)
        self._points = [index for index in range(len(self._spec.design)) if index not in known]
        self._begun = len(trials) - self._waiting
        self._to_begin = self._spec.total_trials - self._begun
        running = (trial for trial in trials if trial.state == TrialState.RUNNING)
        self._interrupted = [trial for trial in running if trial.number not in self.running]
        self.elsewhere = {trial.number for trial in self._interrupted} if self._claims.shared else set()
        if self._claims.shared:
            seen = {one.trial.number for one in self.finished} | set(self.damaged) | set(self.running)
            new = {trial.number for trial in trials if trial.state.is_finished()} - seen
            self._take_up({trial.number: trial for trial in trials}, new)
            self._evaluator.progress.skip(len(new) * self._spec.turns)

    def _begun_by(self, trial: optuna.trial.Trial) -> PlannedTrial:
        return self._run_next(trial.number, self._spec.space.suggest(trial), trial.user_attrs.get("design"))

    def _run_next(self, number: int, values: dict[str, Value], index: int | None) -> PlannedTrial:
        planned = self._placed(number, values, index)
        self.running[number] = planned
        return planned

    def _placed(self, number: int, values: dict[str, Value], index: int | None) -> PlannedTrial:
        """Return the trial with its place in the design; None is a trial that the sampler chose."""
        point = DesignPoint(values, Role.SAMPLED) if index is None else self._design[index]
        if dict(point.values) != values:
            raise StudyMismatchError(
                f"trial {number} of the study {self._spec.name!r} was planned with other values than today's design "
                "gives it, because this toolkit or the search space changed; use --name for a second study, or "
                "--fresh to start this one anew (stored completions are reused)"
            )
        reference = None if point.reference is None else self._spec.to_condition(point.reference)
        baseline = self._spec.config.baseline
        return PlannedTrial(number, self._spec.to_condition(values), point, reference, index=index, baseline=baseline)

    async def _evaluate(self, trial: PlannedTrial, on_generated: Callable[[], None]) -> None:
        watch = Stopwatch()
        found: list[ResultKeys] = []
        reused: list[bool] = []

        def keep(turn: JudgedTurn, keys: TurnKeys) -> None:
            found.append(keys.of(turn))
            reused.append(keys.reused)

        generating = 0.0

        def generated() -> None:
            nonlocal generating
            generating = watch.seconds
            on_generated()

        turns, stopped = await self._turns(trial, keep, generated)
        summary = summarise(turns)
        why = summary.failure(self._spec.min_coverage)
        if why is not None:
            check_replies(f"trial {trial.number} ({trial.label})", summary)
        state = "failed" if why is not None else "stopped" if stopped is not None else "complete"
        record = trial.record(state, why, summary, generating, (watch.started, watch.now), measured=not any(reused))
        if stopped is not None:
            record["stopped"] = asdict(stopped)
        if self._claims.holds(trial.number):  # else another worker took this one for dead, and finishes the trial
            self._store.add_results(self._spec.name, trial.number, found)
            self._store.add_trial(self._spec.name, trial.number, record)
            await self._log(trial.number, record, summary, turns)
            with suppress(optuna.exceptions.UpdateFinishedTrialError):
                self._tell(trial, summary, state, stopped)
            self._claims.give_back(trial.number)
            self._add(Finished(trial, summary.mean, state))
        del self.running[trial.number]

    def _races(self, trial: PlannedTrial) -> bool:
        """Whether the trial stops where it cannot become the best; the baseline and its replicate never do."""
        return self._spec.prunes and trial.point.role != Role.BASELINE and not trial.point.replicate

    async def _turns(
        self, trial: PlannedTrial, keep: OnTurn, generated: Callable[[], None]
    ) -> tuple[list[JudgedTurn], Stop | None]:
        """Return a trial's judged turns, and why it did not see every query where it was stopped."""
        queries, turns = self._spec.queries, list[JudgedTurn]()
        raced, seen = self._races(trial), 0
        for some in query_blocks(queries, self._spec.seed) if raced else [queries]:
            turns += await self._evaluator.evaluate(trial.condition, some, trial.point.replicate, keep, generated)
            seen += len(some)
            best = self.best
            if raced and best is not None:
                stopped = stop(query_means(turns), seen, self._scores_of(best), best.trial.number, len(queries))
                if stopped is not None:
                    self._evaluator.progress.skip(sum(len(q.turns) for q in queries) - len(turns))
                    return self._in_order(turns), stopped
        return self._in_order(turns), None

    def _in_order(self, turns: list[JudgedTurn]) -> list[JudgedTurn]:
        """Return turns in the order of the study's queries."""
        place = {query.id: at for at, query in enumerate(self._spec.queries)}
        return sorted(turns, key=lambda turn: (place[turn.query.id], turn.turn))

    async def _log(self, number: int, record: Mapping[str, Any], summary: Summary, turns: Sequence[JudgedTurn]) -> None:
        prompt = self._store.prompts(self._spec.name, number).get((turns[0].query.id, 1))
        await self._tracker.log_trial(number, record, summary, turns, prompt)

    def _tell(self, trial: PlannedTrial, summary: Summary, state: str, stopped: Stop | None) -> None:
        if state == "complete":
            self._optuna.tell(trial.number, summary.mean, skip_if_finished=True)
        elif state == "stopped" and stopped is not None:
            # What it was heading for, not what it has: its queries may be easier than the others.
            report(self._optuna, trial.number, stopped.estimate, stopped.after)
            self._optuna.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            self._optuna.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def restore(self) -> int:
        """Take up what earlier runs finished, so that the best so far is known; return their number.

        Raises:
            StudyMismatchError: Optuna and the store do not know the same trials.
        """
        recorded = set(self._store.trials(self._spec.name))  # first: another worker may begin a trial now
        with storage_errors():
            frozen = {trial.number: trial for trial in self._optuna.get_trials(deepcopy=False)}
        told = {number for number, trial in frozen.items() if trial.state.is_finished()}
        # A trial in the store that Optuna still calls running was killed before it could be told.
        known = told | (recorded - set(frozen))
        self._take_up(frozen, known - set(self.damaged))
        return len(self.finished)

    def _take_up(self, frozen: Mapping[int, FrozenTrial], numbers: Collection[int]) -> None:
        """Add finished trials of another run or worker to this one's."""
        if not numbers:
            return
        answered, records = self._store.answered(self._spec.name), self._store.trials(self._spec.name)
        for number in sorted(numbers):
            trial = self._restored(frozen[number]) if number in frozen else None
            if trial is None or number not in records or number not in answered or not _same(trial, records[number]):
                raise StudyMismatchError(
                    f"the store and Optuna's database do not hold the same trial {number} of the study "
                    f"{self._spec.name!r}: one of them was moved or replaced; put it back, make Optuna's anew from "
                    "the store with: python -m ablations rebuild, or use --fresh to start the study anew (stored "
                    "completions are reused)"
                )
            self._add(Finished(trial, records[number]["mean"], str(records[number]["state"])))

    async def complete_log(self) -> None:
        """Log the finished trials that MLflow lacks: it failed, was moved away, or a worker died before."""
        await self._tracker.look_again()
        lacking = [one.trial.number for one in self.finished if not self._tracker.knows(one.trial.number)]
        if lacking:
            records = self._store.trials(self._spec.name)
            turns = judged_turns(self._store, self._spec.name, self._spec.queries, lacking)
            for number in lacking:
                await self._log(number, records[number], summarise(turns[number]), turns[number])

    def _restored(self, frozen: FrozenTrial) -> PlannedTrial:
        values = from_optuna(self._spec.space, frozen.params)
        return self._placed(frozen.number, values, frozen.user_attrs.get("design"))


def _same(trial: PlannedTrial, record: dict[str, Any]) -> bool:
    evaluated = (trial.condition.condition_id, trial.point.replicate)
    return evaluated == (record["condition_id"], record["replicate"])
