"""Marginals: the score along one parameter, averaged over whatever the others do.

Knows designs (`analysis.parameters.designs`); draws nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ablations.core.condition import format_value
from ablations.core.schema import Schema
from ablations.core.statistics import Ends
from analysis.effects.intervals import DRAWS, Floats, resampled_counts
from analysis.parameters.designs import read_design

MOST_LEVELS = 8
PAIR_SCHEMA: Schema = {
    **dict.fromkeys(("first_level", "second_level"), pl.String),
    **dict.fromkeys(("first_position", "second_position", "mean", "low", "high"), pl.Float64),
    **dict.fromkeys(("conditions", "queries"), pl.Int64),
}
MARGINAL_SCHEMA: Schema = {
    **dict.fromkeys(("parameter", "level"), pl.String),
    "numeric": pl.Boolean,
    **dict.fromkeys(("position", "mean", "low", "high"), pl.Float64),
    **dict.fromkeys(("conditions", "queries"), pl.Int64),
}


def marginal_curves(results: pl.DataFrame, seed: int = 0, draws: int = DRAWS) -> pl.DataFrame:
    """Return the mean score of the designed conditions at each level of each varied parameter.

    Columns: parameter, level (its value, or a range of values), numeric (whether values are numbers), position (its
    number, or the category's place), mean (points), low, high (95 % band), conditions, queries (numbers). A number
    with more than eight values is cut into eight levels of about as many conditions; conditions in which the
    parameter has no effect are in no level.

    The band resamples queries and conditions at once (the pigeonhole bootstrap of Owen 2007, Annals of Applied
    Statistics 1:2, which is rather too wide), after each query's own mean has been taken out, as for comparisons
    within subjects (Loftus and Masson 1994): it says how sure the shape of the curve is, not how hard the queries are.
    A level with one condition has the uncertainty of its queries alone; with one query there is no band. Empty where
    trials come from an optimiser.
    """
    design = read_design(results)
    if isinstance(design, str):
        return pl.DataFrame(schema=MARGINAL_SCHEMA)
    values = design.filled
    bands = _Bands(values, seed, draws, design.scores.ends)
    rows = [
        (name, text, _is_numeric(settings), position, *bands.of(members), len(members), len(values))
        for name, settings in design.settings.items()
        for text, position, members in _levels(settings)
    ]
    return pl.DataFrame(rows, schema=MARGINAL_SCHEMA, orient="row")


def pair_means(results: pl.DataFrame, first: str, second: str, seed: int = 0, draws: int = DRAWS) -> pl.DataFrame:
    """Return the mean score of the designed conditions at each pair of levels of two varied parameters.

    Columns: first_level, first_position, second_level, second_position, mean (points), low, high (95 % band),
    conditions, queries: levels and bands as in `marginal_curves`. Pairs without a condition are left out. Empty where
    trials come from an optimiser or one of the two is not varied.
    """
    design = read_design(results)
    if isinstance(design, str) or not {first, second} <= set(design.settings):
        return pl.DataFrame(schema=PAIR_SCHEMA)
    bands = _Bands(design.filled, seed, draws, design.scores.ends)
    rows = []
    for one, one_place, those in _levels(design.settings[first]):
        for other, other_place, these in _levels(design.settings[second]):
            if members := [at for at in those if at in these]:
                counts = (len(members), len(design.filled))
                rows.append((one, other, one_place, other_place, *bands.of(members), *counts))
    return pl.DataFrame(rows, schema=PAIR_SCHEMA, orient="row")


class _Bands:
    """Means of conditions with bands; `values` are scores without gaps, shape (queries, conditions)."""

    def __init__(self, values: Floats, seed: int, draws: int, ends: Ends) -> None:
        self._ends = ends
        self._level = float(values.mean())
        self._centred = values - values.mean(axis=1, keepdims=True)
        self._drawn = resampled_counts(len(values), draws, seed) @ self._centred / len(values)
        self._generator = np.random.default_rng(seed)

    def of(self, members: list[int]) -> tuple[float, float | None, float | None]:
        """Return the mean of some conditions and the ends of its band, which a single query does not have."""
        mean = self._level + float(self._centred[:, members].mean())
        if len(self._centred) < 2:
            return mean, None, None
        means = self._level + _over_conditions(self._drawn[:, members], self._generator)
        low, high = np.quantile(means, [0.025, 0.975])
        return mean, *self._ends.clip(float(low), float(high))


def _over_conditions(drawn: Floats, generator: np.random.Generator) -> Floats:
    """Return the mean over resampled conditions of each draw of queries, whose means are (draws, conditions)."""
    draws, n = drawn.shape
    counts = generator.multinomial(n, np.full(n, 1 / n), size=draws)
    means: Floats = (counts * drawn).sum(axis=1) / n
    return means


def _is_numeric(settings: Sequence[Any]) -> bool:
    return not any(isinstance(value, str) for value in settings)


def _levels(settings: Sequence[Any]) -> list[tuple[str, float, list[int]]]:
    """Return the levels of a parameter: text, position and the conditions in it."""
    acting = [at for at, value in enumerate(settings) if value is not None]
    different = sorted({settings[at] for at in acting})
    if not _is_numeric(settings):
        return [
            (value, float(place), [at for at in acting if settings[at] == value])
            for place, value in enumerate(different)
        ]
    if len(different) <= MOST_LEVELS:
        return [
            (format_value(value), float(value), [at for at in acting if settings[at] == value]) for value in different
        ]
    ordered = sorted(acting, key=lambda at: settings[at])
    edges = np.quantile([float(settings[at]) for at in ordered], np.linspace(0, 1, MOST_LEVELS + 1)[1:-1])
    parts: dict[int, list[int]] = {}
    for at in ordered:
        parts.setdefault(int(np.searchsorted(edges, float(settings[at]), side="right")), []).append(at)
    return [_range(settings, members) for members in parts.values()]


def _range(settings: Sequence[Any], members: list[int]) -> tuple[str, float, list[int]]:
    own = [settings[at] for at in members]
    low, high = format_value(min(own)), format_value(max(own))
    return low if low == high else f"{low} to {high}", float(np.mean(own)), members
