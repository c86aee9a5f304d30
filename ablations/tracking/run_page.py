"""A run's page: its parameters, numbers, tags, tables and texts, written in as few calls as MLflow allows.

Knows what MLflow takes, not what it means.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.core.condition import format_value
from ablations.core.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PARAMETER_LIMIT = 500
_METRICS_AT_ONCE = 800
"""MLflow takes a thousand entries in one call, of them a hundred parameters and a hundred tags."""


@dataclass(frozen=True)
class RunPage:
    """Content of a run's page.

    Attributes:
        parameters: by name; a page that has them already must have the same.
        metrics: by name; None is left out.
        tags: by name.
        tables: columns by name, by the path of the artifact.
        texts: by the path of the artifact.
    """

    parameters: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Sequence[object]]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def log_page(client: "MlflowClient", run_id: str, page: RunPage) -> None:
    """Write a page; what an interrupted attempt left of it is written over."""
    from mlflow.entities import Metric, Param, RunTag

    tags = dict(page.tags)
    if page.tables:  # as MLflow's own `log_table` does, which would append to what is there
        shown = [{"path": path, "type": "table"} for path in page.tables]
        tags["mlflow.loggedArtifacts"] = json.dumps(shown)
    _log_files(client, run_id, {path: _table_text(table) for path, table in page.tables.items()} | dict(page.texts))
    now = int(time.time() * 1000)
    parameters = [Param(name, format_value(value)[:_PARAMETER_LIMIT]) for name, value in page.parameters.items()]
    metrics = [Metric(name, float(v), now, 0) for name, v in page.metrics.items() if v is not None]
    client.log_batch(
        run_id, metrics[:_METRICS_AT_ONCE], parameters, [RunTag(name, text) for name, text in tags.items()]
    )
    for start in range(_METRICS_AT_ONCE, len(metrics), _METRICS_AT_ONCE):
        client.log_batch(run_id, metrics[start : start + _METRICS_AT_ONCE])


def log_steps(client: "MlflowClient", run_id: str, metrics: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Write numbers by step; those of a step that are there already are there twice, and shown as one."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    rows = [Metric(name, value, now, step) for name, steps in metrics.items() for step, value in steps]
    for start in range(0, len(rows), _METRICS_AT_ONCE):
        client.log_batch(run_id, rows[start : start + _METRICS_AT_ONCE])


def _log_files(client: "MlflowClient", run_id: str, texts: Mapping[str, str]) -> None:
    if not texts:
        return
    with tempfile.TemporaryDirectory() as folder:
        for path, text in texts.items():
            file = Path(folder, path).resolve()
            if not file.is_relative_to(Path(folder).resolve()):
                raise TrackingError(f"the artifact {path!r} would leave the run that it belongs to")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        client.log_artifacts(run_id, folder)


def _table_text(columns: Mapping[str, Sequence[object]]) -> str:
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return json.dumps({"columns": list(columns), "data": rows}, ensure_ascii=False)
