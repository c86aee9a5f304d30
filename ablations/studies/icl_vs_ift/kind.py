"""Learning in context against fine-tuning: weights are trained first, then every arm answers the queries.

One engine is loaded at a time: the base model's, then one that puts each arm's adapter on it, then one for each model
that stands by itself. Knows neither how training goes nor how results are shown.

Nothing here remembers where it was: weights, completions and judgments are stored under keys of their content, so the
same study run again looks up what it did and continues.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import ClassVar

import polars as pl

from ablations.core.concurrency import together
from ablations.core.records import Role
from ablations.core.statistics import query_means
from ablations.models.base import Backend
from ablations.models.training.jobs import Failure, Outcome
from ablations.models.training.tuner import Tuned, Tuner, TuningProgress
from ablations.models.vllm.settings import Adapter
from ablations.studies.engine.evaluator import pace
from ablations.studies.engine.results import training_outcome
from ablations.studies.engine.run import Run
from ablations.studies.engine.trial import DesignPoint, PlannedTrial
from ablations.studies.icl_vs_ift.comparison import ComparisonPlan
from ablations.studies.icl_vs_ift.config import MODES
from ablations.studies.icl_vs_ift.inputs import plan_comparison
from ablations.studies.icl_vs_ift.learning_rate import TRIED, RateFound, find_rate
from ablations.studies.icl_vs_ift.plan import ADAPTING, BASE, LOSSES, OTHER, RATES_NOTE, Arm, counted
from ablations.studies.kind import Findings, Results, StudyKind
from ablations.studies.planning.inputs import Inputs
from analysis.demonstrations.ways import LOSS_SCHEMA, ZERO_SHOT

Rates = Mapping[tuple[str, int], RateFound | Failure]
"""Learning rates by pool and size."""
Weights = Mapping[int, Tuned | Failure]
"""Weights by the number of their arm, or why there are none."""


class IclVsIftKind(StudyKind[ComparisonPlan]):
    """The same examples once in the prompt and once as training data."""

    modes: ClassVar = MODES

    async def plan(self, inputs: Inputs) -> ComparisonPlan:
        """Return the arms, and what training and answering them takes."""
        return await plan_comparison(inputs)

    async def run(self, plan: ComparisonPlan, run: Run) -> None:
        """Train what the waiting arms need, then let every engine answer for its arms."""
        comparison = _Comparison(plan, run)
        if comparison.waiting:
            await comparison.run()
        run.table(LOSSES, loss_frame(run))

    def summarise(self, results: Results) -> Findings:
        """Return what the comparison found."""
        from ablations.studies.icl_vs_ift.findings import summarise  # figures and forests take seconds to import

        return summarise(results)

    def contrasts(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what tuning on the same examples scores more than showing them."""
        from analysis.demonstrations.sizes import size_differences

        found = size_differences(frame)
        several = found.get_column("pool").n_unique() > 1
        of_pool = pl.format("{}, ", "pool") if several else pl.lit("")
        words = pl.format("{}{} examples: IFT minus ICL, {}", of_pool, "examples", "group")
        return found.select("difference", "low", "high", "n", change=words)


def loss_frame(run: Run) -> pl.DataFrame:
    """Return the losses of a study's trainings, with the columns of `LOSS_SCHEMA`."""
    rows = [
        (record.arm["pool"], record.arm["examples"], record.arm["draw"], *row)
        for record in run.records.values()
        if (outcome := training_outcome(run.store, record)) is not None
        for row in outcome.losses
    ]
    return pl.DataFrame(rows, schema=LOSS_SCHEMA, orient="row")


