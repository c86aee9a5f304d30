"""Claims about search spaces: domains, requirements, and what Optuna is asked for."""

import math
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from ablations.core.errors import SearchSpaceError
from ablations.studies.config.space import Choices, Parameter, Range, Requirement, SearchSpace, typed_value
from tests.support.specs import inside

TEMPERATURE = Parameter("temperature", Range(0.0, 1.0, 0.5))
TOP_P = Parameter("top_p", Choices((0.5, 0.9, 1.0)), Requirement("temperature", ">", 0.0))
MIN_P = Parameter("min_p", Choices((0.0, 0.1)), Requirement("top_p", "<", 1.0))
STOP = Parameter("stop", Choices(("headings", ("\n\n", "User:"))))
SPACE = SearchSpace((TEMPERATURE, TOP_P, MIN_P))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 1.0, "high": 1.0}, "low = 1, high = 1 is empty; low must be below high"),
        ({"low": 2.0, "high": 1.0}, "low = 2, high = 1 is empty"),
        ({"low": 0.0, "high": math.inf}, "high = inf is empty"),
        ({"low": math.nan, "high": 1.0}, "low = nan"),
        ({"low": 0.0, "high": 1.0, "step": 0.0}, "step = 0 does not fit"),
        ({"low": 0.0, "high": 1.0, "step": 2.0}, "give a step above 0 up to 1"),
        ({"low": 0.0, "high": 1.0, "step": 0.3}, "end the range at 0.9"),
        ({"low": 0.0, "high": 1.0, "log": True}, "log = true needs low above 0"),
        ({"low": 0.1, "high": 1.0, "log": True, "step": 0.1}, "no step"),
        ({"low": 1.5, "high": 4.5, "integer": True}, "whole numbers"),
        ({"low": 1, "high": 2, "step": 0.5, "integer": True}, "whole numbers"),
    ],
)
def test_an_impossible_range_is_refused_with_its_numbers(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        Range(**arguments)


@pytest.mark.parametrize(
    ("low", "high", "step", "values"),
    [
        (0.8, 1.0, 0.2, (0.8, 1.0)),  # floating point makes the difference a little less than the step
        (0.7, 1.0, 0.3, (0.7, 1.0)),
        (0.1, 0.7, 0.2, (0.1, 0.3, 0.5, 0.7)),
        (0.0, 0.9, 0.3, (0.0, 0.3, 0.6, 0.9)),
        (-0.3, 0.0, 0.1, (-0.3, -0.2, -0.1, 0.0)),
    ],
)
def test_steps_that_floating_point_spoils_are_taken(
    low: float, high: float, step: float, values: tuple[float, ...]
) -> None:
    domain = Range(low, high, step)
    assert domain.values() == values
    assert all(domain.contains(value) for value in values)
    assert FloatDistribution(low, high, step=step).high == high


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Range(0.0, 1.2, 0.1), [0.0, 0.3, 0.1 + 0.2, 1.2], [-0.1, 0.25, 1.3, True, "0.3"]),
        (Range(0.5, 1.0), [0.5, 0.777, 1.0], [0.49, 1.01]),
        (Range(1, 10, integer=True), [1, 7, 10, 7.0], [0, 2.5, 11]),
        (Range(16, 80, 16, integer=True), [16, 48, 80], [24, 96]),
        (Choices(("headings", ("a", "b"))), ["headings", ("a", "b")], ["none", ("b", "a")]),
    ],
)
def test_a_domain_contains_its_values_and_nothing_else(domain: Any, inside: list[Any], outside: list[Any]) -> None:
    assert [value for value in inside if not domain.contains(value)] == []
    assert [value for value in outside if domain.contains(value)] == []


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (Range(0.0, 0.5, 0.1), (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        (Range(1.0, 1.3, 0.05), (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3)),
        (Range(16, 48, 16, integer=True), (16, 32, 48)),
        (Range(1, 4, integer=True), (1, 2, 3, 4)),
    ],
)
def test_a_grid_lists_exact_values_from_end_to_end(domain: Range, values: tuple[float, ...]) -> None:
    assert domain.values() == values
    assert {type(value) for value in domain.values()} == {int if domain.integer else float}


def test_a_grid_through_zero_holds_no_negative_zero() -> None:
    assert repr(Range(-0.9, 0.9, 0.3).values()[3]) == "0.0"


def test_a_continuous_range_has_no_grid() -> None:
    with pytest.raises(SearchSpaceError, match=r"0\.5 to 1 is continuous.*give it a step, or choices"):
        Range(0.5, 1.0).values()


