"""Curves: how scores move with the number of demonstrations, by where these come from.

Knows result frames; draws nothing. Draws of one source are averaged for each query first, so that a query stays the
unit.
"""

import numpy as np
import polars as pl

from analysis.effects.intervals import mean_intervals, paired_interval
from analysis.effects.paired import baseline_trial
from analysis.frames import ends_of, nested_scores, trial_table, varied_parameters

_NUMBERS = dict.fromkeys(("mean", "difference", "low", "high", "lowest_draw", "highest_draw"), pl.Float64)
CURVE_SCHEMA = {
    "source": pl.String,
    "shots": pl.Int64,
    "draws": pl.Int64,
    **_NUMBERS,
    "n": pl.Int64,
    "prompt_tokens": pl.Float64,
}
SCALING_SCHEMA = {
    "source": pl.String,
    **dict.fromkeys(("slope", "slope_low", "slope_high", "bend", "bend_low", "bend_high"), pl.Float64),
    **dict.fromkeys(("numbers", "n"), pl.Int64),
}
CONTRAST_SCHEMA = {
    "source": pl.String,
    "against": pl.String,
    "shots": pl.Int64,
    **dict.fromkeys(("difference", "low", "high"), pl.Float64),
    "n": pl.Int64,
}


def demonstration_curve(results: pl.DataFrame) -> pl.DataFrame:
    """Return the score of each source and number of demonstrations against the baseline.

    Columns: source, shots, draws (random draws that are averaged), mean (points), difference, low, high
    (paired with the baseline over queries, 95 %), lowest_draw, highest_draw (means of single draws), n (queries),
    prompt_tokens (mean per request). Empty where the study does not vary the source or varies more than source, number
    and draw, since a curve would average over the rest, and where the baseline is missing.
    """
    baseline, scores = baseline_trial(results), _source_scores(results)
    if baseline is None or scores.is_empty():
        return pl.DataFrame(schema=CURVE_SCHEMA)
    zero = nested_scores(results).filter(pl.col("trial") == baseline).select("query_id", base="score")
    rows = []
    for (source, number), own in scores.group_by("source", "shots", maintain_order=True):
        by_query = own.group_by("query_id").agg(pl.col("score").mean()).join(zero, on="query_id").sort("query_id")
        if by_query.is_empty():
            continue
        draws = own.group_by("trial").agg(pl.col("score").mean()).get_column("score")
        interval = paired_interval(_array(by_query, "score"), _array(by_query, "base"), ends=ends_of(results))
        tokens = own.get_column("prompt_tokens").mean()
        numbers = (float(own.get_column("score").mean()), interval.value, interval.low, interval.high)  # type: ignore[arg-type]
        rows.append((source, number, len(draws), *numbers, draws.min(), draws.max(), interval.n, tokens))
    return pl.DataFrame(rows, schema=CURVE_SCHEMA, orient="row").sort("source", "shots")


def scaling_slopes(results: pl.DataFrame) -> pl.DataFrame:
    """Return how the score of each source grows with the number of demonstrations, and whether growth slows down.

    Columns: source, slope, slope_low, slope_high (points for each doubling, least squares over all numbers from 1 on,
    95 % over queries), bend, bend_low, bend_high (points per doubling in the upper half of the numbers less that in the
    lower half: below 0 where the curve flattens; null below three numbers), numbers, n (queries scored at each of
    them). Random draws are averaged. A source with a single number is left out.
    """
    scores, rows = _source_scores(results), []
    for (source,), own in scores.group_by("source", maintain_order=True):
        wide = own.group_by("query_id", "shots").agg(pl.col("score").mean())
        table = wide.sort("shots").pivot("shots", index="query_id", values="score").drop_nulls().sort("query_id")
        numbers = [int(name) for name in table.columns[1:]]
        if len(numbers) < 2 or table.is_empty():
            continue
        doublings = np.log2(numbers)
        centred = doublings - doublings.mean()
        values = table.drop("query_id").to_numpy().astype(np.float64)
        weights = [centred / (centred @ centred)]
        if len(numbers) > 2:
            middle = len(numbers) // 2
            bend = np.zeros(len(numbers))
            for sign, start, end in ((-1, 0, middle), (1, middle, len(numbers) - 1)):
                rise = sign / (doublings[end] - doublings[start])
                bend[end], bend[start] = bend[end] + rise, bend[start] - rise
            weights.append(bend)
        of_scores = ends_of(results)
        found = [mean_intervals((values @ own)[:, None], ends=of_scores.contrast(own))[0] for own in weights]
        bounds = [number for one in found if one is not None for number in (one.value, one.low, one.high)]
        rows.append((source, *bounds, *[None] * (6 - len(bounds)), len(numbers), len(values)))
    return pl.DataFrame(rows, schema=SCALING_SCHEMA, orient="row")


def source_contrasts(results: pl.DataFrame) -> pl.DataFrame:
    """Return each source against each earlier one by name, with as many demonstrations asked for.

    Columns: source, against, shots, difference, low, high (points, paired over queries, 95 %), n (queries).
    """
    scores = _source_scores(results)
    rows = []
    for (number,), own in scores.group_by("shots", maintain_order=True):
        wide = own.group_by("query_id", "source").agg(pl.col("score").mean())
        names = sorted(wide.get_column("source").unique())
        table = wide.pivot("source", index="query_id", values="score").sort("query_id")
        for index, against in enumerate(names):
            for source in names[index + 1 :]:
                known = table.drop_nulls([source, against])
                if len(known):
                    found = paired_interval(_array(known, source), _array(known, against), ends=ends_of(results))
                    rows.append((source, against, number, found.value, found.low, found.high, found.n))
    return pl.DataFrame(rows, schema=CONTRAST_SCHEMA, orient="row").sort("shots", "source", "against")


def _source_scores(results: pl.DataFrame) -> pl.DataFrame:
    """Return scores of trials with demonstrations: trial, query_id, score, source, shots, prompt_tokens."""
    varied = set(varied_parameters(results))
    if "source" not in varied or not varied <= {"source", "shots", "draw"}:
        return pl.DataFrame(
            schema={"trial": pl.Int64, "query_id": pl.String, "score": pl.Float64, "source": pl.String}
            | {"shots": pl.Int64, "prompt_tokens": pl.Float64}
        )
    tokens = results.group_by("trial").agg(pl.col("prompt_tokens").mean())
    described = (
        trial_table(results)
        .filter((pl.col("replicate") == 0) & (pl.col("param.shots") > 0))
        .select("trial", source="param.source", shots="param.shots")
        .join(tokens, on="trial")
    )
    return nested_scores(results).join(described, on="trial").sort("source", "shots", "trial")


def _array(frame: pl.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return frame.get_column(column).cast(pl.Float64).to_numpy().astype(np.float64)