class _Comparison:
    """One walk through what is left of a comparison."""

    def __init__(self, plan: ComparisonPlan, run: Run) -> None:
        self._plan, self._run, self._spec = plan.tuning, run, plan.spec
        self._placement = plan.placement
        done = run.finished()
        self.waiting = [arm for arm in self._plan.arms if arm.number not in done]
        self._places = asyncio.Semaphore(plan.spec.concurrency)
        self._searched: dict[int, int] = {}  # tokens read while looking for an arm's learning rate, by its number
        self._answering, self._best = "", ("no arm finished", float("-inf"))

    async def run(self) -> None:
        """Train, then evaluate; a part that fails leaves the rest to the next run."""
        weights = await self._train()
        turns = len(self.waiting) * self._spec.turns
        self._run.reporter.say("loading engines, one after the other")
        self._speed = pace(turns, self._run.progress, self._spec.turns)
        with self._run.reporter.progress(turns, self._status, self._run.progress):
            for arm in self.waiting:
                made = weights.get(arm.number)
                if isinstance(made, Failure):
                    await self._run.fail(self._trial(arm, None), made.reason)
            for engine, asked in await self._by_engine(weights):
                await self._ask(engine, asked, weights)

    def _status(self) -> str:
        return f"{self._answering} · {self._speed()} · best so far: {self._best[0]}"

    async def _train(self) -> Weights:
        """Return the weights of the waiting arms."""
        waiting = [arm for arm in self.waiting if arm.job is not None]
        if not waiting:
            return {}
        await self._run.engines.start()  # the judge alone: one that does not work is found before hours of training
        tuner = self._placement.tuner(self._run.store, self._run.reporter.say)
        total = self._steps(waiting)
        status = _training_status(tuner.progress, total)
        with self._run.reporter.progress(total, status, tuner.progress, "steps"):
            rates = await self._rates(tuner, waiting)
            weights = {arm.number: await self._weights(tuner, arm, rates) for arm in waiting}
        for arm in waiting:
            for line in _said_of(arm, weights[arm.number]):
                self._run.reporter.say(line)
        self._tuner = tuner
        return weights

    def _steps(self, waiting: Sequence[Arm]) -> int:
        """Return the steps of all trainings, those of learning rates that are looked for among them."""
        wanted = {arm.place for arm in waiting}
        searched = [arm for place, arm in self._plan.searched.items() if place in wanted]
        return sum(map(_steps, waiting)) + TRIED * sum(map(_steps, searched))

    async def _rates(self, tuner: Tuner, arms: Sequence[Arm]) -> Rates:
        """Return the learning rate of each pool and size, found on its first draw, where one is looked for."""
        found: dict[tuple[str, int], RateFound | Failure] = {}
        wanted = {arm.place for arm in arms}
        for place, arm in self._plan.searched.items():
            if arm.job is not None and place in wanted:
                found[place] = await find_rate(tuner, arm.job, arm.held_out, arm.label)
        tried = dict(self._run.store.notes(self._spec.name).get(RATES_NOTE, {}))
        for (pool, size), one in found.items():
            rates = () if isinstance(one, Failure) else one.tried
            tried[f"{pool}, {counted(size, 'example')}"] = [[rate, loss] for rate, loss in rates]
        if found:
            self._run.note(RATES_NOTE, tried)
        return found

    async def _weights(self, tuner: Tuner, arm: Arm, rates: Rates) -> Tuned | Failure:
        assert arm.job is not None  # others are not trained
        job, found = arm.job, rates.get(arm.place)
        if isinstance(found, Failure):
            tuner.pass_over(job)
            return found
        if found is None:
            return await tuner.tune(job, arm.label)
        self._searched[arm.number] = found.tokens // self._plan.options.draws
        return await tuner.tune(replace(job, recipe=replace(job.recipe, learning_rate=found.rate)), arm.label)

    async def _by_engine(self, weights: Weights) -> list[tuple[Backend, list[tuple[Arm, Backend]]]]:
        """Return what each engine is loaded for: the base model's first, then that of adapters."""
        able = [arm for arm in self.waiting if arm.job is None or isinstance(weights.get(arm.number), Tuned)]
        found: list[tuple[Backend, list[tuple[Arm, Backend]]]] = []
        adapting = self._placement.adapting
        for what, arms in self._plan.by_engine(able, adapting is not None):
            if what == ADAPTING and adapting is not None:
                found.append((adapting, [(arm, self._adapted(arm, weights)) for arm in arms]))
                continue
            engine = await self._alone(what, arms[0], weights)
            found.append((engine, [(arm, engine) for arm in arms]))
        return found

    def _adapted(self, arm: Arm, weights: Weights) -> Backend:
        made = weights[arm.number]
        assert isinstance(made, Tuned)  # others are not asked
        return self._placement.adapted(Adapter(f"tuned-{arm.number}", arm.number, made.folder, made.identity))

    async def _alone(self, what: str, arm: Arm, weights: Weights) -> Backend:
        """Return the engine of a model that nothing is put on."""
        if what == BASE:
            return self._run.backend
        if what == OTHER:
            return self._placement.other(arm.model)
        made = weights[arm.number]
        assert isinstance(made, Tuned)  # others are not asked
        return self._placement.whole(await self._tuner.whole(made))

    async def _ask(self, engine: Backend, asked: Sequence[tuple[Arm, Backend]], weights: Weights) -> None:
        """Load an engine, unless all that is asked of it is stored, and evaluate its arms."""
        self._answering = ", ".join(dict.fromkeys(arm.model for arm, _ in asked))
        try:
            if not all(self._run.stored(arm.condition, backend) for arm, backend in asked):
                await self._run.engines.start(engine, *(backend for _, backend in asked if backend is not engine))
            await together(self._evaluate(arm, backend, weights.get(arm.number)) for arm, backend in asked)
        finally:
            await self._run.engines.stop(engine)

    async def _evaluate(self, arm: Arm, backend: Backend, made: Tuned | Failure | None) -> None:
        async with self._places:
            tuned = made if isinstance(made, Tuned) else None
            result = await self._run.evaluate(self._trial(arm, tuned), backend=backend)
            if result.record.failed_because is None and (scores := query_means(result.turns)):
                mean = fmean(scores.values())
                if mean > self._best[1] and self._run.deciding_scale.chooses:
                    self._best = f"{mean:.2f} ({arm.label})", mean

    def _trial(self, arm: Arm, tuned: Tuned | None) -> PlannedTrial:
        """Return an arm as a trial."""
        outcome: Outcome | None = None if tuned is None else tuned.outcome
        recipe = tuned.job.recipe if tuned is not None else arm.job.recipe if arm.job is not None else None
        described: dict[str, str | int | float | None] = {
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
        return PlannedTrial(
            arm.number,
            arm.condition,
            DesignPoint({}, role),
            self._plan.arms[0].condition,
            arm.label,
            arm=described,
            recipe=None if recipe is None else recipe.to_dict(),
            job=None if tuned is None else tuned.job.key,
        )


def _steps(arm: Arm) -> int:
    return 0 if arm.job is None else arm.job.recipe.steps(len(arm.job.samples))


def _training_status(progress: TuningProgress, total: int) -> Callable[[], str]:
    """Return what tells where the trainings of a study are; `total` are the steps of all of them."""

    def status() -> str:
        seen = progress.last
        if seen is None:
            return f"loading the model: {progress.what}"
        left = total - progress.skipped - progress.done
        shown = f"{progress.what}: step {seen.step}/{seen.steps} · loss {seen.loss:.3f}"
        pace = f"{seen.tokens / max(seen.seconds, 1e-9):.0f} tokens/s"
        return f"{shown} · {pace} · about {left * seen.seconds / seen.step:.0f} s left"

    return status


def _said_of(arm: Arm, made: Tuned | Failure) -> list[str]:
    """Return what there is to say of a training that has ended."""
    if isinstance(made, Failure):
        return [f"{arm.label}: {made.reason}"]
    out = made.outcome
    how = "found" if made.reused else f"tuned in {out.seconds:.0f} s ({out.tokens / out.seconds:.0f} tokens/s)"
    said = [
        f"{arm.label}: {how}, {len(out.losses)} steps, loss {out.losses[0][1]:.2f} to {out.losses[-1][1]:.2f}, "
        f"learning rate {made.job.recipe.learning_rate:g}, {out.peak_bytes / 2**30:.1f} GiB at most"
    ]
    if not out.learned_something:
        said.append(
            f"{arm.label}: its loss did not fall, so that its scores say little of tuning; lower "
            "tuning.learning_rate, or look for it with --tune-learning-rate"
        )
    return said
