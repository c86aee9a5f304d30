"""The comparison of learning in context with fine-tuning: weights are tuned first, then every arm answers the queries.

One engine is loaded at a time, each in a process of its own: the base model's, then one that puts each arm's adapter
on it, then one for each model that stands by itself. Knows neither how training goes nor how results are shown.

Nothing here remembers where it was: weights, completions and judgments are kept under keys of their content, so the
same study run again looks up what it did and goes on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from ablations.core.concurrency import together
from ablations.core.records import JudgedTurn, Role
from ablations.core.statistics import summarise
from ablations.judges.base import Judge
from ablations.models.base import Backend
from ablations.models.training.jobs import Failure, Outcome
from ablations.models.training.learning_rate import TRIED, RateFound, find_rate
from ablations.models.training.tuner import Tuned, Tuner
from ablations.models.vllm.adapters import Adapter
from ablations.storage.store import ResultKeys, Store
from ablations.studies.engine.evaluator import Evaluator, Progress
from ablations.studies.engine.results import judged_turns
from ablations.studies.engine.trial import DesignPoint, PlannedTrial, Stopwatch, check_replies
from ablations.studies.icl_vs_ift.plan import ADAPTING, BASE, OTHER, Arm, TuningPlan, counted
from ablations.studies.spec import StudySpec
from ablations.tracking.tracker import Tracker
from analysis.demonstrations.ways import LOSS_SCHEMA, ZERO_SHOT

RATES_NOTE = "learning-rates"
"""What the store keeps of the learning rates that were tried: by pool and size, each with its held-out loss."""
Asked = tuple[Arm, Backend]
"""An arm and what answers it."""
Rates = dict[tuple[str, int], RateFound | Failure]
"""Learning rates by pool and size."""


class Engines(Protocol):
    """What answers; nothing of it is started."""

    @property
    def base(self) -> Backend:
        """Return the engine of the study's model."""
        ...

    @property
    def adapting(self) -> Backend | None:
        """Return the engine that puts adapters on the study's model, or None where none does."""
        ...

    def adapted(self, adapter: Adapter) -> Backend:
        """Return that engine with an adapter, as a backend."""
        ...

    def other(self, model: str) -> Backend:
        """Return an engine of another model, by its name."""
        ...

    def whole(self, folder: Path) -> Backend:
        """Return an engine of the study's model with the weights in a folder."""
        ...


@dataclass
class State:
    """What a progress display shows."""

    answering: str = ""
    best: str = "no arm finished"
    best_mean: float | None = None


