"""Joint effects: two parameters moved together, against what each does alone.

Knows result frames; draws nothing. Only designs that hold a pair and both of its parts tell an interaction: joint
conditions beside one factor at a time, and factorial ones.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from ablations.core.condition import format_value
from ablations.core.schema import PARAMETER_PREFIX, Schema
from analysis.effects.families import family
from analysis.effects.paired import baseline_trial, verdict
from analysis.frames import Row, condition_scores, trial_table, varied_parameters

MORE, LESS, ADDITIVE = "more together", "less together", "additive within"
JOINT_SCHEMA: Schema = {
    **dict.fromkeys(("trial", "first_trial", "second_trial"), pl.Int64),
    **dict.fromkeys(("first", "second"), pl.String),
    **dict.fromkeys(("baseline", "first_alone", "second_alone", "expected", "together"), pl.Float64),
    **dict.fromkeys(("difference", "low", "high", "p_value", "p_family"), pl.Float64),
    "n": pl.Int64,
    "verdict": pl.String,
}


def joint_effects(results: pl.DataFrame) -> pl.DataFrame:
    """Return what pairs of parameters do together: a row for each condition that moves two of them from the baseline.

    Columns: trial, first_trial, second_trial (those that move one of the two), first, second (what each moves, such as
    "stop headings → fence"); the means baseline, first_alone, second_alone, together, and expected, which together
    would be if both effects added up, no further than the scale's ends (points; over the queries scored under all four
    conditions); difference (of differences: together less the sum of the parts, not cut), low, high (95 % over queries,
    simultaneous over the family of all pairs), p_value, p_family, n (queries), verdict: "more together", "less
    together", "additive within X" or "open". Pairs without both of their parts, or without a common query, are left
    out. A row holds where everything else is as in the baseline.
    """
    baseline, scores = baseline_trial(results), condition_scores(results)
    pairs = {} if baseline is None else _pairs(results, baseline, scores.trials)
    four = [scores.of([trial, *parts, baseline]) for trial, (parts, _) in pairs.items() if baseline is not None]
    differences = [together - first - second + before for together, first, second, before in (one.T for one in four)]
    ends, rows = scores.ends.differences(2), []
    values = np.column_stack(differences) if differences else np.zeros((len(scores.queries), 0))
    estimates = family(values, [ends] * len(pairs))
    for at, ((trial, (parts, words)), found) in enumerate(zip(pairs.items(), estimates, strict=True)):
        if found is None:
            continue
        together, first, second, before = four[at][~np.isnan(values[:, at])].mean(axis=0).tolist()
        expected, _ = scores.ends.clip(first + second - before, 0.0)
        numbers = (found.value, found.low, found.high, found.p_value, found.p_family, found.n)
        said = verdict(found.low, found.high, scores.margin, MORE, LESS, ADDITIVE)
        rows.append((trial, *parts, *words, before, first, second, expected, together, *numbers, said))
    return pl.DataFrame(rows, schema=JOINT_SCHEMA, orient="row")


def _pairs(
    results: pl.DataFrame, baseline: int, known: Sequence[int]
) -> dict[int, tuple[tuple[int, int], tuple[str, str]]]:
    """Return the trials of both parts, and what each part moves in words, by the trial that moves two parameters."""
    varied = varied_parameters(results)
    rows = {row["trial"]: row for row in trial_table(results).iter_rows(named=True) if row["trial"] in known}
    moved = {trial: _moved(row, rows[baseline], varied) for trial, row in rows.items()}
    alone = {part: trial for trial, own in reversed(moved.items()) if len(own) == 1 for part in own.items()}
    return {
        trial: ((alone[first], alone[second]), (_words(first, rows[baseline]), _words(second, rows[baseline])))
        for trial, own in moved.items()
        if len(own) == 2
        for first, second in [own.items()]
        if first in alone and second in alone
    }


def _moved(row: Row, baseline: Row, varied: Sequence[str]) -> Mapping[str, str]:
    """Return the values of the parameters that act in a condition and differ from the baseline's."""
    columns = {name: f"{PARAMETER_PREFIX}{name}" for name in varied if name in row["active"]}
    return {name: format_value(row[own]) for name, own in columns.items() if row[own] != baseline[own]}


def _words(part: tuple[str, str], baseline: Row) -> str:
    name, value = part
    return f"{name} {format_value(baseline[f'{PARAMETER_PREFIX}{name}'])} → {value}"
