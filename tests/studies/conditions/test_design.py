"""Claims about designs: what is in them, in which order, and that a shorter one begins a longer one."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from ablations.core.condition import DECODING_PARAMETERS, PROMPT_PARAMETERS, Condition, DecodingParams
from ablations.core.records import Role
from ablations.prompts.components import build_parts
from ablations.studies.conditions.config import ConditionsConfig
from ablations.studies.conditions.design import DesignPlan, make_design
from ablations.studies.config.file import find_study_file
from ablations.studies.config.space import Choices, Parameter, Range, Requirement, SearchSpace, Values
from ablations.studies.engine.trial import DesignPoint
from tests.support.specs import inside, load

SAMPLERS = ("qmc", "random", "grid", "brute")
BEYOND_ALL = 10_000

TEMPERATURE = Parameter("temperature", Range(0.0, 1.2, 0.4))
TOP_P = Parameter("top_p", Choices((0.5, 0.8, 1.0)), Requirement.parse("temperature > 0"))
MIN_P = Parameter("min_p", Choices((0.0, 0.1)), Requirement.parse("temperature > 0"))
PENALTY = Parameter("repetition_penalty", Range(1.0, 1.2, 0.1))
STOP = Parameter("stop", Choices(("headings", "none")))
NESTED = Parameter("min_p", Choices((0.0, 0.1)), Requirement.parse("top_p < 1"))
GREEDY: dict[str, Any] = {
    "temperature": 0.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.1,
    "stop": "headings",
    "max_tokens": 48,
    "shots": 1,
}
SAMPLED: dict[str, Any] = GREEDY | {"temperature": 0.8}


def conditions_around(baseline: Values) -> Callable[[Values], Condition]:
    def to_condition(values: Values) -> Condition:
        full: dict[str, Any] = {**baseline, **values}
        decoding = DecodingParams(**{name: full[name] for name in DECODING_PARAMETERS if name in full})
        return Condition(decoding, build_parts(**{name: full[name] for name in PROMPT_PARAMETERS if name in full}))

    return to_condition


def make_plan(*parameters: Parameter, baseline: Values = GREEDY, **changes: Any) -> DesignPlan:
    plan = DesignPlan(
        space=SearchSpace(parameters or (TEMPERATURE, TOP_P, MIN_P, PENALTY, STOP)),
        baseline=baseline,
        to_condition=conditions_around(baseline),
        sampler="qmc",
        design="factorial" if changes.get("sampler", "qmc") in ("grid", "brute") else "one-factor",
        trials=60,
        levels=3,
        seed=0,
    )
    return dataclasses.replace(plan, **changes)


def shipped_plan(name: str) -> DesignPlan:
    config = load(find_study_file(name))
    kind = config.kind
    assert isinstance(kind, ConditionsConfig)
    plan = make_plan(baseline=config.baseline, sampler=kind.sampler, trials=kind.trials)
    return dataclasses.replace(plan, space=config.space)


PLANS = {
    **{f"greedy {sampler}": make_plan(sampler=sampler) for sampler in SAMPLERS},
    **{f"sampled {sampler}": make_plan(sampler=sampler, baseline=SAMPLED) for sampler in SAMPLERS},
    "nested requirement": make_plan(TEMPERATURE, TOP_P, NESTED),
    "shots": make_plan(Parameter("shots", Range(0, 4, integer=True)), TEMPERATURE),
    "decoding": shipped_plan("decoding"),
    "decoding_grid": shipped_plan("decoding_grid"),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def keys(plan: DesignPlan, points: list[DesignPoint]) -> list[tuple[str, int]]:
    return [(plan.to_condition(point.values).condition_id, point.replicate) for point in points]


@every_plan
def test_the_baseline_comes_first_and_then_its_replicate_where_it_samples(plan: DesignPlan) -> None:
    first, second = make_design(plan)[:2]
    assert (first.role, first.replicate, first.values) == (Role.BASELINE, 0, plan.space.active(plan.baseline))
    repeated = DesignPoint(first.values, Role.REPLICATE, replicate=1, reference=first.values)
    assert (second == repeated) is (plan.baseline["temperature"] > 0)
    greedy = [point for point in make_design(plan) if point.replicate and not point.values.get("temperature")]
    assert all(plan.baseline["temperature"] > 0 and "temperature" not in point.values for point in greedy)


@every_plan
def test_no_condition_is_evaluated_twice_with_the_same_seeds(plan: DesignPlan) -> None:
    pairs = keys(plan, make_design(plan))
    assert len(pairs) == len(set(pairs)) > 2


@every_plan
def test_all_points_lie_inside_the_space_and_hold_active_parameters_alone(plan: DesignPlan) -> None:
    for point in make_design(plan):
        assert inside(plan.space, point.values), point
        assert plan.space.active(point.values) == point.values


@every_plan
def test_a_point_differs_from_its_reference_in_the_varied_parameter_and_what_it_switches_on(plan: DesignPlan) -> None:
    compared = [point for point in make_design(plan) if point.role in (Role.ONE_FACTOR, Role.ANCHOR)]
    for point in compared:
        assert point.reference is not None
        moved = {n for n, value in point.values.items() if n in point.reference and point.reference[n] != value}
        switched_on = set(point.values) - set(point.reference)
        assert moved == {point.varied}
        assert all(plan.space[name].requires is not None for name in switched_on)
        assert {name: point.values[name] for name in switched_on} == {n: plan.baseline[n] for n in switched_on}
    assert bool(compared) is (plan.design == "one-factor")


@every_plan
def test_every_reference_is_evaluated_before_what_is_compared_with_it(plan: DesignPlan) -> None:
    evaluated: list[Any] = []
    for point in make_design(plan):
        assert point.reference is None or point.reference in evaluated
        evaluated.append(point.values)


@pytest.mark.parametrize("sampler", ["qmc", "random"])
def test_a_long_study_gets_all_of_its_trials_where_the_space_has_them(sampler: str) -> None:
    ranges = [Parameter(name, Range(0.0, 2.0)) for name in ("presence_penalty", "frequency_penalty")]
    plan = make_plan(*ranges, sampler=sampler, trials=3_000)
    points = make_design(plan)
    assert len(set(keys(plan, points))) == len(points) == 3_000
    assert make_design(make_plan(*ranges, sampler=sampler, trials=1_000)) == points[:1_000]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("baseline", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_shorter_design_is_the_beginning_of_a_longer_one(sampler: str, baseline: Values) -> None:
    longest = make_design(make_plan(sampler=sampler, baseline=baseline, trials=60))
    for trials in (1, 2, 5, 13, 30, 59):
        assert make_design(make_plan(sampler=sampler, baseline=baseline, trials=trials)) == longest[:trials]


@pytest.mark.parametrize("sampler", ["qmc", "random", "brute"])
def test_a_seed_decides_the_filling_and_nothing_before_it(sampler: str) -> None:
    one, again, other = (make_design(make_plan(sampler=sampler, seed=seed)) for seed in (3, 3, 4))
    fixed = next(index for index, point in enumerate(one) if point.role == Role.FILL)
    assert one == again
    assert one[:fixed] == other[:fixed]
    assert one[fixed:] != other[fixed:]


@pytest.mark.parametrize("sampler", ["grid", "brute"])
def test_a_full_grid_evaluates_every_different_condition_once(sampler: str) -> None:
    plan = make_plan(sampler=sampler, trials=BEYOND_ALL)
    points = make_design(plan)
    expected = {plan.to_condition(values).condition_id for values in plan.space.grid()}
    assert {identity for identity, _ in keys(plan, points)} == expected
    assert len(points) == len(expected)


def test_the_shipped_grid_has_105_conditions() -> None:
    assert len(make_design(shipped_plan("decoding_grid"))) == 105


def test_brute_shuffles_what_grid_walks_in_order() -> None:
    grid, brute = (make_design(make_plan(sampler=name, trials=BEYOND_ALL)) for name in ("grid", "brute"))
    assert grid != brute
    assert all(point in brute for point in grid)


def test_a_parameter_without_effect_at_the_baseline_is_varied_around_an_anchor() -> None:
    points = make_design(make_plan())
    anchors = [point for point in points if point.role == Role.ANCHOR]
    anchor = {"temperature": 0.8, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.1, "stop": "headings"}
    assert [(point.values, point.varied) for point in anchors] == [(anchor, "temperature")]
    varied = [point for point in points if point.role == Role.ONE_FACTOR and point.varied == "top_p"]
    assert sorted(point.values["top_p"] for point in varied) == [0.5, 0.8]
    assert all(point.reference == anchor for point in varied)


def test_an_anchor_has_a_replicate_of_its_own() -> None:
    points = make_design(make_plan())
    at = next(index for index, point in enumerate(points) if point.role == Role.ANCHOR)
    assert points[at + 1] == DesignPoint(points[at].values, Role.REPLICATE, replicate=1, reference=points[at].values)


def test_a_sampled_baseline_needs_no_anchor() -> None:
    points = make_design(make_plan(baseline=SAMPLED))
    assert {point.role for point in points} == {Role.BASELINE, Role.REPLICATE, Role.ONE_FACTOR, Role.JOINT, Role.FILL}
    assert {point.varied for point in points if point.role == Role.ONE_FACTOR} == set(make_plan().space.names)


def test_a_requirement_of_a_required_parameter_is_reached_in_two_steps() -> None:
    points = make_design(PLANS["nested requirement"])
    anchors = [point for point in points if point.role == Role.ANCHOR]
    assert [point.varied for point in anchors] == ["temperature", "top_p"]
    assert anchors[1].reference == anchors[0].values
    [varied] = [point for point in points if point.role == Role.ONE_FACTOR and point.varied == "min_p"]
    assert varied.reference == anchors[1].values


def test_a_grid_point_that_moves_one_parameter_shows_its_effect() -> None:
    points = make_design(make_plan(sampler="grid", trials=BEYOND_ALL))
    baseline = points[0].values
    moved = [point for point in points if point.role == Role.FILL and point.varied is not None]
    assert {point.varied for point in moved} >= {"temperature", "repetition_penalty", "stop"}
    for point in moved:
        assert point.reference == baseline
        assert [name for name in baseline if point.values[name] != baseline[name]] == [point.varied]


def test_an_anchor_that_no_level_gives_is_a_value_that_fits() -> None:
    rare = Parameter("top_p", Choices((0.5, 1.0)), Requirement.parse("temperature == 0.4"))
    points = make_design(make_plan(Parameter("temperature", Range(0.0, 1.2, step=0.4)), rare, levels=2))
    assert [point.values["temperature"] for point in points if point.role == Role.ANCHOR] == [0.4]


def test_parameters_take_turns_so_that_a_short_study_sees_all_of_them() -> None:
    plan = make_plan(TEMPERATURE, PENALTY, STOP)
    points = [point for point in make_design(plan) if point.role == Role.ONE_FACTOR]
    assert [point.varied for point in points[:3]] == ["temperature", "repetition_penalty", "stop"]


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_a_range_is_varied_at_so_many_levels(levels: int) -> None:
    domain = Range(0.0, 1.2, 0.1)
    points = make_design(make_plan(Parameter("temperature", domain), levels=levels))
    seen = {point.values["temperature"] for point in points if point.role != Role.FILL}
    assert seen == set(domain.spread(levels))


def test_a_design_ends_where_the_space_has_no_more_conditions() -> None:
    plan = make_plan(TEMPERATURE, STOP, trials=BEYOND_ALL)
    assert len(make_design(plan)) == 4 * 2


def test_a_sampler_that_adapts_gets_the_fixed_part_alone() -> None:
    points = make_design(make_plan(sampler="tpe", design="sampled"))
    assert [point.role for point in points] == [Role.BASELINE]
    sampled = make_design(make_plan(sampler="tpe", design="sampled", baseline=SAMPLED))
    assert [point.role for point in sampled] == [Role.BASELINE, Role.REPLICATE]


def test_single_changes_come_nearest_first_and_choices_in_their_order() -> None:
    penalty = Parameter("repetition_penalty", Range(1.0, 1.3, 0.1))
    most = Parameter("min_p", Range(0.01, 1.0, log=True))
    stop = Parameter("stop", Choices(("none", "headings", "fence")))
    plan = make_plan(penalty, stop, most, baseline=SAMPLED | {"min_p": 0.1}, levels=5)
    moved: dict[str, list[Any]] = {}
    for point in make_design(plan):
        if point.role == Role.ONE_FACTOR:
            moved.setdefault(str(point.varied), []).append(point.values[str(point.varied)])
    assert moved["repetition_penalty"] == [1.0, 1.2, 1.3]
    assert moved["stop"] == ["none", "fence"]
    assert moved["min_p"] == pytest.approx([0.0316227766, 0.316227766, 0.01, 1.0])


def joint(plan: DesignPlan) -> list[dict[str, Any]]:
    """What each joint condition sets otherwise than the baseline."""
    points = [point for point in make_design(plan) if point.role == Role.JOINT]
    assert all(point.reference == plan.space.active(plan.baseline) for point in points)
    return [{n: v for n, v in point.values.items() if n in plan.baseline and v != plan.baseline[n]} for point in points]


def test_pairs_are_moved_together_to_their_nearest_other_values_but_never_to_no_stop_string() -> None:
    tokens = Parameter("max_tokens", Choices((48, 16)))
    assert joint(make_plan(TEMPERATURE, TOP_P, PENALTY, tokens, STOP, trials=BEYOND_ALL)) == [
        {"temperature": 0.8, "repetition_penalty": 1.0},
        {"temperature": 0.8, "max_tokens": 16},
        {"repetition_penalty": 1.0, "max_tokens": 16},
    ]
    stop = Parameter("stop", Choices(("none", "headings", "fence")))
    assert joint(make_plan(PENALTY, stop)) == [{"repetition_penalty": 1.0, "stop": "fence"}]


def test_pairs_of_decoding_and_prompt_come_first_and_a_pair_that_switches_one_off_is_none() -> None:
    shown = Parameter("shots", Choices((3, 0)))
    baseline = GREEDY | {"shots": 3, "style": "warm", "system_prompt": "full"}
    pairs = joint(make_plan(TEMPERATURE, PENALTY, RULES, shown, STYLE, baseline=baseline))
    assert [set(pair) for pair in pairs] == [
        {"temperature", "system_prompt"},
        {"temperature", "shots"},
        {"temperature", "style"},
        {"repetition_penalty", "system_prompt"},
        {"repetition_penalty", "shots"},
        {"repetition_penalty", "style"},
        {"temperature", "repetition_penalty"},
        {"system_prompt", "shots"},
        {"system_prompt", "style"},
    ]


def test_what_fills_the_space_comes_after_all_pairs() -> None:
    roles = [point.role for point in make_design(make_plan())]
    assert roles.index(Role.JOINT) > max(at for at, role in enumerate(roles) if role == Role.ONE_FACTOR)
    assert roles.index(Role.FILL) > max(at for at, role in enumerate(roles) if role == Role.JOINT)
    assert Role.JOINT not in {point.role for design in ("sampled", "factorial") for point in bare_design(design)}


RULES = Parameter("system_prompt", Choices(("full", "short", "none")))
SHOWN = Parameter("shots", Range(0, 4, integer=True))
STYLE = Parameter("style", Choices(("warm", "plain")), Requirement.parse("shots > 0"))
FULL: dict[str, Any] = {"system_prompt": "full", "shots": 3, "style": "warm", "stop": "headings"}
BARE: dict[str, Any] = {"system_prompt": "none", "shots": 0, "style": "plain", "stop": "none"}


def bare_design(design: str) -> list[DesignPoint]:
    return make_design(bare_plan(design))


def bare_plan(design: str) -> DesignPlan:
    return make_plan(RULES, SHOWN, STYLE, STOP, baseline=FULL, design=design, bare=BARE)


def test_leave_one_out_takes_each_component_from_the_full_prompt() -> None:
    points = make_design(bare_plan("leave-one-out"))
    assert [point.role for point in points] == [Role.BASELINE, Role.ANCHOR, *[Role.ONE_FACTOR] * 4]
    assert points[1].values == {"system_prompt": "none", "shots": 0, "stop": "none"}
    moved = {point.varied: point.values for point in points[2:]}
    assert moved == {
        "system_prompt": FULL | {"system_prompt": "none"},
        "shots": {"system_prompt": "full", "shots": 0, "stop": "headings"},
        "style": FULL | {"style": "plain"},
        "stop": FULL | {"stop": "none"},
    }
    assert all(point.reference == FULL for point in points[2:])


def test_add_one_in_adds_each_component_to_the_bare_prompt_where_it_has_an_effect() -> None:
    points = make_design(bare_plan("add-one-in"))
    bare = {"system_prompt": "none", "shots": 0, "stop": "none"}
    moved = {point.varied: point.values for point in points[2:]}
    assert moved == {
        "system_prompt": bare | {"system_prompt": "full"},
        "shots": bare | {"shots": 3, "style": "warm"},  # with the style of the full prompt
        "stop": bare | {"stop": "headings"},
    }
    assert all(point.reference == bare for point in points[2:])


def test_a_factorial_design_has_every_combination_once() -> None:
    plan = bare_plan("factorial")
    points = make_design(plan)
    assert len(points) == 3 * (1 + 4 * 2) * 2  # without demonstrations there is no style
    assert len(set(keys(plan, points))) == len(points)


def test_a_sampled_design_fills_the_space_behind_the_baseline() -> None:
    points = make_design(dataclasses.replace(bare_plan("sampled"), trials=12))
    assert [point.role for point in points] == [Role.BASELINE, *[Role.FILL] * 11]
