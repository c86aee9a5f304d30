"""Opening MLflow: a client of its database or server, and the server of its pages.

Knows addresses and errors, not what is logged.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.core.errors import StorageError, UsageError, first_line, redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient


def open_client(tracking_uri: str) -> "MlflowClient":
    """Return a client; MLflow is imported here, since that takes seconds.

    Raises:
        StorageError: the database cannot be opened.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # of seven, which take minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
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
            f"MLflow's tracking store {redacted(tracking_uri)} cannot be used: {said(error, tracking_uri)}; "
            "check --tracking-uri, or move a damaged mlflow.db away"
        ) from error
    return client


def said(error: Exception, uri: str) -> str:
    """Return an error's first line without the password that the address may hold."""
    return first_line(error).replace(uri, redacted(uri))


def failures() -> tuple[type[Exception], ...]:
    """Return what MLflow raises where its database, server or disk fails."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


def serve_ui(tracking_uri: str, artifacts: Path, host: str, port: int) -> int:
    """Serve a light MLflow UI, two processes instead of fifteen, until interrupted; return the server's exit code.

    The server's own processes end with it, also when this one is told to.
    """
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", tracking_uri]
    command += ["--default-artifact-root", artifacts.as_uri(), "--host", host, "--port", str(port), "--workers", "1"]
    light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(command, env={**os.environ, **light}, process_group=0) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            os.killpg(server.pid, signal.SIGTERM)
            return 0


def trial_of_run(tracking_uri: str, run_id: str) -> tuple[str, int]:
    """Return the study and the number of the trial that a run shows.

    Raises:
        StorageError: there is no such run.
        UsageError: the run is a study's, or a round's of a search.
    """
    try:
        tags = open_client(tracking_uri).get_run(run_id).data.tags
    except failures() as error:
        raise StorageError(
            f"MLflow has no run {run_id!r}: {said(error, tracking_uri)}; copy the id from a trial's page"
        ) from error
    if tags.get("ablations.kind") != "trial":
        raise UsageError(f"the run {run_id!r} is no trial; copy the id from a trial's page, below its study's")
    return tags["ablations.study"], int(tags["ablations.trial"])


def fetch_artifact(tracking_uri: str, run_id: str, name: str, folder: Path) -> Path:
    """Return an artifact of a run as a file in `folder`.

    Raises:
        StorageError: there is no such run, or it has no such artifact.
    """
    client = open_client(tracking_uri)
    try:
        return Path(client.download_artifacts(run_id, name, str(folder)))
    except failures() as error:
        raise StorageError(
            f"MLflow's run {run_id!r} has no {name}: {said(error, tracking_uri)}; copy the id from a study's page"
        ) from error
