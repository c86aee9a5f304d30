"""Effects: paired differences of conditions on the same queries.

Knows result frames; draws nothing.
"""

from typing import Any

import numpy as np
import polars as pl

from ablations.conditions import format_value
from ablations.results import PARAMETER_PREFIX
from analysis.frames import score_matrix, trial_table, varied_parameters
from analysis.intervals import Interval, paired_interval


def paired_difference(results: pl.DataFrame, trial: int, reference: int, level: float = 0.95) -> Interval:
    """Return the mean score of `trial` minus that of `reference` over the queries both scored.

    In points of the judge's scale; see `intervals.paired_interval` for the interval, of `level`.
    """
    matrix = score_matrix(results)
    return paired_interval(
        matrix.get_column(str(trial)).cast(pl.Float64).to_numpy().astype(np.float64),
        matrix.get_column(str(reference)).cast(pl.Float64).to_numpy().astype(np.float64),
        level=level,
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


def lead_of_best(results: pl.DataFrame) -> tuple[Interval, Interval] | None:
    """Return the best condition's mean score minus the baseline's, and the same with a corrected interval.

    The best of m conditions looks better than it is, so the second interval has the level 1 - 0.05 / m
    (Bonferroni's correction). None where the baseline or every other condition is missing, or the baseline is best.
    """
    baseline, best = baseline_trial(results), best_trial(results)
    if baseline is None or best is None or best == baseline:
        return None
    table = trial_table(results).filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    level = 1 - 0.05 / (len(table) - 1)
    return paired_difference(results, best, baseline), paired_difference(results, best, baseline, level)


def noise_floor(results: pl.DataFrame) -> pl.DataFrame:
    """Return each A/A replicate against its twin: columns label, trial, reference_trial, difference, low, high, n.

    Two runs of one condition differ by chance alone; a smaller effect cannot be told from noise.
    """
    return _differences(results, trial_table(results).filter(pl.col("replicate") > 0), "label")


def one_factor_effects(results: pl.DataFrame) -> pl.DataFrame:
    """Return the effect of each value of each parameter with all others held still.

    Columns: parameter, value, against (the reference's value), around (where the reference is not the
    baseline, what else it sets, such as temperature=0.6 for a top-p; else ""), trial, reference_trial,
    difference, low, high (points of the judge's scale), n (queries).
    """
    table = trial_table(results)
    effects = _differences(results, table.filter(pl.col("varied").is_not_null()), "varied")
    effects = effects.rename({"varied": "parameter"})
    rows = {row["trial"]: row for row in table.to_dicts()}
    baseline = rows.get(baseline_trial(results))
    texts: dict[str, list[str]] = {"value": [], "against": [], "around": []}
    for trial, reference, parameter in effects.select("trial", "reference_trial", "parameter").iter_rows():
        column = f"{PARAMETER_PREFIX}{parameter}"
        texts["value"].append(format_value(rows[trial][column]))
        texts["against"].append(format_value(rows[reference][column]))
        texts["around"].append(_around(rows[reference], baseline, varied_parameters(results), parameter))
    return effects.with_columns(**{name: pl.Series(shown, dtype=pl.String) for name, shown in texts.items()})


def _around(reference: dict[str, Any], baseline: dict[str, Any] | None, varied: list[str], parameter: str) -> str:
    """Name what the reference sets otherwise than the baseline."""
    moved = [
        f"{name}={format_value(reference[column])}"
        for name in varied
        for column in [f"{PARAMETER_PREFIX}{name}"]
        if name != parameter and baseline is not None and reference[column] != baseline[column]
    ]
    return " ".join(moved)


def _differences(results: pl.DataFrame, trials: pl.DataFrame, name: str) -> pl.DataFrame:
    """Compare each trial with the complete, unreplicated trial that its `reference` names."""
    table = trial_table(results).filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))
    by_condition = dict(table.sort("trial", descending=True).select("condition_id", "trial").iter_rows())
    rows = []
    for row in trials.filter(pl.col("state") == "complete").iter_rows(named=True):
        reference = by_condition.get(row["reference"])
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
