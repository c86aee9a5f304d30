"""Claims about conditions: what each field may hold, and which settings count as the same."""

import math
from typing import Any

import pytest

from ablations.core.condition import (
    DECODING_PARAMETERS,
    PARAMETERS,
    Condition,
    DecodingParams,
    content_hash,
    format_value,
    neutral_value,
)
from ablations.core.errors import ConditionError
from ablations.core.prompt import Demonstration, PromptParts
from ablations.prompts.templates import URIAL, URIAL_V5, URIAL_V6

SHOTS = (Demonstration("a", "Hi?", "Hello."), Demonstration("b", "1 + 1?", "2."))
SAMPLING: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.1}


def condition(system_prompt: str = "Be kind.", template: Any = URIAL, shots: Any = SHOTS, **decoding: Any) -> Condition:
    return Condition(DecodingParams(**decoding), PromptParts(system_prompt, template, shots))


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("temperature", -0.1, "0 to 2"),
        ("temperature", 2.1, "0 to 2"),
        ("temperature", 0.001, "0 for greedy decoding, or at least 0.01"),
        ("temperature", 0.0099, "0 for greedy decoding, or at least 0.01"),
        ("top_p", 0.0, "above 0 up to 1"),
        ("top_p", 1.01, "above 0 up to 1"),
        ("top_k", -2, "0 for all tokens, or at least 1"),
        ("min_p", -0.01, "0 to 1"),
        ("min_p", 1.5, "0 to 1"),
        ("repetition_penalty", 0.0, "above 0 up to 2"),
        ("repetition_penalty", 2.01, "above 0 up to 2"),
        ("presence_penalty", -2.5, "-2 to 2"),
        ("presence_penalty", 2.5, "-2 to 2"),
        ("frequency_penalty", -2.5, "-2 to 2"),
        ("frequency_penalty", 2.5, "-2 to 2"),
        ("max_tokens", 0, "at least 1"),
    ],
)
def test_a_value_out_of_range_is_refused_with_field_value_and_range(field: str, value: float, allowed: str) -> None:
    with pytest.raises(ConditionError) as caught:
        DecodingParams(**{field: value})  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{field} = {value:g} is out of range; allowed: {allowed}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", 0.01),
        ("temperature", 2.0),
        ("top_p", 1e-6),
        ("top_p", 1.0),
        ("top_k", 1),
        ("min_p", 0.0),
        ("min_p", 1.0),
        ("repetition_penalty", 1e-6),
        ("repetition_penalty", 2.0),
        ("presence_penalty", -2.0),
        ("frequency_penalty", 2.0),
        ("max_tokens", 1),
    ],
)
def test_the_ends_of_every_range_are_allowed(field: str, value: float) -> None:
    assert getattr(DecodingParams(**{field: value}), field) == value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "field", ["temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"]
)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.5", None])
def test_a_field_with_a_number_refuses_everything_else(field: str, value: Any) -> None:
    with pytest.raises(ConditionError, match=f"^{field} = .*is not a finite number; give a number"):
        DecodingParams(**{field: value})


@pytest.mark.parametrize("field", ["top_k", "max_tokens"])
@pytest.mark.parametrize("value", [2.0, math.nan, True, "2", None])
def test_a_field_with_a_whole_number_refuses_everything_else(field: str, value: Any) -> None:
    with pytest.raises(ConditionError, match=f"^{field} = .*is not a whole number"):
        DecodingParams(**{field: value})


def test_a_condition_error_is_also_a_value_error() -> None:
    with pytest.raises(ValueError, match="top_p"):
        DecodingParams(top_p=3)


def test_top_k_of_minus_one_is_read_as_no_limit() -> None:
    assert DecodingParams(top_k=-1) == DecodingParams(top_k=0)


@pytest.mark.parametrize(("given", "kept"), [(0.1 + 0.2, 0.3), (1, 1.0), (0.7 - 1e-13, 0.7)])
def test_rounding_error_of_steps_does_not_reach_a_parameter(given: float, kept: float) -> None:
    assert repr(DecodingParams(temperature=given).temperature) == repr(kept)


def test_a_negative_zero_is_the_same_setting_as_zero() -> None:
    assert condition(presence_penalty=-0.0).condition_id == condition(presence_penalty=0.0).condition_id


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ("heading", "did you mean headings"),
        ("\n\n", "give a list of strings"),
        (("# Query", ""), "list of non-empty strings"),
        (("# Query", 3), "list of non-empty strings"),
        (None, "must be one of headings, fence, none"),
    ],
)
def test_a_wrong_stop_is_refused_with_what_it_may_be(stop: Any, message: str) -> None:
    with pytest.raises(ConditionError, match=message):
        DecodingParams(stop=stop)


def test_stop_strings_given_as_a_list_become_a_tuple() -> None:
    assert DecodingParams(stop=["b", "a"]).stop == ("b", "a")  # type: ignore[arg-type]


