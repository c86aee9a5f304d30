"""Effects: paired differences of conditions on the same queries.

Knows result frames; draws nothing.
"""

import numpy as np
import polars as pl

from analysis.frames import score_matrix, trial_table
from analysis.intervals import Interval, paired_interval


def paired_difference(results: pl.DataFrame, trial: int, reference: int) -> Interval:
    """Return the mean score of `trial` minus that of `reference` over the queries both scored.

    In points of the judge's scale; see `intervals.paired_interval` for the interval.
    """
    matrix = score_matrix(results)
    return paired_interval(
        matrix.get_column(str(trial)).cast(pl.Float64).to_numpy().astype(np.float64),
        matrix.get_column(str(reference)).cast(pl.Float64).to_numpy().astype(np.float64),
    )


def baseline_trial(results: pl.DataFrame) -> int | None:
    """Return the number of the baseline's trial, or None where it did not complete."""
    found = results.filter((pl.col("role") == "baseline") & (pl.col("state") == "complete"))
    return None if found.is_empty() else int(found.get_column("trial").min())  # type: ignore[arg-type]


def best_trial(results: pl.DataFrame) -> int | None:
    """Return the complete trial with the highest mean, A/A replicates left out; the earliest of equals."""
    table = trial_table(results).filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    if table.is_empty():
        return None
    return int(table.sort(["mean", "trial"], descending=[True, False]).get_column("trial")[0])


def noise_floor(results: pl.DataFrame) -> pl.DataFrame:
    """Return each A/A replicate against its twin: columns label, trial, reference_trial, difference, low, high, n.

    Two runs of one condition differ by chance alone; a smaller effect cannot be told from noise.
    """
    return _differences(results, trial_table(results).filter(pl.col("replicate") > 0), "label")


def one_factor_effects(results: pl.DataFrame) -> pl.DataFrame:
    """Return the effect of each value of each parameter with all others held still.

    Columns: parameter, value, against (the reference's value), label, trial, reference_trial,
    difference, low, high (points of the judge's scale), n (queries).
    """
    moved = trial_table(results).filter(pl.col("varied").is_not_null())
    effects = _differences(results, moved, "varied").rename({"varied": "parameter"})
    values = {row["trial"]: row for row in trial_table(results).to_dicts()}
    shown = [str(values[t][f"param.{p}"]) for t, p in effects.select("trial", "parameter").iter_rows()]
    against = [str(values[r][f"param.{p}"]) for r, p in effects.select("reference_trial", "parameter").iter_rows()]
    return effects.with_columns(value=pl.Series(shown, dtype=pl.String), against=pl.Series(against, dtype=pl.String))


def _differences(results: pl.DataFrame, trials: pl.DataFrame, name: str) -> pl.DataFrame:
    """Compare each trial with the complete, unreplicated trial that its `reference` names."""
    table = trial_table(results).filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    by_label = dict(table.select("label", "trial").iter_rows())
    rows = []
    for row in trials.filter(pl.col("state") == "complete").iter_rows(named=True):
        reference = by_label.get(row["reference"])
        if reference is None:
            continue
        interval = paired_difference(results, row["trial"], reference)
        rows.append((row[name], row["trial"], reference, interval.value, interval.low, interval.high, interval.n))
    schema = {
        name: pl.String,
        "trial": pl.Int64,
        "reference_trial": pl.Int64,
        "difference": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "n": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
