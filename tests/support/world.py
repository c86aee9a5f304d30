"""One folder of results, and studies run in it with a backend and a judge without a model; their views as values."""

import asyncio
import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import polars as pl
from rich.console import Console

from ablations.cli.progress import ConsoleReporter
from ablations.core.records import TrialRecord
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.conditions.confirmation import Confirmation
from ablations.studies.conditions.plan import ConditionsPlan
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.engine.runner import Parts, Runner
from ablations.studies.kind import Plan, StudyKind
from ablations.studies.registry import find_kind
from ablations.studies.views.rebuild import rebuild
from ablations.tracking.client import open_client
from ablations.tracking.tracker import Tracker
from analysis.frames import load_results
from tests.support.fakes import FakeBackend, FakeJudge
from tests.support.specs import SPACE, changed, make_spec


class NeverAsked(FakeBackend):
    """A backend that a finished study has no use for."""

    async def start(self) -> None:
        raise AssertionError("the engine was started")


class Pageless(Tracker):
    """A tracker that writes no pages."""

    async def _call(self, work: Callable[..., object], *arguments: object) -> None:
        """Leave out what MLflow would be asked for."""


def places_of(folder: Path) -> Places:
    return Places.choose(str(folder), None, None, None)


@dataclass
class World:
    """A folder of results.

    Attributes:
        folder: of all results.
        tracking: a database of MLflow's without a run, which the folder begins with; its migrations take seconds.
        places: where results go.
    """

    folder: Path
    tracking: Path | None = None
    places: Places = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.tracking is not None and not (self.folder / "mlflow.db").exists():
            shutil.copy(self.tracking, self.folder / "mlflow.db")
        self.places = places_of(self.folder)

    @property
    def store(self) -> Store:
        return Store(self.places.store)

    def run(
        self,
        spec: ConditionsSpec,
        backend: FakeBackend | None = None,
        judge: FakeJudge | None = None,
        confirmation: Confirmation | None = None,
        fresh: bool = False,
    ) -> str:
        """Run a study of conditions; return what the user saw."""
        plan = ConditionsPlan(spec, confirmation)
        return self.run_plan(plan, find_kind("ablation"), backend, judge, fresh)

    def run_plan(
        self,
        plan: Plan,
        kind: StudyKind[Any],
        backend: FakeBackend | None = None,
        judge: FakeJudge | None = None,
        fresh: bool = False,
    ) -> str:
        text = io.StringIO()
        reporter = ConsoleReporter(Console(file=text, width=200))
        parts = Parts(backend or FakeBackend(), judge or FakeJudge(), self.places, reporter, self.folder / "engine.log")
        asyncio.run(Runner(kind, plan, parts, fresh).run())
        return text.getvalue()

    def records(self, name: str) -> Mapping[int, TrialRecord]:
        return self.store.trials(name)

    def frame(self, name: str) -> pl.DataFrame:
        return load_results(self.places.results(name))

    def optuna_trials(self, name: str) -> list[optuna.trial.FrozenTrial]:
        """The finished trials in Optuna by the study's own numbers, attempts that were interrupted left out."""
        trials = optuna.load_study(study_name=name, storage=self.places.storage).trials
        return sorted((one for one in trials if "role" in one.user_attrs), key=lambda one: one.user_attrs["trial"])

    def runs(self, **tags: str) -> list[Any]:
        """MLflow's runs of all experiments that have these tags of the toolkit's."""
        client, wanted = open_client(self.places.tracking_uri), {f"ablations.{k}": v for k, v in tags.items()}
        experiments = [one.experiment_id for one in client.search_experiments()]
        found = client.search_runs(experiments, max_results=1000)
        return [run for run in found if wanted.items() <= run.data.tags.items()]

    def rebuild(self, name: str | None = None) -> str:
        said: list[str] = []
        rebuild(self.places, name, said.append)
        # A command ends here; this process may hold the replaced file open.
        open_client(self.places.tracking_uri)._tracking_client.store.engine.dispose()
        return "".join(f"{one}\n" for one in said)

    def pages(self) -> list[dict[str, Any]]:
        """All that MLflow shows of the folder's runs, but for ids and times of writing."""
        client, shown = open_client(self.places.tracking_uri), []
        for experiment in client.search_experiments():
            found = client.search_runs([experiment.experiment_id], max_results=1000)
            names = {run.info.run_id: run.info.run_name for run in found}
            traces = client.search_traces(locations=[experiment.experiment_id], max_results=500)
            for run in found:
                own = [trace for trace in traces if trace.info.trace_metadata["mlflow.sourceRun"] == run.info.run_id]
                under = names.get(run.data.tags.get("mlflow.parentRunId", ""))
                shown.append({"experiment": _described(experiment), "under": under, **_page(client, run, own)})
        return sorted(shown, key=lambda page: (page["experiment"], page["under"] or "", page["name"]))


def _described(experiment: Any) -> tuple[str, str]:
    return experiment.name, experiment.tags.get("mlflow.note.content", "")


def _page(client: Any, run: Any, traces: list[Any]) -> dict[str, Any]:
    marks = ("ablations.", "mlflow.note", "mlflow.log")
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "parameters": run.data.params,
        "metrics": run.data.metrics,
        "tags": {name: text for name, text in run.data.tags.items() if name.startswith(marks)},
        "inputs": [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs],
        "files": sorted(_files(client, run.info.run_id, "")),
        "traces": sorted(
            (t.info.tags["mlflow.traceName"], repr(t.data.spans[0].inputs), t.info.assessments[0].value) for t in traces
        ),
    }


def _files(client: Any, run_id: str, folder: str) -> list[str]:
    found = []
    for file in client.list_artifacts(run_id, folder):
        found += _files(client, run_id, file.path) if file.is_dir else [file.path]
    return found


TRIALS = 8


def spec_of(folder: Path, **keys: object) -> ConditionsSpec:
    """Return the study `s` of `SPACE`, whose file lies in the folder, with other values of keys."""
    return changed(make_spec(folder, SPACE, trials=TRIALS), **keys)


def run(spec: ConditionsSpec, folder: Path, backend: FakeBackend | None = None, judge: FakeJudge | None = None) -> str:
    return World(folder).run(spec, backend, judge)


def rebuilt(folder: Path, name: str | None = None) -> str:
    return World(folder).rebuild(name)


def pages(folder: Path) -> list[dict[str, Any]]:
    return World(folder).pages()