def test_the_defaults_are_neutral_and_greedy() -> None:
    params = DecodingParams()
    assert params.greedy
    assert (params.top_p, params.top_k, params.min_p, params.repetition_penalty) == (1.0, 0, 0.0, 1.0)
    assert (params.presence_penalty, params.frequency_penalty) == (0.0, 0.0)
    assert {name: getattr(params, name) for name in DECODING_PARAMETERS} == {
        name: neutral_value(name) for name in DECODING_PARAMETERS
    }


def test_greedy_decoding_forgets_truncation_and_keeps_everything_else() -> None:
    asked: dict[str, Any] = SAMPLING | {"temperature": 0.0, "repetition_penalty": 1.2, "max_tokens": 7}
    effective = condition(**asked).effective
    assert (effective.top_p, effective.top_k, effective.min_p) == (1.0, 0, 0.0)
    assert (effective.repetition_penalty, effective.max_tokens) == (1.2, 7)


def test_sampling_keeps_truncation() -> None:
    effective = condition(**SAMPLING).effective
    assert {name: getattr(effective, name) for name in SAMPLING} == SAMPLING


@pytest.mark.parametrize(
    ("stop", "headings", "strings"),
    [
        ("headings", URIAL, ("# Query", "# User")),
        ("headings", URIAL_V6, ("# Query", "# User")),
        ("fence", URIAL, ("```",)),
        ("none", URIAL, ()),
        (("z", "a", "z"), URIAL, ("a", "z")),
    ],
)
def test_stop_names_are_spelled_out_in_what_takes_effect(stop: Any, headings: Any, strings: tuple[str, ...]) -> None:
    assert condition(template=headings, stop=stop).effective.stop == strings


@pytest.mark.parametrize("headings", [URIAL_V5, URIAL_V6])
def test_a_fence_as_stop_is_refused_where_the_headings_have_none(headings: Any) -> None:
    with pytest.raises(ConditionError, match=rf"{headings.name}.*no fence; use stop = 'headings'"):
        condition(template=headings, stop="fence")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"top_p": 0.5}, {"top_p": 0.9}),
        ({"top_k": 5, "min_p": 0.2}, {}),
        ({"stop": "headings"}, {"stop": ("# Query", "# User")}),
        ({"stop": ("# User", "# Query")}, {"stop": ("# Query", "# User")}),
        ({"stop": "none"}, {"stop": ()}),
        ({"stop": "fence"}, {"stop": ("```",)}),
        ({"temperature": 0.3, "top_k": -1}, {"temperature": 0.3, "top_k": 0}),
        ({"temperature": 0.1 + 0.2}, {"temperature": 0.3}),
        ({"temperature": 1}, {"temperature": 1.0}),
    ],
)
def test_settings_that_decode_the_same_have_one_id(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert condition(**one).condition_id == condition(**other).condition_id


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.8},
        {"top_p": 0.8},
        {"top_k": 41},
        {"min_p": 0.2},
        {"repetition_penalty": 1.1},
        {"presence_penalty": 0.1},
        {"frequency_penalty": 0.1},
        {"max_tokens": 129},
        {"stop": "none"},
        {"system_prompt": "Be brief."},
        {"template": URIAL_V6},
        {"shots": SHOTS[:1]},
        {"shots": SHOTS[::-1]},
    ],
)
def test_every_parameter_is_part_of_the_id(change: dict[str, Any]) -> None:
    assert condition(**(SAMPLING | change)).condition_id != condition(**SAMPLING).condition_id


def test_names_that_leave_the_prompt_alone_are_no_part_of_the_id() -> None:
    renamed = tuple(Demonstration(f"{shown.id}-copy", shown.query, shown.answer) for shown in SHOTS)
    one = Condition(DecodingParams(), PromptParts("Be kind.", URIAL, SHOTS, system_prompt_name="full"))
    other = Condition(DecodingParams(), PromptParts("Be kind.", URIAL, renamed, system_prompt_name="kind.txt"))
    assert one.condition_id == other.condition_id


def test_a_condition_id_is_twelve_digits_and_the_same_in_every_process() -> None:
    assert condition().condition_id == "0d4905d301ff"


def test_values_lists_every_parameter_as_it_was_asked_for() -> None:
    values = condition(temperature=0.0, top_p=0.5, stop="fence").values()
    assert tuple(values) == PARAMETERS
    assert (values["top_p"], values["stop"]) == (0.5, "fence")
    assert (values["system_prompt"], values["template"], values["shots"]) == ("custom", "urial", 2)


def test_a_hash_of_content_ignores_the_order_of_keys_and_not_that_of_lists() -> None:
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": [1, 2], "a": 1})
    assert content_hash([1, 2]) != content_hash([2, 1])
    assert len(content_hash("x", length=9)) == 9


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1 + 0.2, "0.3"), (1.0, "1"), (40, "40"), ("none", "none"), (("’", "b"), '["’", "b"]'), ((), "[]")],
)
def test_a_value_is_shown_without_noise(value: Any, shown: str) -> None:
    assert format_value(value) == shown
