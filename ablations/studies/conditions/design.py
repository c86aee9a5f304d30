"""Designs: which settings an ablation evaluates, fixed before anything runs.

Knows neither Optuna nor engines. The order of `one-factor` is: the baseline, with an A/A replicate where it samples;
anchors of conditional parameters, likewise; one factor at a time, the nearest values first; pairs of factors moved
together; then settings that fill the space. A smaller number of trials is always the beginning of a larger one.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, count, islice, pairwise

from ablations.core.condition import NO_STOP, PROMPT_PARAMETERS, Condition
from ablations.core.prompt import Value
from ablations.core.records import Role
from ablations.studies.conditions.config import BARE_DESIGNS
from ablations.studies.config.space import Parameter, Range, SearchSpace, Values
from ablations.studies.engine.trial import DesignPoint

_FILL_ATTEMPTS = 1_024


@dataclass(frozen=True)
class DesignPlan:
    """Inputs of a design: the space, the baseline, and how values become a condition.

    `bare` are the values of the bare prompt, which `BARE_DESIGNS` need, and `listed` the conditions of the design
    `listed`; `design` is one of `config.DESIGNS`. Combinations that are not `possible` are no part of a grid. Where
    it is not `replicated`, the baseline has no A/A replicate.
    """

    space: SearchSpace
    baseline: Values
    to_condition: Callable[[Values], Condition]
    sampler: str
    design: str
    trials: int
    levels: int
    seed: int
    bare: Values | None = None
    listed: Sequence[Values] = ()
    possible: Callable[[Values], bool] = lambda values: True
    replicated: bool = True


def fixed_part(plan: DesignPlan) -> list[DesignPoint]:
    """Return the baseline, its A/A replicate and what the design fixes beside them."""
    baseline = plan.space.active(plan.baseline)
    points = [DesignPoint(baseline, Role.BASELINE)]
    if plan.replicated:
        points += _replicate(plan, baseline)
    fixed: list[DesignPoint] = []
    if plan.design == "one-factor":
        fixed = _one_factor(plan, baseline)
    elif plan.design in BARE_DESIGNS:
        fixed = _between(plan, baseline)
    elif plan.design == "listed":
        settings = [plan.space.active({**plan.baseline, **values}) for values in plan.listed]
        fixed = [DesignPoint(values, Role.LISTED, reference=baseline) for values in settings]
    return points + list(_new_ones(plan, fixed, points))


def make_design(plan: DesignPlan) -> list[DesignPoint]:
    """Return up to `plan.trials` points.

    There are fewer where the space has no more different conditions, and where the sampler adapts to
    results, so that only the fixed part can be known beforehand.
    """
    points = fixed_part(plan)
    filling = _new_ones(plan, (_fill(plan, values) for values in _filling(plan)), points)
    points += islice(filling, max(plan.trials - len(points), 0))
    return points[: plan.trials]


def _replicate(plan: DesignPlan, values: Values) -> list[DesignPoint]:
    """Return the A/A replicate of a condition that samples; greedy answers do not depend on the seed."""
    if not plan.to_condition(values).decoding.temperature:
        return []
    return [DesignPoint(values, Role.REPLICATE, replicate=1, reference=values)]


def _between(plan: DesignPlan, baseline: Values) -> list[DesignPoint]:
    """Return the bare prompt, and each component taken from the baseline or added to the bare prompt.

    A component without effect where it is added (the style of no demonstrations) makes no point.
    """
    bare = plan.space.active({**plan.baseline, **(plan.bare or {})})
    start, goal = (baseline, plan.bare or {}) if plan.design == "leave-one-out" else (bare, plan.baseline)
    points = [DesignPoint(bare, Role.ANCHOR, reference=baseline)]
    for parameter in plan.space.parameters:
        moved = plan.space.active({**plan.baseline, **start, parameter.name: goal[parameter.name]})
        if moved.get(parameter.name) != start.get(parameter.name) and parameter.name in moved:
            points.append(DesignPoint(moved, Role.ONE_FACTOR, varied=parameter.name, reference=start))
    return points


def _new_ones(plan: DesignPlan, points: Iterable[DesignPoint], before: Iterable[DesignPoint]) -> Iterator[DesignPoint]:
    """Yield the points whose condition neither one of `before` nor an earlier one of them has."""
    taken = {_identity(plan, point) for point in before}
    for point in points:
        if (identity := _identity(plan, point)) not in taken:
            taken.add(identity)
            yield point


def _fill(plan: DesignPlan, values: dict[str, Value]) -> DesignPoint:
    """Return a space-filling point; one that moves a single parameter from the baseline shows its effect as well."""
    baseline = plan.space.active(plan.baseline)
    moved = [name for name in values if name in baseline and values[name] != baseline[name]]
    switched_on = [name for name in values if name not in baseline]
    if len(moved) == 1 and all(values[name] == plan.baseline.get(name) for name in switched_on):
        return DesignPoint(values, Role.FILL, varied=moved[0], reference=baseline)
    return DesignPoint(values, Role.FILL)


def _identity(plan: DesignPlan, point: DesignPoint) -> tuple[str, int]:
    return plan.to_condition(point.values).condition_id, point.replicate


def _one_factor(plan: DesignPlan, baseline: Values) -> list[DesignPoint]:
    """Return one factor at a time, the parameters taking turns, so that a short study sees all of them; then pairs.

    A parameter without effect at the baseline (top-p under greedy decoding) is varied around an anchor:
    the baseline with the required parameter moved to the middle of its satisfying values. An anchor with
    sampling gets an A/A replicate of its own, because two greedy runs show no sampling noise.
    """
    anchors: list[DesignPoint] = []
    series: dict[str, list[DesignPoint]] = {}
    for parameter in plan.space.parameters:
        steps = _steps_to(plan, parameter, dict(baseline))
        for reference, anchor in pairwise(steps):
            anchors.append(DesignPoint(anchor, Role.ANCHOR, varied=_moved(anchor, reference), reference=reference))
            anchors += _replicate(plan, anchor)
        if steps:
            series[parameter.name] = _levels(plan, parameter, steps[-1])
    return [*anchors, *_round_robin(list(series.values())), *_joint(plan, baseline, series)]


def _levels(plan: DesignPlan, parameter: Parameter, around: Mapping[str, Value]) -> list[DesignPoint]:
    """Return the parameter's other values around a condition, the nearest first; choices in their order."""
    here = around.get(parameter.name)
    values = [value for value in parameter.domain.spread(plan.levels) if value != here]
    if isinstance(parameter.domain, Range) and here is not None:
        values.sort(key=parameter.domain.distance_from(here))  # of equals the lower one
    moved = [plan.space.active({**plan.baseline, **around, parameter.name: value}) for value in values]
    # Moving one parameter can switch others on (sampling at all switches top-p on): those stay at the baseline's value.
    return [DesignPoint(point, Role.ONE_FACTOR, varied=parameter.name, reference=around) for point in moved]


