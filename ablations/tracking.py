"""MLflow: the only module that imports it. A parent run is a study, a child run is a trial.

Knows what to log, not how it was computed. Everything here can be made anew from the store, so a study
never reads its own state from MLflow, except which runs already exist.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.conditions import format_value
from ablations.errors import AblationError, StorageError, TrackingError
from ablations.judges.prices import Price
from ablations.places import redacted
from ablations.scoring import JudgedTurn, Summary
from ablations.trials import PlannedTrial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KIND = "ablations.kind"
TRIAL = "ablations.trial"
STUDY = "ablations.study"
STUDY_ID = "ablations.study_id"
PARENT = "mlflow.parentRunId"
_PARAMETER_LIMIT = 500


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
        self._children: dict[int, str] = {}
        self.parent_id = ""
        self.seconds = 0.0

    async def connect(self) -> None:
        """Open MLflow's store without writing a run.

        Raises:
            StorageError: it cannot be used.
        """
        await self._call(self._connect)

    async def start(
        self, study_id: str, description: str, parameters: Mapping[str, Any], files: Mapping[str, str]
    ) -> None:
        """Open or make the parent run of the study with this id; connects first if need be.

        The id is the store's: a study of the same name from elsewhere, or from before `--fresh`, has another one.

        Raises:
            StorageError: MLflow's database cannot be used.
        """
        await self._call(self._start, study_id, description, parameters, files)

    async def log_trial(
        self,
        trial: PlannedTrial,
        summary: Summary,
        turns: Sequence[JudgedTurn],
        why_failed: str | None,
        started: float,
        seconds: float | None,
    ) -> None:
        """Log a finished trial as a child run; one that exists from an interrupted attempt is finished instead.

        `why_failed` is None for a trial that counts. `started` is in seconds since the epoch; `seconds` is None
        where answers came from the store.
        """
        await self._call(self._log_trial, trial, summary, list(turns), why_failed, started, seconds)

    async def log_round(
        self,
        number: int,
        name: str,
        started: float,
        parameters: Mapping[str, Any],
        metrics: Mapping[str, float | None],
        tables: Mapping[str, Mapping[str, list[Any]]],
    ) -> None:
        """Log a round of a search as a child run; `number` is the one of its first trial, tables are columns."""

        def log() -> None:
            run_id = self._child(number, name, {KIND: "round"}, started)
            self._log_parameters(run_id, parameters)
            self._log_metrics(run_id, metrics)
            self._log_tables(run_id, tables)
            self._client.set_terminated(run_id, "FINISHED")

        await self._call(log)

    async def log_findings(
        self,
        metrics: Mapping[str, float | None],
        description: str,
        tables: Mapping[str, Any],
        figures: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        """Log what was found on the parent run: numbers, headline, tables, figures and tags."""
        await self._call(self._log_findings, metrics, description, tables, figures, tags)

    async def log_files(self, paths: Sequence[Path]) -> None:
        """Keep files as artifacts of the parent run."""
        for path in paths:
            await self._call(lambda path=path: self._client.log_artifact(self.parent_id, str(path)))

    def knows(self, trial: int) -> bool:
        """Whether a child run of the trial exists."""
        return trial in self._children

    async def finish(self, status: str) -> None:
        """End the parent run as FINISHED, FAILED or KILLED; a failed study's own error is not replaced."""
        try:
            await self._call(lambda: self._client.set_terminated(self.parent_id, status))
        except TrackingError:
            if status == "FINISHED":
                raise
        finally:
            self._thread.shutdown(wait=True)

    async def _call(self, work: Any, *arguments: Any) -> None:
        """Run `work` in the tracking thread, so that the engine is fed meanwhile; count the time it takes."""

        def timed() -> None:
            begun = time.perf_counter()
            try:
                work(*arguments)
            except AblationError:
                raise
            except _failures() as error:
                raise TrackingError(
                    f"MLflow failed: {_shown(error, self._uri)}; finished work is kept, run the same command again"
                ) from error
            finally:
                self.seconds += time.perf_counter() - begun

        await asyncio.get_running_loop().run_in_executor(self._thread, timed)

    def _start(self, study_id: str, description: str, parameters: Mapping[str, Any], files: Mapping[str, str]) -> None:
        self._connect()
        self._experiment_id = self._find_experiment()
        found = self._search(f"tags.`{STUDY_ID}` = '{study_id}' and tags.`{KIND}` = 'study'")
        if found:
            self.parent_id = found[0].info.run_id
            self._client.update_run(self.parent_id, status="RUNNING")
            children = self._search(f"tags.`{PARENT}` = '{self.parent_id}'")
            self._children = {int(run.data.tags[TRIAL]): run.info.run_id for run in children}
        else:
            tags = {KIND: "study", STUDY: self._study, STUDY_ID: study_id, "mlflow.note.content": description}
            self.parent_id = self._client.create_run(self._experiment_id, tags=tags, run_name=self._study).info.run_id
            self._log_parameters(self.parent_id, parameters)
        for name, text in files.items():
            self._client.log_text(self.parent_id, text, name)

    def _connect(self) -> None:
        if self._client is None:
            self._client = open_client(self._uri)

    def _find_experiment(self) -> str:
        existing = self._client.get_experiment_by_name(self._experiment)
        if existing is not None:
            return str(existing.experiment_id)
        location = None if self._artifacts is None else (self._artifacts / self._experiment).as_uri()
        return str(self._client.create_experiment(self._experiment, artifact_location=location))

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
        trial: PlannedTrial,
        summary: Summary,
        turns: list[JudgedTurn],
        why_failed: str | None,
        started: float,
        seconds: float | None,
    ) -> None:
        tags = {
            KIND: "trial",
            "ablations.role": trial.point.role,
            "ablations.condition_id": trial.condition.condition_id,
        }
        run_id = self._child(trial.number, trial.label, tags, started)
        parameters = trial.condition.values() | {"role": trial.point.role, "replicate": trial.point.replicate}
        self._log_parameters(run_id, parameters)
        self._log_metrics(run_id, trial_metrics(summary, seconds, self._price))
        self._log_tables(run_id, {"completions.json": completions_table(turns)})
        if why_failed is not None:
            self._client.set_tag(run_id, "ablations.failed_because", why_failed)
        self._client.set_terminated(run_id, "FINISHED" if why_failed is None else "FAILED")

    def _child(self, number: int, name: str, tags: Mapping[str, str], started: float) -> str:
        """Return the id of the child run with this number, made if it does not exist."""
        if number not in self._children:
            own = {PARENT: self.parent_id, STUDY: self._study, TRIAL: str(number), **tags}
            run = self._client.create_run(self._experiment_id, start_time=int(started * 1000), tags=own, run_name=name)
            self._children[number] = run.info.run_id
        return self._children[number]

    def _log_parameters(self, run_id: str, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        texts = {name: format_value(value) for name, value in parameters.items()}
        self._client.log_batch(run_id, params=[Param(name, text[:_PARAMETER_LIMIT]) for name, text in texts.items()])

    def _log_metrics(self, run_id: str, metrics: Mapping[str, float | None]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        known = {name: value for name, value in metrics.items() if value is not None}
        self._client.log_batch(run_id, metrics=[Metric(name, float(value), now, 0) for name, value in known.items()])

    def _log_tables(self, run_id: str, tables: Mapping[str, Mapping[str, list[Any]]]) -> None:
        """Log tables as MLflow's own `log_table` does, which would append to what an interrupted run left."""
        for path, columns in tables.items():
            rows = [list(row) for row in zip(*columns.values(), strict=True)]
            text = json.dumps({"columns": list(columns), "data": rows}, ensure_ascii=False)
            self._client.log_text(run_id, text, path)
        shown = json.dumps([{"path": path, "type": "table"} for path in tables])
        self._client.set_tag(run_id, "mlflow.loggedArtifacts", shown)

    def _log_findings(
        self,
        metrics: Mapping[str, float | None],
        description: str,
        tables: Mapping[str, Any],
        figures: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        self._log_metrics(self.parent_id, {metric_name(name, "/"): value for name, value in metrics.items()})
        for name, text in tags.items():
            self._client.set_tag(self.parent_id, name, text)
        self._client.set_tag(self.parent_id, "mlflow.note.content", description)
        self._log_tables(self.parent_id, {f"tables/{name}.json": table for name, table in tables.items()})
        for name, figure in figures.items():
            self._client.log_figure(self.parent_id, figure, f"figures/{name}.png")


def trial_metrics(summary: Summary, seconds: float | None, price: Price | None) -> dict[str, float | None]:
    """Return a trial's numbers under their documented names; None where there is none.

    `price` is of the judge's model; the cost is that of the judgments themselves, whichever run paid for them.
    """
    metrics: dict[str, float | None] = {
        "score": summary.mean,
        "score_low": summary.low,
        "score_high": summary.high,
        "coverage": summary.coverage,
        "n_scored": summary.n_scored,
        "mean_tokens": summary.mean_tokens,
        "truncation_rate": summary.truncation_rate,
        "repetition": summary.repetition,
        "empty_rate": summary.empty_rate,
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "seconds": seconds,
        "tokens_per_second": summary.completion_tokens / seconds if seconds else None,
    }
    used = summary.judging
    metrics |= {
        "judge_calls": used.calls,
        "judge_prompt_tokens": used.prompt_tokens,
        "judge_completion_tokens": used.completion_tokens,
        "judge_cost_usd": None if price is None else price.cost(used),
    }
    metrics |= {f"judge/{metric_name(name)}": value for name, value in summary.details.items()}
    metrics |= {f"score_turn_{turn}": value for turn, value in summary.by_turn.items()}
    metrics |= {f"score_category/{metric_name(name)}": value for name, value in summary.by_category.items()}
    return metrics | {f"unscored/{metric_name(reason)}": count for reason, count in summary.unscored.items()}


def metric_name(text: str, also: str = "") -> str:
    """Return a text as (part of) a metric's name, in which MLflow takes few characters; `also` are taken too.

    >>> metric_name("C++ (hard)")
    'C__ _hard_'
    """
    return re.sub(rf"[^\w\- :{also}]", "_", text)


def _shown(error: Exception, uri: str) -> str:
    """Return an error's first line without the password that the address may hold."""
    return str(error).splitlines()[0].replace(uri, redacted(uri))


def _failures() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


def completions_table(turns: Sequence[JudgedTurn]) -> dict[str, list[Any]]:
    """Return completions and judgments of a trial as columns."""
    rows = [
        {
            "query_id": turn.query.id,
            "category": turn.query.category,
            "turn": turn.turn,
            "query": turn.query.turns[turn.turn - 1],
            "answer": turn.completion.answer,
            "score": turn.judgment.score.value,
            "unscored": turn.judgment.score.reason,
            "judge": turn.judgment.judge,
            "judge_reply": turn.judgment.replies[-1] if turn.judgment.replies else "",
            "judge_asks": len(turn.judgment.replies),
            "tokens": turn.completion.completion_tokens,
            "finish_reason": turn.completion.finish_reason,
            "raw_completion": turn.completion.text,
        }
        for turn in turns
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def open_client(tracking_uri: str) -> "MlflowClient":
    """Return a client; MLflow is imported here, since that takes seconds.

    Raises:
        StorageError: the database cannot be opened.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    import logging

    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        client = MlflowClient(tracking_uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError) as error:
        raise StorageError(
            f"MLflow's tracking store {redacted(tracking_uri)} cannot be used: {_shown(error, tracking_uri)}; "
            "check --tracking-uri, or move a damaged mlflow.db away"
        ) from error
    return client


def ui_command(tracking_uri: str, artifacts: Path, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment of a light MLflow UI: two processes instead of fifteen."""
    import sys

    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri]
    command += ["--default-artifact-root", artifacts.as_uri(), "--host", host, "--port", str(port), "--workers", "1"]
    light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return command, {**os.environ, **light}