@dataclass
class TuningStudy:
    """Runs one plan, beginning where an earlier run stopped.

    Attributes:
        spec, plan: what to evaluate.
        engines: what answers.
        judge: started before `run`.
        tuner, store, tracker: opened ones.
    """

    spec: StudySpec
    plan: TuningPlan
    engines: Engines
    judge: Judge
    tuner: Tuner
    store: Store
    tracker: Tracker
    progress: Progress = field(default_factory=Progress)
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self.damaged = self.store.damaged(self.spec.name)
        self._places = asyncio.Semaphore(self.spec.concurrency)
        self._searched: dict[int, int] = {}  # tokens read while looking for an arm's learning rate, by its number

    @property
    def waiting(self) -> list[Arm]:
        """Arms that no run has finished, or whose answers were lost."""
        done = self.store.trials(self.spec.name).keys() - self.damaged.keys()
        return [arm for arm in self.plan.arms if arm.number not in done]

    @property
    def remaining(self) -> int:
        """How many of them there are."""
        return len(self.waiting)

    @property
    def steps(self) -> int:
        """Steps of all trainings of the waiting arms, those of learning rates that are looked for among them."""
        own = [arm for arm in self.waiting if arm.job is not None]
        wanted = {arm.place for arm in own}
        searched = [arm for place, arm in self.plan.searched.items() if place in wanted]
        return sum(map(_steps, own)) + TRIED * sum(map(_steps, searched))

    async def tune(self) -> dict[int, Tuned | Failure]:
        """Return the weights of the waiting arms, or why there are none, by the arms' numbers."""
        waiting = [arm for arm in self.waiting if arm.job is not None]
        rates = await self._rates(waiting)
        return {arm.number: await self._weights(arm, rates) for arm in waiting}

    async def _rates(self, arms: Sequence[Arm]) -> Rates:
        """Return the learning rate of each pool and size, found on its first draw, where one is looked for."""
        found: Rates = {}
        wanted = {arm.place for arm in arms}
        for place, arm in self.plan.searched.items():
            if arm.job is not None and place in wanted:
                found[place] = await find_rate(self.tuner, arm.job, arm.held_out, arm.label)
        kept = self.store.notes(self.spec.name).get(RATES_NOTE, {})
        for (pool, size), one in found.items():
            tried = () if isinstance(one, Failure) else one.tried
            kept[f"{pool}, {counted(size, 'example')}"] = [[rate, loss] for rate, loss in tried]
        if found:
            self.store.add_note(self.spec.name, RATES_NOTE, kept)
        return found

    async def _weights(self, arm: Arm, rates: Rates) -> Tuned | Failure:
        assert arm.job is not None  # `tune` asks for no other
        job, found = arm.job, rates.get(arm.place)
        if isinstance(found, Failure):
            self.tuner.pass_over(job)
            return found
        if found is None:
            return await self.tuner.tune(job, arm.label)
        self._searched[arm.number] = found.tokens // self.plan.options.draws
        return await self.tuner.tune(replace(job, recipe=replace(job.recipe, learning_rate=found.rate)), arm.label)

    async def run(self, weights: Mapping[int, Tuned | Failure]) -> None:
        """Evaluate every waiting arm.

        Raises:
            PartFailedError: a part failed; the next run goes on.
        """
        waiting = self.waiting
        for arm in waiting:
            made = weights.get(arm.number)
            if isinstance(made, Failure):
                await self._record(arm, Stopwatch(), [], None, made.reason)
        for engine, asked in await self._by_engine(waiting, weights):
            await self._ask(engine, asked, weights)

    async def _by_engine(
        self, waiting: Sequence[Arm], weights: Mapping[int, Tuned | Failure]
    ) -> list[tuple[Backend, list[Asked]]]:
        """Return what each engine is loaded for: the base model's first, then that of adapters."""
        able = [arm for arm in waiting if arm.job is None or isinstance(weights.get(arm.number), Tuned)]
        found: list[tuple[Backend, list[Asked]]] = []
        for what, arms in self.plan.by_engine(able, self.engines.adapting is not None):
            if what == ADAPTING:
                assert self.engines.adapting is not None  # as was said above
                found.append((self.engines.adapting, [(arm, self._adapted(arm, weights)) for arm in arms]))
                continue
            engine = await self._alone(what, arms[0], weights)
            found.append((engine, [(arm, engine) for arm in arms]))
        return found

    def _adapted(self, arm: Arm, weights: Mapping[int, Tuned | Failure]) -> Backend:
        made = weights[arm.number]
        assert isinstance(made, Tuned)  # others are not asked
        return self.engines.adapted(Adapter(f"tuned-{arm.number}", arm.number, made.folder, made.identity))

    async def _alone(self, what: str, arm: Arm, weights: Mapping[int, Tuned | Failure]) -> Backend:
        """Return the engine of a model that nothing is put on."""
        if what == BASE:
            return self.engines.base
        if what == OTHER:
            return self.engines.other(arm.model)
        made = weights[arm.number]
        assert isinstance(made, Tuned)  # others are not asked
        return self.engines.whole(await self.tuner.whole(made))

    async def _ask(self, engine: Backend, asked: Sequence[Asked], weights: Mapping[int, Tuned | Failure]) -> None:
        """Load an engine, unless all that is asked of it is stored, and evaluate its arms."""
        evaluators = [Evaluator(backend, self.judge, self.store, self.spec.seed) for _, backend in asked]
        for evaluator in evaluators:
            evaluator.progress = self.progress
        stored = [
            evaluator.stored(arm.condition, self.spec.queries, 0)
            for (arm, _), evaluator in zip(asked, evaluators, strict=True)
        ]
        self.state.answering = ", ".join(dict.fromkeys(arm.model for arm, _ in asked))
        try:
            if not all(stored):
                await engine.start()
            await together(
                self._evaluate(arm, backend, evaluator, weights.get(arm.number))
                for (arm, backend), evaluator in zip(asked, evaluators, strict=True)
            )
        finally:
            await engine.close()

    async def _evaluate(self, arm: Arm, backend: Backend, evaluator: Evaluator, made: Tuned | Failure | None) -> None:
        async with self._places:
            watch, found = Stopwatch(), list[ResultKeys]()
            turns = await evaluator.evaluate(
                arm.condition, self.spec.queries, 0, lambda turn, keys: found.append(keys.of(turn))
            )
            why = summarise(turns).failure(self.spec.min_coverage)
            if why is not None:
                check_replies(f"trial {arm.number} ({arm.label})", summarise(turns))
            self.store.add_results(self.spec.name, arm.number, found)
            tuned = made if isinstance(made, Tuned) else None
            await self._record(arm, watch, turns, tuned, why, {"answered_by": backend.identity.to_dict()})

    async def _record(
        self,
        arm: Arm,
        watch: Stopwatch,
        turns: Sequence[JudgedTurn],
        tuned: Tuned | None,
        why: str | None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep an arm as a trial, and log it; one without turns has a reason. `more` is kept beside it."""
        outcome = None if tuned is None else tuned.outcome
        recipe = tuned.job.recipe if tuned is not None else arm.job.recipe if arm.job is not None else None
        described = {
            "way": arm.way,
            "pool": arm.pool,
            "model": arm.model,
            "tuning": None if recipe is None else recipe.method,
            "examples": arm.examples,
            "draw": arm.draw,
            "training_tokens": 0 if outcome is None else outcome.tokens + self._searched.get(arm.number, 0),
            "training_seconds": None if outcome is None else outcome.seconds,
            "learning_rate": None if recipe is None else recipe.learning_rate,
            "epochs": None if recipe is None else recipe.epochs,
        }
        role = Role.BASELINE if arm.way == ZERO_SHOT else Role.LISTED
        trial = PlannedTrial(
            arm.number, arm.condition, DesignPoint({}, role), self.plan.arms[0].condition, arm.label, arm=described
        )
        summary = summarise(turns)
        state = "complete" if why is None else "failed"
        record = trial.record(state, why, summary, watch.seconds, (watch.started, watch.now), measured=False)
        record |= more or {}
        if recipe is not None:
            record["recipe"] = recipe.to_dict()
        if tuned is not None:
            record["job"] = tuned.job.key
        self.store.add_trial(self.spec.name, arm.number, record)
        await self._log(arm.number, record, turns)
        self._say_best(arm, summary.mean if why is None else None)

    def _say_best(self, arm: Arm, mean: float | None) -> None:
        if mean is not None and (self.state.best_mean is None or mean > self.state.best_mean):
            self.state.best_mean, self.state.best = mean, f"{mean:.2f} ({arm.label})"

    async def complete_log(self) -> None:
        """Log the finished arms that MLflow lacks."""
        await self.tracker.look_again()
        records = self.store.trials(self.spec.name)
        lacking = [number for number in sorted(records) if not self.tracker.knows(number)]
        turns = judged_turns(self.store, self.spec.name, self.spec.queries, lacking)
        for number in lacking:
            await self._log(number, records[number], turns.get(number, []))

    async def _log(self, number: int, record: Mapping[str, Any], turns: Sequence[JudgedTurn]) -> None:
        """Log an arm as a run, with the losses of its training."""
        prompt = self.store.prompts(self.spec.name, number).get((self.spec.queries[0].id, 1))
        await self.tracker.log_trial(number, record, summarise(turns), turns, prompt)
        if (outcome := outcome_of(self.store, record)) is not None:
            await self.tracker.log_steps(number, loss_curves(outcome))


def outcome_of(store: Store, record: Mapping[str, Any]) -> Outcome | None:
    """Return what the training of a stored trial came to, or None where nothing was trained."""
    kept = store.find_tuning(record["job"]) if "job" in record else None
    return None if kept is None else Outcome.from_dict(kept)


def loss_curves(outcome: Outcome) -> dict[str, list[tuple[int, float]]]:
    """Return loss and learning rate by step."""
    return {
        "loss": [(step, loss) for step, loss, _, _ in outcome.losses],
        "learning_rate": [(step, rate) for step, _, rate, _ in outcome.losses],
    }


def loss_frame(store: Store, study: str) -> pl.DataFrame:
    """Return the losses of a study's trainings: pool, examples, draw, step, loss, learning_rate, tokens."""
    rows = [
        (record["arm"]["pool"], record["arm"]["examples"], record["arm"]["draw"], *row)
        for record in store.trials(study).values()
        if (outcome := outcome_of(store, record)) is not None
        for row in outcome.losses
    ]
    return pl.DataFrame(rows, schema=LOSS_SCHEMA, orient="row")


def _steps(arm: Arm) -> int:
    return 0 if arm.job is None else arm.job.recipe.steps(len(arm.job.samples))