@pytest.mark.parametrize(
    ("domain", "shares", "values"),
    [
        (Range(0.0, 1.0, 0.5), (0.0, 0.34, 0.99, 1.0), (0.0, 0.5, 1.0, 1.0)),
        (Range(0.0, 2.0), (0.0, 0.25, 1.0), (0.0, 0.5, 2.0)),
        (Range(0.01, 1.0, log=True), (0.0, 0.5, 1.0), (0.01, 0.1, 1.0)),
        (Range(1, 100, log=True, integer=True), (0.0, 0.5, 1.0), (1, 10, 100)),
        (Choices(("a", "b", "c")), (0.0, 0.34, 1.0), ("a", "b", "c")),
    ],
)
def test_a_quantile_is_a_value_of_the_domain_on_its_scale(domain: Any, shares: Any, values: Any) -> None:
    assert tuple(domain.quantile(share) for share in shares) == values


@pytest.mark.parametrize(
    ("domain", "count", "values"),
    [
        (Range(0.0, 1.2, 0.1), 3, (0.0, 0.6, 1.2)),
        (Range(0.0, 1.0, 0.5), 9, (0.0, 0.5, 1.0)),
        (Range(0.0, 1.0), 5, (0.0, 0.25, 0.5, 0.75, 1.0)),
        (Range(0.01, 1.0, log=True), 3, (0.01, 0.1, 1.0)),
        (Range(1, 100, log=True, integer=True), 3, (1, 10, 100)),
        (Choices(("a", "b", "c")), 2, ("a", "b", "c")),
    ],
)
def test_a_spread_goes_from_end_to_end_without_repeats(domain: Any, count: int, values: Any) -> None:
    assert domain.spread(count) == values


@pytest.mark.parametrize("options", [(), (0.5,), (0.5, 0.5), (("a",), ("a",))])
def test_choices_need_two_different_values(options: Any) -> None:
    with pytest.raises(SearchSpaceError, match="at least two different values; set a single value in the baseline"):
        Choices(options)


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("temperature > 0", {"temperature": 0.1}, True),
        ("temperature > 0", {"temperature": 0.0}, False),
        ("temperature>=0.5", {"temperature": 0.5}, True),
        ("temperature < 1", {"temperature": 1.0}, False),
        (" top_k <= 10 ", {"top_k": 10}, True),
        ("top_k != 0", {"top_k": 0}, False),
        ("stop == 'none'", {"stop": "none"}, True),
        ('stop != "none"', {"stop": "none"}, False),
        ("stop == none", {"stop": ("a", "b")}, False),
        ("stop != none", {"stop": ("a", "b")}, True),
        ("temperature > 0", {}, False),
        ("temperature == 0", {"temperature": "0"}, False),
    ],
)
def test_a_requirement_is_read_and_compared(text: str, values: dict[str, Any], holds: bool) -> None:
    assert Requirement.parse(text).holds(values) is holds


@pytest.mark.parametrize("text", ["temperature", "temperature = 0", "> 0", "temperature >", "", 5])
def test_what_is_no_comparison_is_refused_with_an_example(text: Any) -> None:
    with pytest.raises(SearchSpaceError, match='is not a comparison; write for example "temperature > 0"'):
        Requirement.parse(text)


