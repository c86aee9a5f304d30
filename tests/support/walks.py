"""A study of conditions evaluated by itself: without what a run checks before and finds out afterwards."""

import io
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ablations.cli.progress import ConsoleReporter
from ablations.judges.base import Judge
from ablations.judges.panel import scales
from ablations.models.base import Backend
from ablations.storage.store import Store
from ablations.studies.conditions.kind import ConditionsKind
from ablations.studies.conditions.plan import ConditionsPlan
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.engine.evaluator import Progress
from ablations.studies.engine.optuna_view import OptunaView
from ablations.studies.engine.run import Run
from ablations.tracking.tracker import Tracker


class Started:
    """Engines that somebody else starts and stops."""

    async def start(self, *backends: Backend) -> None:
        """Do nothing."""

    async def stop(self, backend: Backend) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Walked:
    """Time and progress of one evaluated study.

    Attributes:
        seconds: of the whole, from the databases' opening on.
        tracked: of MLflow's thread among them.
        progress: what was done.
    """

    seconds: float
    tracked: float
    progress: Progress


async def walk(
    spec: ConditionsSpec, backend: Backend, judge: Judge, folder: Path, pages: type[Tracker] = Tracker
) -> Walked:
    """Evaluate a study, or what is left of it, with started parts and all databases in a folder.

    Raises:
        RuntimeError: not every trial was evaluated.
    """
    tracker = pages(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts", spec.name, spec.name)
    await tracker.start(spec.name, "", {}, {})
    reporter, plan = ConsoleReporter(Console(file=io.StringIO())), ConditionsPlan(spec)
    begun, tracked = time.perf_counter(), tracker.seconds
    with closing(Store(f"sqlite:///{folder / 'store.db'}")) as store:
        with closing(OptunaView(spec.name, f"sqlite:///{folder / 'optuna.db'}", plan.space)) as optuna:
            records = store.trials(spec.name)
            optuna.check(records)
            optuna.complete(records)
            known = scales(judge, spec.queries)
            run = Run(spec, backend, judge, store, tracker, reporter, optuna, Started(), lambda: None, known)
            await ConditionsKind().run(plan, run)
        made = Walked(time.perf_counter() - begun, tracker.seconds - tracked, run.progress)
    await tracker.finish("FINISHED")
    if len(run.records) != spec.total_trials:
        raise RuntimeError(f"{len(run.records)} of {spec.total_trials} trials were evaluated")
    return made
