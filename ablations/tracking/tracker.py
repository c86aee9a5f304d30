"""The tracker: one study's runs in MLflow, written in a thread of their own while the engine works.

Knows what to log, not how it was computed.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.core.errors import AblationError, TrackingError
from ablations.core.jsonl import Record
from ablations.core.records import JudgedTurn, Price, TrialRecord, TrialState
from ablations.core.statistics import Summary
from ablations.tracking.client import failures, open_client, said
from ablations.tracking.inputs import DataInput, log_inputs
from ablations.tracking.metrics import completions_table, metric_name, trial_metrics
from ablations.tracking.run_page import RunPage, log_page, log_steps
from ablations.tracking.traces import STUDY_ID, TracedTrial, log_traces

if TYPE_CHECKING:
    from mlflow.entities import Run

KIND = "ablations.kind"
TRIAL = "ablations.trial"
STUDY = "ablations.study"
PARENT = "mlflow.parentRunId"
_NOTE = "mlflow.note.content"
_KIND_OF_PAGES = {"mlflow.experimentKind": "custom_model_development"}
"""Runs to compare, which MLflow's pages call model training; left out, the pages guess and ask."""
_HEADLINE = "ablations.headline"
FIRST_PROMPT = "first_prompt.txt"
"""The artifact that holds the exact prompt of a study's first query."""
_AS_SELECTED = "\n\nAs selected: "
"""Between the headline of a confirmation and the description of the study that it confirms."""
_LATEST = 5
"""Studies whose headlines an experiment's description shows."""


@dataclass(frozen=True)
class ChildPage(Record):
    """A part of a study that is no trial, such as a round of a search, as a run of its own shows it.

    Attributes:
        kind: what it is, such as "round".
        number: that no trial with a run of its own has.
        name: what people call it.
        started, ended: seconds since the epoch.
        parameters, metrics, tables: what it shows; tables as columns, by artifact.
    """

    kind: str
    number: int
    name: str
    started: float
    ended: float
    parameters: Mapping[str, object]
    metrics: Mapping[str, float | None]
    tables: Mapping[str, Mapping[str, Sequence[object]]]