def test_a_text_cannot_be_ordered() -> None:
    with pytest.raises(SearchSpaceError, match="orders a text; use == or !="):
        Requirement.parse("stop > none")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((Parameter("temprature", Range(0.0, 1.0)),), "did you mean temperature"),
        ((TEMPERATURE, TEMPERATURE), "temperature is given twice"),
        ((TOP_P,), "top_p requires temperature > 0, but temperature is not varied before it; put its table first"),
        ((TOP_P, TEMPERATURE), "not varied before it"),
        (
            (TEMPERATURE, Parameter("top_p", TOP_P.domain, Requirement.parse("temperature > 5"))),
            r"requires temperature > 5, but temperature \(.*\) is never so; widen",
        ),
    ],
)
def test_a_contradictory_space_is_refused(parameters: tuple[Parameter, ...], message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        SearchSpace(parameters)


def test_top_p_is_not_suggested_at_temperature_zero() -> None:
    trial = FixedTrial({"temperature": 0.0, "top_p": "0.5"})
    assert SPACE.suggest(trial) == {"temperature": 0.0}
    assert set(trial.distributions) == {"temperature"}


def test_a_conditional_parameter_is_suggested_where_its_requirement_holds() -> None:
    trial = FixedTrial({"temperature": 0.5, "top_p": "1", "min_p": "0.1"})
    assert SPACE.suggest(trial) == {"temperature": 0.5, "top_p": 1.0}
    trial = FixedTrial({"temperature": 0.5, "top_p": "0.9", "min_p": "0.1"})
    assert SPACE.suggest(trial) == {"temperature": 0.5, "top_p": 0.9, "min_p": 0.1}


@pytest.mark.parametrize(
    ("parameter", "fixed", "value", "distribution"),
    [
        (TEMPERATURE, 0.5, 0.5, FloatDistribution(0.0, 1.0, step=0.5)),
        (Parameter("min_p", Range(0.01, 1.0, log=True)), 0.2, 0.2, FloatDistribution(0.01, 1.0, log=True)),
        (Parameter("top_k", Range(0, 100, 20, integer=True)), 40, 40, IntDistribution(0, 100, step=20)),
        (
            Parameter("max_tokens", Range(1, 9, log=True, integer=True)),
            3,
            3,
            IntDistribution(1, 9, log=True),
        ),
        (STOP, '["\\n\\n", "User:"]', ("\n\n", "User:"), CategoricalDistribution(STOP.domain.labels)),  # type: ignore[union-attr]
    ],
)
def test_optuna_is_asked_for_the_domain_as_it_is(
    parameter: Parameter, fixed: Any, value: Any, distribution: BaseDistribution
) -> None:
    trial = FixedTrial({parameter.name: fixed})
    assert SearchSpace((parameter,)).suggest(trial) == {parameter.name: value}
    assert trial.distributions == {parameter.name: distribution}


@pytest.mark.parametrize(
    ("values", "active"),
    [
        ({"temperature": 0.0, "top_p": 0.5, "min_p": 0.1}, {"temperature": 0.0}),
        ({"temperature": 0.5, "top_p": 1.0, "min_p": 0.1}, {"temperature": 0.5, "top_p": 1.0}),
        ({"max_tokens": 9, "top_p": 0.5, "temperature": 0.5}, {"temperature": 0.5, "top_p": 0.5}),
    ],
)
def test_active_keeps_what_is_varied_and_has_an_effect_in_the_order_of_the_space(values: Any, active: Any) -> None:
    assert list(SPACE.active(values).items()) == list(active.items())


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"temperature": 0.0}, True),
        ({"temperature": 0.0, "top_p": 0.123}, True),
        ({"temperature": 0.5, "top_p": 1.0}, True),
        ({"temperature": 0.5}, False),
        ({"temperature": 0.5, "top_p": 0.8}, False),
        ({"temperature": 0.7, "top_p": 1.0}, False),
        ({}, False),
    ],
)
def test_values_whose_active_part_is_complete_and_inside_its_domains_are_of_a_space(values: Any, found: bool) -> None:
    assert inside(SPACE, values) is found


def test_a_grid_counts_a_greedy_setting_once() -> None:
    grid = SPACE.grid()
    # Greedy once; at two temperatures top-p 1 alone, and top-p 0.5 and 0.9 with two values of min-p.
    assert len(grid) == 1 + 2 * (1 + 2 * 2)
    assert [point for point in grid if point["temperature"] == 0.0] == [{"temperature": 0.0}]
    assert all(inside(SPACE, point) for point in grid)


def test_a_space_with_a_continuous_range_has_a_grid_that_is_refused_by_name() -> None:
    space = SearchSpace((TEMPERATURE, Parameter("top_p", Range(0.5, 1.0))))
    with pytest.raises(SearchSpaceError, match=r"parameters\.top_p: .*continuous.*\(a grid was asked for\)"):
        space.grid()


def test_values_at_quantiles_leave_out_what_has_no_effect() -> None:
    assert SPACE.at_quantiles({"temperature": 0.0, "top_p": 0.9, "min_p": 0.9}) == {"temperature": 0.0}
    full = SPACE.at_quantiles({"temperature": 0.9, "top_p": 0.0, "min_p": 0.9})
    assert full == {"temperature": 1.0, "top_p": 0.5, "min_p": 0.1}


@pytest.mark.parametrize(
    ("name", "value", "typed"),
    [
        ("temperature", 1, 1.0),
        ("top_k", 1, 1),
        ("shots", 3, 3),
        ("stop", ["a"], ("a",)),
        ("stop", "none", "none"),
        ("temperature", True, True),
    ],
)
def test_a_toml_value_gets_the_type_of_its_parameter(name: str, value: Any, typed: Any) -> None:
    assert repr(typed_value(name, value)) == repr(typed)
