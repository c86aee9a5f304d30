"""The study: Optuna's ask and tell around the evaluation of conditions.

Knows how trials are chosen, run side by side, resumed and recorded; neither how text is generated
nor how results are drawn.
"""

import asyncio
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ablations.conditions import Value, format_value
from ablations.design import BASELINE, SAMPLED, DesignPoint
from ablations.errors import StorageError, StudyMismatchError
from ablations.evaluation import Evaluator, OnTurn, TurnKeys
from ablations.pruning import Stop, query_blocks, stop
from ablations.records import Query
from ablations.results import judged_turns
from ablations.scoring import JudgedTurn, Summary, query_means, summarise
from ablations.search_space import Choices, SearchSpace
from ablations.spec import StudySpec
from ablations.store import Store
from ablations.tasks import together
from ablations.tracking import Tracker
from ablations.trials import PlannedTrial, check_replies

_OPTUNA_ERRORS = (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError)


@dataclass
class Finished:
    """A trial that has been told to Optuna; `scores` are by query, the mean of its turns."""

    trial: PlannedTrial
    summary: Summary
    state: str
    scores: Mapping[str, float] = field(default_factory=dict)


class Study:
    """Runs the trials of one spec, beginning where an earlier run of the same study stopped.

    Args:
        spec: what to evaluate.
        optuna_study: from `open_optuna_study`.
        evaluator: its parts may start after this, but before `run`.
        store, tracker: opened ones.
    """

    def __init__(
        self, spec: StudySpec, optuna_study: optuna.Study, evaluator: Evaluator, store: Store, tracker: Tracker
    ) -> None:
        self._spec = spec
        self._evaluator = evaluator
        self._store = store
        self._tracker = tracker
        self._optuna = optuna_study
        self._design = self._known_design()
        self._asked: dict[int, optuna.trial.Trial] = {}
        self.damaged = store.damaged(spec.name)
        """Finished trials of which the store lost answers, as on a failing disk, with the ids of their queries."""
        self.finished: list[Finished] = []
        self.running: dict[int, PlannedTrial] = {}
        self._places = asyncio.Semaphore(spec.concurrency)

    async def run(self) -> None:
        """Evaluate every trial that is not finished, `concurrency` of them at a time on the engine.

        A trial gives its place on the engine back when its last answer is there; up to `concurrency` others may
        be waiting for the judge by then. Only a trial that a sampler chose keeps its place until it is judged,
        because the next choice should know its score, and one that races.

        Raises:
            PartFailedError: a part failed; unfinished trials are taken up by the next run.
        """
        with _storage_errors():
            await self._mend()
            self._enqueue_design()
            queue = self._trials()
            await together(self._work(queue) for _ in range(2 * self._spec.concurrency))

    def _known_design(self) -> list[DesignPoint]:
        """Return the design, as long as the longest that any run of this study asked for."""
        indices = [trial.user_attrs.get("design", -1) for trial in self._optuna.get_trials(deepcopy=False)]
        return replace(self._spec, trials=max([self._spec.trials, *(index + 1 for index in indices)])).design

    @property
    def remaining(self) -> int:
        """How many trials are not finished, interrupted and damaged ones included."""
        with _storage_errors():
            finished = {trial.number for trial in self._optuna.get_trials(deepcopy=False) if trial.state.is_finished()}
        return max(self._spec.total_trials - len(finished - set(self.damaged)), 0)

    @property
    def best(self) -> Finished | None:
        """The finished trial with the highest mean, replicates left out."""
        complete = [f for f in self.finished if f.state == "complete" and not f.trial.point.replicate]
        return max(complete, key=lambda f: f.summary.mean or 0.0, default=None)

    async def _mend(self) -> None:
        """Ask for the answers that finished trials lost; what their records say stays."""
        records, queries = self._store.trials(self._spec.name), self._spec.queries
        for trial in self._optuna.get_trials(deepcopy=False):
            if trial.number in self.damaged and trial.state.is_finished():
                planned, known = self._restored(trial), self.damaged[trial.number]
                some = [query for query in queries if query.id in known]
                turns = await self._evaluator.evaluate(
                    planned.condition, some, planned.point.replicate, lambda turn, keys: None
                )
                state = str(records[trial.number]["state"])
                self.finished.append(Finished(planned, summarise(turns), state, query_means(turns)))
                del self.damaged[trial.number]

    async def _work(self, queue: Iterator[PlannedTrial]) -> None:
        while await self._places.acquire() and (trial := next(queue, None)) is not None:
            if trial.point.role == SAMPLED or self._races(trial):
                await self._evaluate(trial, on_generated=lambda: None)
                self._places.release()
            else:
                await self._evaluate(trial, on_generated=self._places.release)
        self._places.release()

    def _enqueue_design(self) -> None:
        """Queue the design points that Optuna does not have yet; identical settings stay apart by their index."""
        trials = self._optuna.get_trials(deepcopy=False)
        known = {trial.user_attrs.get("design") for trial in trials}
        for index, point in enumerate(self._spec.design):
            if index not in known:
                self._optuna.enqueue_trial(to_optuna(self._spec.space, point.values), user_attrs={"design": index})

    def _trials(self) -> Iterator[PlannedTrial]:
        """Hand out interrupted trials first, then new ones until the study has all of its trials."""
        trials = self._optuna.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                yield self._planned(optuna.trial.Trial(self._optuna, trial._trial_id))
        begun = sum(trial.state != TrialState.WAITING for trial in trials)
        for _ in range(self._spec.total_trials - begun):
            yield self._planned(self._optuna.ask())

    def _planned(self, trial: optuna.trial.Trial) -> PlannedTrial:
        values = self._spec.space.suggest(trial)
        self._asked[trial.number] = trial
        return self._placed(trial.number, values, trial.user_attrs.get("design"))

    def _placed(self, number: int, values: dict[str, Value], index: int | None) -> PlannedTrial:
        """Return the trial with its place in the design; None is a trial that the sampler chose."""
        point = DesignPoint(values, SAMPLED) if index is None else self._design[index]
        if dict(point.values) != values:
            raise StudyMismatchError(
                f"trial {number} of the study {self._spec.name!r} was planned with other values than today's design "
                "gives it, because this toolkit or the search space changed; use --name for a second study, or "
                "--fresh to start this one anew (stored completions are reused)"
            )
        reference = None if point.reference is None else self._spec.to_condition(point.reference)
        baseline = self._spec.file.baseline
        return PlannedTrial(number, self._spec.to_condition(values), point, reference, index=index, baseline=baseline)

    async def _evaluate(self, trial: PlannedTrial, on_generated: Callable[[], None]) -> None:
        self.running[trial.number] = trial
        started = time.time()
        reused: list[bool] = []

        def keep(turn: JudgedTurn, keys: TurnKeys) -> None:
            reused.append(keys.reused)
            self._store.add_result(
                self._spec.name,
                trial.number,
                turn.query.id,
                turn.turn,
                turn.judgment.judge,
                (keys.completion, keys.judgment),
            )

        generating = 0.0

        def generated() -> None:
            nonlocal generating
            generating = time.time() - started
            on_generated()

        turns, stopped = await self._turns(trial, keep, generated)
        summary = summarise(turns)
        why = summary.failure(self._spec.min_coverage)
        if why is not None:
            check_replies(f"trial {trial.number} ({trial.label})", summary)
        state = "failed" if why is not None else "stopped" if stopped is not None else "complete"
        record = trial.record(state, why, summary, generating, (started, time.time()), measured=not any(reused))
        if stopped is not None:
            record["stopped"] = asdict(stopped)
        self._store.add_trial(self._spec.name, trial.number, record)
        await self._log(trial.number, record, summary, turns)
        self._tell(trial, summary, state, stopped)
        del self.running[trial.number]
        self.finished.append(Finished(trial, summary, state, query_means(turns)))

    def _races(self, trial: PlannedTrial) -> bool:
        """Whether the trial stops where it cannot become the best; the baseline and its replicate never do."""
        return self._spec.prunes and trial.point.role != BASELINE and not trial.point.replicate

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
                stopped = stop(query_means(turns), seen, best.scores, best.trial.number, len(queries))
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
            self._optuna.tell(trial.number, summary.mean)
        elif state == "stopped" and stopped is not None:
            # What it was heading for, not what it has: its queries may be easier than the others.
            self._asked[trial.number].report(stopped.estimate, stopped.after)
            self._optuna.tell(trial.number, state=TrialState.PRUNED)
        else:
            self._optuna.tell(trial.number, state=TrialState.FAIL)

    async def restore_finished(self, queries: dict[str, Query]) -> int:
        """Take up what earlier runs finished, so that the best so far is known; return their number.

        A trial that MLflow does not have, because its database was moved away, is logged again.

        Raises:
            StudyMismatchError: Optuna and the store do not know the same trials.
        """
        with _storage_errors():
            frozen = {trial.number: trial for trial in self._optuna.get_trials(deepcopy=False)}
        told = {number for number, trial in frozen.items() if trial.state.is_finished()}
        turns = judged_turns(self._store, self._spec.name, queries, set(self.damaged))
        records = self._store.trials(self._spec.name)
        # A trial in the store that Optuna still calls running was killed before it could be told.
        for number in sorted((told | (set(records) - set(frozen))) - set(self.damaged)):
            trial = self._restored(frozen[number]) if number in frozen else None
            if trial is None or number not in records or number not in turns or not _same(trial, records[number]):
                raise StudyMismatchError(
                    f"the store and Optuna's database do not hold the same trial {number} of the study "
                    f"{self._spec.name!r}: one of them was moved or replaced; put it back, make Optuna's anew from "
                    "the store with: python -m ablations rebuild, or use --fresh to start the study anew (stored "
                    "completions are reused)"
                )
            summary, state = summarise(turns[number]), str(records[number]["state"])
            if not self._tracker.knows(number):
                await self._log(number, records[number], summary, turns[number])
            self.finished.append(Finished(trial, summary, state, query_means(turns[number])))
        return len(self.finished)

    def _restored(self, frozen: FrozenTrial) -> PlannedTrial:
        values = _from_optuna(self._spec.space, frozen.params)
        return self._placed(frozen.number, values, frozen.user_attrs.get("design"))


