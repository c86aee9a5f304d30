"""One session of a comparison of prompts with fine-tuning: weights first, which need the memory, then engines.

Knows the study and what is shown of it; how a session goes is in `session`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from ablations.cli.progress import arms_status, progress_display, tuning_status
from ablations.core.condition import Condition
from ablations.models.training.jobs import Failure
from ablations.models.training.tuner import Tuned, Tuner
from ablations.storage.claims import Claims
from ablations.storage.store import Store
from ablations.storage.workspace import LOSSES_FILE
from ablations.studies.engine.evaluator import Evaluator, Progress
from ablations.studies.engine.lengths import check_prompt_lengths
from ablations.studies.engine.results import write_results
from ablations.studies.engine.runner import Session
from ablations.studies.icl_vs_ift.plan import TuningPlan
from ablations.studies.icl_vs_ift.study import Engines, TuningStudy, loss_frame
from ablations.studies.kind import Findings, Results
from ablations.studies.spec import StudySpec
from ablations.tracking.tracker import Tracker
from analysis.demonstrations.ways import ALIGNED


@dataclass
class TuningSession(Session):
    """What one call of `run` works with, for a comparison of prompts with fine-tuning.

    Attributes:
        plan: its arms.
        engines: what answers them; `backend` is the base model's.
    """

    plan: TuningPlan = field(kw_only=True)
    engines: Engines = field(kw_only=True)

    async def _check(self) -> None:
        await super()._check()
        for arm in self.plan.arms:
            if arm.way == ALIGNED:
                await check_prompt_lengths(self.engines.other(arm.model), [arm.condition], self.spec.queries)

    @property
    def _conditions(self) -> list[Condition]:
        return [arm.condition for arm in self.plan.arms if arm.way != ALIGNED]

    @property
    def _shares(self) -> bool:
        return False  # its processes would tune the same weights

    @property
    def _trials(self) -> int:
        return len(self.plan.arms)

    def _identity(self, spec: StudySpec) -> dict[str, Any]:
        return super()._identity(spec) | {"tuning": self.plan.identity}

    def _check_stored(self, store: Store, identity: Mapping[str, Any]) -> None:
        super()._check_stored(store, identity)
        if not self.fresh:
            self.plan.check_finished(self.spec.name, store.trials(self.spec.name))

    def _make_study(self, evaluator: Evaluator, store: Store, tracker: Tracker, claims: Claims) -> TuningStudy:
        del claims
        tuner = Tuner(store, self.places.tuned, self.places.tuning_log(self.spec.name), self._say)
        return TuningStudy(
            self.spec, self.plan, self.engines, self.judge, tuner, store, tracker, progress=evaluator.progress
        )

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False)

    async def _start_parts(self) -> None:
        """Load the judge alone: training has the memory first."""
        if not self.started:
            await self.judge.start()
            self.started = True

    async def _evaluate(self, study: TuningStudy, done: Progress, tracker: Tracker) -> None:
        if finished := len(self.plan.arms) - study.remaining:
            self._say(f"{finished} of {len(self.plan.arms)} arms are finished already")
        if study.remaining:
            weights = await self._tune(study)
            begun, tracked = time.monotonic(), tracker.seconds
            turns = study.remaining * self.spec.turns
            self._say(f"loading engines, one after the other; their log is {self.places.engine_log(self.spec.name)}")
            with progress_display(self.console, turns, arms_status(study, turns), done):
                await study.run(weights)
            self._say_pace(done, time.monotonic() - begun, tracker.seconds - tracked)
        await study.complete_log()

    async def _tune(self, study: TuningStudy) -> dict[int, Tuned | Failure]:
        progress, total = study.tuner.progress, study.steps
        if not total:
            return {}
        self._say(f"tuning; its log is {self.places.tuning_log(self.spec.name)}")
        with progress_display(self.console, total, tuning_status(progress, total), progress, "steps"):
            weights = await study.tune()
        for arm in self.plan.jobs:
            made = weights.get(arm.number)
            if isinstance(made, Failure):
                self._say(f"{arm.label}: {made.reason}")
            elif made is not None:
                out = made.outcome
                how = (
                    "found"
                    if made.reused
                    else f"tuned in {out.seconds:.0f} s ({out.tokens / out.seconds:.0f} tokens/s)"
                )
                peak = f"{out.peak_bytes / 2**30:.1f} GiB at most"
                self._say(
                    f"{arm.label}: {how}, {len(out.losses)} steps, loss {out.losses[0][1]:.2f} to "
                    f"{out.losses[-1][1]:.2f}, learning rate {made.job.recipe.learning_rate:g}, {peak}"
                )
                if not out.learned_something:
                    self._say(
                        f"{arm.label}: its loss did not fall, so that its scores say little of tuning; lower "
                        "tuning.learning_rate, or look for it with --tune-learning-rate"
                    )
        return weights

    async def _find(self, frame: pl.DataFrame, store: Store) -> tuple[Findings, list[Path]]:
        from ablations.studies.icl_vs_ift.findings import summarise

        losses, path = loss_frame(store, self.spec.name), self.places.results(self.spec.name).with_name(LOSSES_FILE)
        write_results(losses, path)
        results = Results(self.spec.name, frame, store.notes(self.spec.name), tables={"losses": losses})
        return summarise(results), [path]
