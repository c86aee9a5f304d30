"""Earlier studies: the decoding parameters that one of them found best.

Knows results of record; neither engines nor how they were made.
"""

import json
from typing import Any

import polars as pl

from ablations.core.condition import DECODING_PARAMETERS, DecodingParams
from ablations.core.errors import StorageError
from ablations.core.schema import PARAMETER_PREFIX
from ablations.storage.workspace import Places


def best_decoding(named: str, places: Places) -> dict[str, Any]:
    """Return the decoding parameters of the best condition of a study.

    Args:
        named: the study's name, the path of its `results.parquet`, or `runs:/ID` with the id of its MLflow run.
        places: where it is looked for.

    The best one has the highest mean over queries of its replicates and turns.

    Raises:
        StorageError: there is no such study, or no complete condition in it.
    """
    from ablations.studies.views.sources import open_results
    from analysis.frames import trial_table

    table = trial_table(open_results(named, places.folder))
    complete = table.filter((pl.col("state") == "complete") & (pl.col("replicate") == 0) & pl.col("mean").is_not_null())
    if complete.is_empty():
        raise StorageError(f"--decoding-from {named!r}: that study has no complete condition; name another one")
    row = complete.sort("mean", "trial", descending=[True, False]).row(0, named=True)
    values = {name: row[f"{PARAMETER_PREFIX}{name}"] for name in DECODING_PARAMETERS}
    values["stop"] = json.loads(values["stop"]) if values["stop"].startswith("[") else values["stop"]
    DecodingParams(**values)
    return values
