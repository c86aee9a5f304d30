"""Shapley values: what each component of a prompt contributes to the score of all of them together.

Knows designs (`analysis.effects.designs`); draws nothing.
"""

from collections.abc import Iterator
from itertools import product
from math import comb

import numpy as np
import polars as pl

from ablations.core.condition import PROMPT_PARAMETERS
from ablations.core.schema import Schema
from analysis.effects.designs import Design, read_design
from analysis.effects.intervals import Floats, mean_intervals
from analysis.effects.paired import holm, t_tests

MOST_COMPONENTS = 12
SHAPLEY_SCHEMA: Schema = {
    "component": pl.String,
    **dict.fromkeys(("on", "off"), pl.String),
    **dict.fromkeys(("value", "low", "high", "p_value", "p_holm"), pl.Float64),
    "bare": pl.Float64,
    "n": pl.Int64,
    **dict.fromkeys(("coalitions", "of"), pl.Int64),
    "method": pl.String,
}


def shapley_values(results: pl.DataFrame) -> pl.DataFrame:
    """Return the contribution of each on/off component; the contributions add up to full less bare prompt.

    Columns: component, on, off (its values), value, low, high (points, 95 % over queries), p_value, p_holm, bare
    (the bare prompt's mean score), n (queries), coalitions (different combinations seen) of (all), method.

    A component is a varied parameter with two values in the design: on is the baseline's. Each condition is a
    coalition of the components that are on; one that has no effect in a condition counts as on and as off, because
    the score is the same. The values solve the weighted least squares of Lundberg and Lee (2017, NeurIPS,
    theorem 2) for each query, under the constraint that they add up to the full less the bare prompt's score. With
    all combinations (method `exact`) that is the Shapley value; with the full and the bare prompt and one component
    missing at a time (`leave-one-out`) it is each component's loss plus an equal share of what these losses leave, the
    equal surplus; with other combinations (`least squares`) it is an estimate. Empty where trials come from an
    optimiser, fewer than two components vary so or none of them is of the prompt, the full or the bare prompt is
    missing, or the combinations do not tell the components apart.
    """
    empty = pl.DataFrame(schema=SHAPLEY_SCHEMA)
    design = read_design(results)
    if isinstance(design, str) or design.baseline is None:
        return empty
    components = _components(design)
    if not 2 <= len(components) <= MOST_COMPONENTS or not set(components) & set(PROMPT_PARAMETERS):
        return empty
    members = _coalitions(design, components)
    solved = _solve(members, len(components), design.filled.shape[1])
    if solved is None:
        return empty
    contributions = design.filled @ solved.T
    bare = float(design.filled[:, members[(False,) * len(components)]].mean())
    sizes = {sum(coalition) for coalition in members}
    method = (
        "exact"
        if len(members) == 2 ** len(components)
        else "leave-one-out"
        if sizes <= {0, len(components) - 1, len(components)}
        else "least squares"
    )
    ends = design.scores.ends.differences()
    p_values = t_tests(contributions, ends)
    corrected = holm(p_values)
    rows = []
    for at, (name, (on, off)) in enumerate(components.items()):
        found = mean_intervals(contributions[:, [at]], ends=ends)[0]
        if found is not None:
            numbers = (found.value, found.low, found.high, p_values[at], corrected[at], bare, found.n)
            rows.append((name, on, off, *numbers, len(members), 2 ** len(components), method))
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


def _solve(members: dict[tuple[bool, ...], list[int]], k: int, n_conditions: int) -> Floats | None:
    """Return what each condition's score counts in each contribution, shape (components, conditions), or None."""
    full, bare = (True,) * k, (False,) * k
    if full not in members or bare not in members:
        return None
    worth = {coalition: _averaging(own, n_conditions) for coalition, own in members.items()}
    total = worth[full] - worth[bare]
    inner = [coalition for coalition in members if coalition not in (full, bare)]
    rows = np.array(inner, dtype=np.float64).reshape(len(inner), k)
    # The last contribution is what the others leave of the total, so that the constraint holds.
    reduced = rows[:, :-1] - rows[:, [-1]]
    if (
        not inner or np.linalg.matrix_rank(rows) < k
    ):  # without the constraint: what it alone tells of a component is the remainder
        return None
    kernel = np.array([(k - 1) / (comb(k, sum(one)) * sum(one) * (k - sum(one))) for one in inner])
    targets = np.array([worth[one] - worth[bare] for one in inner]) - rows[:, [-1]] * total
    root = np.sqrt(kernel)[:, None]
    first = np.linalg.lstsq(root * reduced, root * targets, rcond=None)[0]
    solved: Floats = np.vstack([first, total - first.sum(axis=0)])
    return solved


def _averaging(conditions: list[int], n_conditions: int) -> Floats:
    weights = np.zeros(n_conditions)
    weights[conditions] = 1 / len(conditions)
    return weights
