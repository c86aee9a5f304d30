"""Interactions: whether the effect of one parameter depends on another.

Knows designs (`analysis.effects.designs`); draws nothing.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from ablations.core.schema import Schema
from ablations.core.statistics import Ends
from analysis.effects.designs import read_design
from analysis.effects.intervals import Floats, mean_intervals
from analysis.effects.paired import holm, t_tests

_COLLINEAR = 1e-6
"""Share of an interaction's variation that main effects must leave, for it to have a size."""
_ALIASED = 0.95
"""Correlation from which the conditions do not tell two products apart."""
INTERACTION_SCHEMA: Schema = {
    **dict.fromkeys(("first", "second"), pl.String),
    **dict.fromkeys(("difference", "low", "high", "p_value", "p_holm"), pl.Float64),
    **dict.fromkeys(("n", "conditions"), pl.Int64),
    "reason": pl.String,
}


def interaction_effects(results: pl.DataFrame) -> pl.DataFrame:
    """Return how much the effect of each parameter changes with each other one: a difference of differences.

    Columns: first, second (parameters), difference, low, high (points: the effect of moving `first` through its whole
    range, at the far end of `second` less at its near end; 95 % over queries), p_value, p_holm (corrected for the
    pairs), n (queries), conditions, reason (why there is no figure; else null).

    For each query the scores of all designed conditions are regressed on the main effects of all parameters and the
    product of this pair. A number is coded from -1 at its lowest value to 1 at its highest, a category -1 for the
    baseline's value and 1 for any other, and 0 where the parameter has no effect, so that it is not dropped there. The
    product's coefficient x 4 is the difference of differences; its interval is over queries, with the conditions as
    they were designed. Products of other pairs are not in the model: with few conditions they may hide in this one, and
    where one cannot be told from this one at all there is no figure. Empty where trials come from an optimiser or the
    baseline is missing.
    """
    design = read_design(results)
    if isinstance(design, str) or design.baseline is None:
        return pl.DataFrame(schema=INTERACTION_SCHEMA)
    codes = {name: _coded(values, values[design.baseline]) for name, values in design.settings.items()}
    pairs = list(combinations(codes, 2))
    products = _products(codes, pairs)
    reasons = _reasons(products, pairs)
    rows: list[dict[str, object]] = [
        {"first": first, "second": second, "conditions": len(design.labels), "reason": reason}
        for (first, second), reason in zip(pairs, reasons, strict=True)
    ]
    known = [at for at, reason in enumerate(reasons) if reason is None]
    if known:
        weights = 4 * products[:, known] / (products[:, known] ** 2).sum(axis=0)
        _fill(rows, known, design.filled @ weights, design.scores.ends)
    return pl.DataFrame(rows, schema=INTERACTION_SCHEMA, orient="row")


def _fill(rows: list[dict[str, object]], known: Sequence[int], contrasts: Floats, ends: Ends) -> None:
    """Put figures into the rows that have one.

    Contrasts are those of the queries, shape (queries, len(known)), of scores with these ends.
    """
    ends = ends.differences(2)
    p_values = t_tests(contrasts, ends)
    corrected = holm(p_values)
    for place, at in enumerate(known):
        found = mean_intervals(contrasts[:, [place]], ends=ends)[0]
        if found is not None:
            numbers = {"difference": found.value, "low": found.low, "high": found.high, "n": found.n}
            rows[at] |= {**numbers, "p_value": p_values[place], "p_holm": corrected[place]}


def _coded(values: Sequence[Any], baseline: Any) -> Floats:
    """Return a parameter's code in each condition, -1 to 1, shape (conditions,)."""
    known = [value for value in values if value is not None]
    if isinstance(known[0], str):
        near = known[0] if baseline is None else baseline
        return np.array([0.0 if value is None else -1.0 if value == near else 1.0 for value in values])
    low, high = float(min(known)), float(max(known))
    span = high - low if high > low else 1.0
    return np.array([0.0 if value is None else 2 * (float(value) - low) / span - 1 for value in values])


def _products(codes: dict[str, Floats], pairs: Sequence[tuple[str, str]]) -> Floats:
    """Return what main effects leave of each pair's product, shape (conditions, pairs); 0 where that is nothing.

    By Frisch, Waugh and Lovell a product's coefficient in the joint regression is that on this rest.
    """
    if not pairs:
        return np.zeros((0, 0))
    products: Floats = np.column_stack([codes[first] * codes[second] for first, second in pairs])
    mains = np.column_stack([np.ones(len(products)), *codes.values()])
    left: Floats = products - mains @ np.linalg.lstsq(mains, products, rcond=None)[0]
    nothing = (left**2).sum(axis=0) <= _COLLINEAR * np.maximum((products**2).sum(axis=0), 1.0)
    left[:, nothing] = 0.0
    return left


def _reasons(products: Floats, pairs: Sequence[tuple[str, str]]) -> list[str | None]:
    """Return why a pair's interaction cannot be estimated, or None."""
    lengths = np.sqrt((products**2).sum(axis=0))
    directions = products / np.where(lengths > 0, lengths, 1.0)
    alike = np.abs(directions.T @ directions) > _ALIASED
    reasons: list[str | None] = []
    for at, length in enumerate(lengths):
        others = [other for other in np.flatnonzero(alike[at]) if other != at]
        if length == 0:
            reasons.append("the conditions do not tell this product from the effects of single parameters")
        elif others:
            first, second = pairs[others[0]]
            reasons.append(f"the conditions do not tell it from {first} × {second}")
        else:
            reasons.append(None)
    return reasons