def _joint(plan: DesignPlan, baseline: Values, series: Mapping[str, Sequence[DesignPoint]]) -> list[DesignPoint]:
    """Return pairs of parameters moved together from the baseline, both to their nearest other value.

    Parameters that act at the baseline are paired, as long as each still acts where the other has moved. Pairs of
    a decoding parameter with a component of the prompt come first. Answers without a stop string run on into
    whatever comes next, which leaves nothing for another parameter to change: `none` is no such value of `stop`.
    """
    nearest: dict[str, Value] = {}
    for name, points in series.items():
        values = [point.values[name] for point in points if point.reference == baseline]
        if name == "stop":
            values = [value for value in values if value != NO_STOP]
        nearest |= {name: values[0]} if values else {}
    pairs = []
    for one, other in combinations(nearest, 2):
        together = {one: nearest[one], other: nearest[other]}
        moved = plan.space.active({**plan.baseline, **together})
        if together.items() <= moved.items():
            pairs.append((one, other, moved))
    pairs.sort(key=lambda pair: (pair[0] in PROMPT_PARAMETERS) == (pair[1] in PROMPT_PARAMETERS))
    return [DesignPoint(moved, Role.JOINT, reference=baseline) for _, _, moved in pairs]


def _steps_to(plan: DesignPlan, parameter: Parameter, start: dict[str, Value]) -> list[dict[str, Value]]:
    """Return `start` and the anchors that lead from it to where `parameter` has an effect; empty if none does.

    Each step moves one parameter; there are several where the required parameter has a requirement itself.
    """
    requirement = parameter.requires
    if requirement is None or parameter.active(start):
        return [start]
    parent = plan.space[requirement.parameter]
    steps = _steps_to(plan, parent, start)
    if steps and parameter.active(steps[-1]):
        return steps
    if not steps:
        return []
    domain = parent.domain
    listed = () if domain.continuous else domain.values()
    exact = (requirement.value,) if domain.contains(requirement.value) else ()
    levels = (domain.spread(plan.levels), listed, exact)
    # The space has seen to it that some value fits: a level if there is one, so that the trial serves twice.
    fitting = next(fit for values in levels if (fit := [v for v in values if requirement.holds({parent.name: v})]))
    middle = fitting[(len(fitting) - 1) // 2]
    return [*steps, plan.space.active({**plan.baseline, **steps[-1], parent.name: middle})]


def _moved(anchor: Values, baseline: Values) -> str:
    return next(name for name, value in anchor.items() if baseline.get(name) != value)


def _round_robin(series: list[list[DesignPoint]]) -> Iterator[DesignPoint]:
    longest = max((len(points) for points in series), default=0)
    for position in range(longest):
        yield from (points[position] for points in series if position < len(points))


def _filling(plan: DesignPlan) -> Iterator[dict[str, Value]]:
    if plan.design in (*BARE_DESIGNS, "listed"):
        return
    if plan.design == "factorial" or plan.sampler in ("grid", "brute"):
        settings = plan.space.grid()
        if plan.sampler == "brute":
            random.Random(plan.seed).shuffle(settings)
        yield from filter(plan.possible, settings)
    elif plan.sampler == "random":
        generator = random.Random(plan.seed)
        for _ in range(_attempts(plan)):
            yield plan.space.at_quantiles({name: generator.random() for name in plan.space.names})
    elif plan.sampler == "qmc":
        # Imported here: scipy.stats takes seconds, which a refused command should not cost.
        from scipy.stats import qmc

        # Scrambled Sobol points (Owen 1998) cover every projection evenly, whatever number is used.
        sequence = qmc.Sobol(d=len(plan.space.names), scramble=True, rng=plan.seed)
        blocks = (sequence.random_base2(max(sequence.num_generated.bit_length() - 1, 10)) for _ in count())
        for point in islice(chain.from_iterable(blocks), _attempts(plan)):
            yield plan.space.at_quantiles(dict(zip(plan.space.names, map(float, point), strict=True)))


def _attempts(plan: DesignPlan) -> int:
    """How many points are drawn at most: in a small space most of them repeat others."""
    domains = [parameter.domain for parameter in plan.space.parameters]
    settings = math.inf if any(one.continuous for one in domains) else math.prod(len(one.values()) for one in domains)
    return max(_FILL_ATTEMPTS, 16 * int(min(plan.trials, settings)))