def _same(trial: PlannedTrial, record: dict[str, Any]) -> bool:
    evaluated = (trial.condition.condition_id, trial.point.replicate)
    return evaluated == (record["condition_id"], record["replicate"])


def open_optuna_study(spec: StudySpec, storage_url: str) -> optuna.Study:
    """Return the Optuna study of this name, made if it does not exist."""
    with opening(storage_url) as storage:
        study = optuna.create_study(study_name=spec.name, storage=storage, direction="maximize", load_if_exists=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = make_sampler(spec, len(study.get_trials(deepcopy=False)))
        return study


def delete_optuna_study(name: str, storage_url: str) -> None:
    """Drop the Optuna study of this name if it exists."""
    with opening(storage_url) as storage:
        if name in {study.study_name for study in storage.get_all_studies()}:
            optuna.delete_study(study_name=name, storage=storage)


@contextmanager
def opening(storage_url: str) -> Iterator[optuna.storages.RDBStorage]:
    """Open Optuna's storage; whatever it or its first use raises becomes a `StorageError`."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield optuna.storages.RDBStorage(storage_url)
    except _OPTUNA_ERRORS as error:
        raise StorageError(
            f"Optuna's storage cannot be used: {str(error).splitlines()[0]}; "
            "check --storage, or move a damaged file away"
        ) from error


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Turn what Optuna's database raises once it is open, a full disk or a lost server, into `StorageError`."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StorageError(f"Optuna's storage failed: {str(error).splitlines()[0]}; check --storage") from error


def make_sampler(spec: StudySpec, trials_before: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of an adaptive search; where the design is fixed, all trials are enqueued.

    The seed moves on with the trials that exist, so that a resumed search does not repeat its first draws.
    """
    seed = spec.seed + trials_before
    if spec.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
    if spec.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, deterministic_objective=False)
    return optuna.samplers.RandomSampler(seed=seed)


def to_optuna(space: SearchSpace, values: Any) -> dict[str, Any]:
    """Return values as Optuna keeps them: categories by their label."""
    return {
        name: format_value(value) if isinstance(space[name].domain, Choices) else value
        for name, value in values.items()
    }


def _from_optuna(space: SearchSpace, params: dict[str, Any]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name in space.names:
        if name in params:
            domain = space[name].domain
            values[name] = (
                domain.options[domain.labels.index(params[name])] if isinstance(domain, Choices) else params[name]
            )
    return values