class Tracker:
    """Logs one study to MLflow.

    Args:
        tracking_uri: MLflow's address, such as `sqlite:///mlruns/mlflow.db`.
        artifacts: where artifacts go when the experiment is made; None leaves it to the server.
        experiment: the experiment's name.
        study: the study's name, which is the parent run's name.
        price: of the judge's model, or None where it is not known.
    """

    def __init__(
        self, tracking_uri: str, artifacts: Path | None, experiment: str, study: str, price: Price | None = None
    ) -> None:
        self._uri = tracking_uri
        self._artifacts = artifacts
        self._experiment = experiment
        self._study = study
        self._price = price
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._client: Any = None
        self._experiment_id = ""
        self._study_id = ""
        self._about = ""
        self._children: dict[int, str] = {}
        self._begun: dict[str, int] = {}
        self._logged: set[int] = set()
        self._failure: TrackingError | None = None
        self.parent_id = ""
        self.seconds = 0.0

    async def connect(self) -> None:
        """Open MLflow's store without writing a run.

        Raises:
            StorageError: it cannot be used.
        """
        await self._call(self._connect)

    async def start(
        self,
        study_id: str,
        description: str,
        parameters: Mapping[str, object],
        files: Mapping[str, str],
        inputs: Sequence[DataInput] = (),
        started: float | None = None,
    ) -> None:
        """Open or make the parent run of the study with this id; connects first if need be.

        The id is the store's: a study of the same name from elsewhere, or from before `--fresh`, has another one.
        `description` is what the study is about; the experiment's description begins with it. `started` is in
        seconds since the epoch, None for now.

        Raises:
            StorageError: MLflow's database cannot be used.
        """
        await self._call(self._start, study_id, description, parameters, files, inputs, started)

    async def log_trial(
        self,
        record: TrialRecord,
        summary: Summary,
        turns: Sequence[JudgedTurn],
        prompt: str | None = None,
        steps: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    ) -> None:
        """Log a finished trial as a child run; one that exists from an interrupted attempt is finished instead.

        Where MLflow fails, that is remembered for `check`: the next run of the study logs what is lacking.

        Args:
            record: of the trial.
            summary: of its turns.
            turns: its judged turns, in the queries' order.
            prompt: the exact text that asked the first query's first turn, or None.
            steps: numbers of each step of the training that made its weights, by name.
        """
        await self._try(self._log_trial, record, summary, list(turns), prompt, steps or {})

    async def log_page(self, page: ChildPage) -> None:
        """Log a part of the study that is no trial as a child run."""
        shown = RunPage(page.parameters, page.metrics, {KIND: page.kind}, page.tables)
        await self._try(self._log_child, page.number, page.name, shown, (page.started, page.ended), "FINISHED")

    async def log_findings(
        self,
        metrics: Mapping[str, float | None],
        description: str,
        tables: Mapping[str, Any],
        figures: Mapping[str, object],
        tags: Mapping[str, str],
    ) -> None:
        """Log what was found on the parent run: numbers, description, tables, figures and tags.

        The description's first line is the headline, which the experiment's description repeats.
        """
        await self._call(self._log_findings, metrics, description, tables, figures, tags)

    async def log_confirmation(self, study_id: str, headline: str) -> None:
        """Let the page of a confirmed study, by its id, begin with what its confirmation found."""

        def log() -> None:
            for run in self._search(f"tags.`{STUDY_ID}` = '{study_id}' and tags.`{KIND}` = 'study'"):
                own = run.data.tags.get(_NOTE, "").rpartition(_AS_SELECTED)[2]
                note = f"{headline}{_AS_SELECTED}{own}"
                for tag, text in ((_NOTE, note), (_HEADLINE, headline)):
                    self._client.set_tag(run.info.run_id, tag, text)
            self._describe_experiment()

        await self._call(log)

    async def log_texts(self, texts: Mapping[str, str]) -> None:
        """Keep texts as artifacts of the parent run, by file name."""
        await self._call(lambda: log_page(self._client, self.parent_id, RunPage(texts=texts)))

    async def log_traces(self, trials: Sequence[TracedTrial]) -> None:
        """Show these trials' turns as traces of their runs, and no others of this study."""

        def log() -> None:
            log_traces(self._client, self._uri, self._experiment_id, self._study_id, self._children, trials)

        await self._call(log)

    async def log_files(self, paths: Sequence[Path]) -> None:
        """Keep files as artifacts of the parent run."""
        for path in paths:
            await self._call(lambda path=path: self._client.log_artifact(self.parent_id, str(path)))

    async def look_again(self) -> None:
        """Find out again which trials have runs; a former failure of MLflow's is forgotten."""
        self._failure = None
        await self._try(self._find_children)

    def knows(self, trial: int) -> bool:
        """Whether a child run of the trial exists and is whole."""
        return trial in self._logged

    async def finish(self, status: str, ended: float | None = None) -> None:
        """End the parent run as FINISHED, FAILED or KILLED; a failed study's own error is not replaced."""
        try:
            await self._call(self._end, self.parent_id, status, time.time() if ended is None else ended)
        except TrackingError:
            if status == "FINISHED":
                raise
        finally:
            self.close()

    def close(self) -> None:
        """End the tracking thread; nothing can be logged from then on."""
        self._thread.shutdown(wait=True)

    def check(self) -> None:
        """Raise what MLflow failed with while trials were logged, if it did."""
        if self._failure is not None:
            raise self._failure

    async def _try(self, work: Callable[..., object], *arguments: object) -> None:
        """Run `work` unless MLflow has failed before: a study does not wait for its pages."""
        if self._failure is None:
            try:
                await self._call(work, *arguments)
            except TrackingError as error:
                self._failure = error

    async def _call(self, work: Callable[..., object], *arguments: object) -> None:
        """Run `work` in the tracking thread, so that the engine is fed meanwhile; count the time it takes."""

        def timed() -> None:
            begun = time.perf_counter()
            try:
                work(*arguments)
            except AblationError:
                raise
            except failures() as error:
                raise TrackingError(
                    f"MLflow failed: {said(error, self._uri)}; finished work is stored, run the same command again"
                ) from error
            finally:
                self.seconds += time.perf_counter() - begun

        await asyncio.get_running_loop().run_in_executor(self._thread, timed)

    def _start(
        self,
        study_id: str,
        description: str,
        parameters: Mapping[str, object],
        files: Mapping[str, str],
        inputs: Sequence[DataInput],
        started: float | None,
    ) -> None:
        self._connect()
        self._study_id, self._about = study_id, description
        self._experiment_id = self._find_experiment()
        found = self._search(f"tags.`{STUDY_ID}` = '{study_id}' and tags.`{KIND}` = 'study'")
        if found:
            self.parent_id = found[0].info.run_id
            self._begun[self.parent_id] = found[0].info.start_time
            self._client.update_run(self.parent_id, status="RUNNING")
            self._find_children()
        else:
            tags = {KIND: "study", STUDY: self._study, STUDY_ID: study_id, _NOTE: description}
            begun = None if started is None else int(started * 1000)
            run = self._client.create_run(self._experiment_id, begun, tags, run_name=self._study)
            self.parent_id = run.info.run_id
            self._begun[self.parent_id] = run.info.start_time
            log_page(self._client, self.parent_id, RunPage(parameters))
        log_page(self._client, self.parent_id, RunPage(texts=files))
        log_inputs(self._client, self.parent_id, inputs)
        self._describe_experiment()

    def _find_children(self) -> None:
        children = self._search(f"tags.`{PARENT}` = '{self.parent_id}'")
        self._children = {int(run.data.tags[TRIAL]): run.info.run_id for run in children}
        self._begun |= {run.info.run_id: run.info.start_time for run in children}
        self._logged = {int(run.data.tags[TRIAL]) for run in children if run.info.status != "RUNNING"}

    def _connect(self) -> None:
        if self._client is None:
            self._client = open_client(self._uri)

    def _find_experiment(self) -> str:
        existing = self._client.get_experiment_by_name(self._experiment)
        if existing is not None:
            return str(existing.experiment_id)
        location = None if self._artifacts is None else (self._artifacts / metric_name(self._experiment)).as_uri()
        return str(
            self._client.create_experiment(self._experiment, artifact_location=location, tags=dict(_KIND_OF_PAGES))
        )

    def _search(self, condition: str) -> "list[Run]":
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment_id], condition, max_results=1000, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _log_trial(
        self,
        record: TrialRecord,
        summary: Summary,
        turns: list[JudgedTurn],
        prompt: str | None,
        steps: Mapping[str, Sequence[tuple[int, float]]],
    ) -> None:
        tags = {
            KIND: "trial",
            "ablations.role": str(record.role),
            "ablations.condition_id": record.condition_id,
            "ablations.label": record.label,
        }
        if record.stopped is not None:
            tags["ablations.stopped"] = str(record.stopped)
        if record.failed_because is not None:
            tags["ablations.failed_because"] = record.failed_because
        # A trial that found answers in the store says nothing about the engine's speed.
        seconds = record.seconds if record.measured else None
        page = RunPage(
            {**record.values, "role": str(record.role), "replicate": record.replicate}
            | {f"arm.{name}": value for name, value in record.arm.items() if value is not None},
            trial_metrics(summary, seconds, self._price, record.state is TrialState.STOPPED),
            tags,
            {"completions.json": completions_table(turns)},
            {} if prompt is None else {FIRST_PROMPT: prompt},
        )
        status = "FAILED" if record.state is TrialState.FAILED else "FINISHED"
        self._log_child(record.number, record.run_name, page, (record.started, record.ended), status, steps)

    def _log_child(
        self,
        number: int,
        name: str,
        page: RunPage,
        when: tuple[float, float],
        status: str,
        steps: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    ) -> None:
        """Log the child run with this number, made if it does not exist; `when` it began and ended, `steps` between."""
        begun, ended = when
        if number not in self._children:
            tags = {PARENT: self.parent_id, STUDY: self._study, TRIAL: str(number)}
            run = self._client.create_run(self._experiment_id, int(begun * 1000), tags, run_name=name)
            self._begun[run.info.run_id] = run.info.start_time
            self._children[number] = run.info.run_id
        log_page(self._client, self._children[number], page)
        if steps:  # before the run has ended: a run that has is not looked at again
            log_steps(self._client, self._children[number], steps)
        self._end(self._children[number], status, ended)
        self._logged.add(number)

    def _end(self, run_id: str, status: str, ended: float) -> None:
        """End a run, not before it began: the machine's clock may have been set back meanwhile."""
        self._client.set_terminated(run_id, status, max(int(ended * 1000), self._begun.get(run_id, 0)))

    def _log_findings(
        self,
        metrics: Mapping[str, float | None],
        description: str,
        tables: Mapping[str, Any],
        figures: Mapping[str, object],
        tags: Mapping[str, str],
    ) -> None:
        shown = {metric_name(name, "/"): value for name, value in metrics.items()}
        before = self._client.get_run(self.parent_id).data.metrics
        page = RunPage(  # of an extended study a number may be none any more, and MLflow takes none back
            metrics={name: nan if value is None and name in before else value for name, value in shown.items()},
            tags={**tags, _NOTE: description, _HEADLINE: description.partition("\n")[0]},
            tables={f"tables/{name}.json": table for name, table in tables.items()},
        )
        log_page(self._client, self.parent_id, page)
        self._describe_experiment()
        for name, figure in figures.items():
            self._client.log_figure(self.parent_id, figure, f"figures/{name}.png")

    def _describe_experiment(self) -> None:
        """Say what the experiment is about and what its latest studies found."""
        runs = self._client.search_runs(
            [self._experiment_id], f"tags.`{KIND}` = 'study'", order_by=["attributes.start_time DESC"], max_results=50
        )
        found = [(run.info.run_name, run.data.tags[_HEADLINE]) for run in runs if _HEADLINE in run.data.tags]
        lines = [f"- **{name}**: {headline}" for name, headline in found[:_LATEST]]
        text = "\n\n".join([self._about, *(["Latest studies:\n\n" + "\n".join(lines)] if lines else [])])
        self._client.set_experiment_tag(self._experiment_id, _NOTE, text)
