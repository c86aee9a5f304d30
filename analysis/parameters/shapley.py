"""Shapley values: what each component of a prompt contributes to the score of all, from every combination of them.

Knows designs (`analysis.parameters.designs`); draws nothing.
"""

from collections.abc import Iterator
from itertools import product
from math import comb

import numpy as np
import polars as pl

from ablations.core.condition import PROMPT_PARAMETERS
from ablations.core.schema import Schema
from analysis.effects.families import family
from analysis.effects.intervals import Floats
from analysis.parameters.designs import Design, read_design

MOST_COMPONENTS = 12
SHAPLEY_SCHEMA: Schema = {
    "component": pl.String,
    **dict.fromkeys(("on", "off"), pl.String),
    **dict.fromkeys(("value", "low", "high", "p_value", "p_family", "bare"), pl.Float64),
    "n": pl.Int64,
}


def shapley_values(results: pl.DataFrame) -> pl.DataFrame:
    """Return the contribution of each on/off component; the contributions add up to full less bare prompt.

    Columns: component, on, off (its values), value, low, high (points; 95 % over queries, simultaneous over the
    components), p_value, p_family, bare (the bare prompt's mean score), n (queries).

    A component is a varied parameter with two values in the design: on is the baseline's. Each condition is a
    coalition of the components that are on; one that has no effect in a condition counts as on and as off, because
    the score is the same. The value is a component's mean gain over all orders in which components can be added to
    the bare prompt (Shapley 1953, Contributions to the Theory of Games II). Empty without all combinations, where
    trials come from an optimiser, or where fewer than two components vary so or none of them is of the prompt.
    """
    empty = pl.DataFrame(schema=SHAPLEY_SCHEMA)
    design = read_design(results)
    if isinstance(design, str) or design.baseline is None:
        return empty
    components = _components(design)
    if not 2 <= len(components) <= MOST_COMPONENTS or not set(components) & set(PROMPT_PARAMETERS):
        return empty
    members = _coalitions(design, components)
    if len(members) < 2 ** len(components):
        return empty
    weights = _weights(members, len(components), design.filled.shape[1])
    bare = float(design.filled[:, members[(False,) * len(components)]].mean())
    ends = [design.scores.ends.contrast(own) for own in weights]
    rows = []
    for (name, (on, off)), found in zip(components.items(), family(design.filled @ weights.T, ends), strict=True):
        if found is not None:
            numbers = (found.value, found.low, found.high, found.p_value, found.p_family, bare, found.n)
            rows.append((name, on, off, *numbers))
    return pl.DataFrame(rows, schema=SHAPLEY_SCHEMA, orient="row").sort("value", descending=True)


def _components(design: Design) -> dict[str, tuple[str, str]]:
    """Return the value that is on and the one that is off, by component."""
    found = {}
    for name, values in design.settings.items():
        different = {str(value) for value in values if value is not None}
        on = str(values[design.baseline])  # type: ignore[index]
        if len(different) == 2 and on in different:
            found[name] = (on, (different - {on}).pop())
    return found


def _coalitions(design: Design, components: dict[str, tuple[str, str]]) -> dict[tuple[bool, ...], list[int]]:
    """Return the conditions of each coalition; one in which another parameter moves as well belongs to none."""
    moved = [name for name in design.settings if name not in components]
    members: dict[tuple[bool, ...], list[int]] = {}
    for at in range(len(design.labels)):
        others = {name: design.settings[name] for name in moved}
        if any(values[at] is not None and values[at] != values[design.baseline] for values in others.values()):  # type: ignore[index]
            continue
        for coalition in _memberships(design, components, at):
            members.setdefault(coalition, []).append(at)
    return members


def _memberships(design: Design, components: dict[str, tuple[str, str]], at: int) -> Iterator[tuple[bool, ...]]:
    options = []
    for name, (on, _) in components.items():
        value = design.settings[name][at]
        options.append((True, False) if value is None else (str(value) == on,))
    yield from product(*options)


def _weights(members: dict[tuple[bool, ...], list[int]], k: int, n_conditions: int) -> Floats:
    """Return what each condition's score counts in each component's value, shape (components, conditions)."""
    weights = np.zeros((k, n_conditions))
    for coalition, conditions in members.items():
        size = sum(coalition)
        for at, on in enumerate(coalition):
            others = size - on
            share = 1 / (k * comb(k - 1, others))  # of the orders in which these others come before the component
            weights[at, conditions] += (share if on else -share) / len(conditions)
    return weights
