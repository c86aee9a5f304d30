"""Data inputs: the queries and the pool of a study, as MLflow shows them on its run.

Knows what a data set is called and how large it is, not what is in it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ablations.core.jsonl import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class DataInput(Record):
    """A data set that a study read.

    Attributes:
        name: what people call it.
        digest: a hash of its content, at most 36 characters.
        context: what it was used for, such as "evaluation".
        columns: its columns' types by name, such as "string".
        profile: numbers that describe it, such as its rows.
    """

    name: str
    digest: str
    context: str
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    profile: Mapping[str, int] = field(default_factory=dict, hash=False)


def log_inputs(client: "MlflowClient", run_id: str, inputs: Sequence[DataInput]) -> None:
    """Log the inputs on a run; those that it has already are not doubled."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    shown = []
    for one in inputs:
        schema = [{"name": name, "type": kind, "required": True} for name, kind in one.columns.items()]
        dataset = Dataset(
            name=one.name,
            digest=one.digest,
            source_type="ablations",
            source=json.dumps({"name": one.name}, ensure_ascii=False),
            schema=json.dumps({"mlflow_colspec": schema}),
            profile=json.dumps(one.profile),
        )
        shown.append(DatasetInput(dataset, [InputTag("mlflow.data.context", one.context)]))
    if shown:
        client.log_inputs(run_id, datasets=shown)
