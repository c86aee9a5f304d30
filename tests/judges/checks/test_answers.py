"""The project's own checks, `answer:…` and `finished`, against answers that try to pass without being right."""

from typing import Any

import pytest

from ablations.core.records import Check
from ablations.judges.checks.base import Answer
from ablations.judges.checks.registry import bind
from ablations.judges.checks.texts import numbers


def holds(name: str, text: str, query: str = "", finished: bool = True, **kwargs: Any) -> bool:
    return bind(Check(name, kwargs)).holds(Answer(text, finished, query))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Lima", True),
        ("  lima.\n", True),
        ("**Lima**", True),
        ("“Lima!”", True),
        ("the Lima", True),
        ("Lima, Peru", False),
        ("Lima or Quito", False),
        ("It is Lima.", False),
        ("Limassol", False),
        ("not Lima", False),
        ("\uff2c\uff29\uff2d\uff21", True),
        ("L i m a", False),
        ("", False),
        ("...", False),
    ],
)
def test_a_whole_answer_is_one_of_the_texts(text: str, right: bool) -> None:
    assert holds("answer:is", text, values=["Lima"]) is right


def test_a_mark_as_an_answer_is_no_other_mark() -> None:
    assert holds("answer:is", "?", values=["?"])
    assert not holds("answer:is", "!", values=["?"])


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("green", True),
        ("It is Green.", True),
        ("dark green", False),
        ("green and red", False),
        ("green, not dark green", False),
        ("evergreen", False),
        ("The greens", False),
        ("red", False),
        ("red dark green green", False),
        ("_green_", True),
        ("neither", False),
        ("It is not green.", False),
        ("Not the green", False),
        ("It isn’t green", False),
        ("Green, if I am not mistaken", True),
        ("Why not? Green.", True),
    ],
)
def test_one_offered_option_is_mentioned_and_no_other(text: str, right: bool) -> None:
    assert holds("answer:one_of", text, options=["green", "dark green", "red"], right="green") is right


def test_an_options_article_may_be_left_out() -> None:
    assert holds("answer:one_of", "Nile", options=["the Nile", "the Rhine"], right="the Nile")
    assert holds("answer:one_of", "C++", options=["C", "C++"], right="C++")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("56", True),
        ("fifty-six", True),
        ("Fifty six.", True),
        ("7 times 8 is 56", True),
        ("56.0", True),
        ("$56", True),
        ("56 km", True),
        ("The right one is 56.", True),
        ("56, and 1", False),
        ("54, no, 56", False),
        ("156", False),
        ("56.5", False),
        ("5 6", False),
        ("-56", False),
        ("minus 56", False),
        ("minus fifty-six", False),
        ("B56", False),
        ("560", False),
        ("56,000", False),
        ("7 8", False),
        ("none", False),
        ("not 56", False),
        ("It isn't fifty-six.", False),
        ("I do not know, 56?", True),
    ],
)
def test_a_number_is_given_and_no_other_one_but_the_querys(text: str, right: bool) -> None:
    assert holds("answer:number", text, query="What is 7 times 8?", value=56) is right


@pytest.mark.parametrize(("text", "right"), [("3.1", True), ("3.2", True), ("3.3", False), ("-3.14", False)])
def test_a_number_may_lie_within_its_tolerance(text: str, right: bool) -> None:
    assert holds("answer:number", text, value=3.14, tolerance=0.1) is right


def test_small_and_negative_numbers_are_read() -> None:
    assert holds("answer:number", "one", value=1)
    assert holds("answer:number", "minus four", value=-4)
    assert holds("answer:number", "−4", value=-4)
    assert holds("answer:number", ".5", value=0.5)
    assert holds("answer:number", "1,000,000", value=1_000_000)
    assert holds("answer:number", "one million", value=1_000_000)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Bees make honey.", True),
        ("BEES, with wax", True),
        ("Bees make honey, wasps do not.", False),
        ("Beeswax and honey", False),
        ("Honey", False),
        ("Bees", False),
        ("bees' honey", True),
    ],
)
def test_words_are_mentioned_all_any_and_none(text: str, right: bool) -> None:
    assert holds("answer:mentions", text, all=["bees"], any=["honey", "wax"], none=["wasps"]) is right


@pytest.mark.parametrize(
    ("text", "right", "ordered"),
    [
        ("red, green and blue", True, True),
        ("red, green, and blue.", True, True),
        ("1. Red\n2. Green\n3. Blue", True, True),
        ("* red\r\n* green\r\n* blue", True, True),
        ("A) red B) green", False, False),
        ("blue; red; green", False, True),
        ("blue; red; green", True, False),
        ("red, green", False, False),
        ("red, green, blue, red", False, False),
        ("red, green, blue and black", False, False),
        ("reddish, green, blue", False, False),
        ("The colors are red, green and blue.", True, True),
        ("They are: blue, red, green", True, False),
        ("In order:\n1. Red\n2. Green\n3. Blue", True, True),
        ("The colors are not red, green, blue.", False, False),
        ("These aren't on it: red, green, blue", False, False),
        ("The first is black, then red, green, blue", False, False),
    ],
)
def test_a_list_has_exactly_the_items(text: str, right: bool, ordered: bool) -> None:
    assert holds("answer:list", text, items=["red", "green", "blue"], ordered=ordered) is right


def test_an_item_may_hold_an_and() -> None:
    assert holds("answer:list", "salt and pepper, oil", items=["salt and pepper", "oil"])


@pytest.mark.parametrize(
    ("text", "right"), [("AB-12", True), (" AB-12\n", True), ("AB-12.", False), ("ab-12", False), ("x AB-12", False)]
)
def test_a_pattern_is_of_the_whole_answer(text: str, right: bool) -> None:
    assert holds("answer:pattern", text, pattern="[A-Z]{2}-[0-9]{2}") is right


@pytest.mark.parametrize(
    ("text", "right"), [("two words", True), ("- two - words", True), ("only", False), ("one two three four", False)]
)
def test_words_are_counted(text: str, right: bool) -> None:
    assert holds("answer:words", text, least=2, most=3) is right


def test_an_answer_is_finished_if_it_ended_by_itself_and_says_something() -> None:
    assert holds("finished", "Lima", finished=True)
    assert not holds("finished", "Lima", finished=False)
    assert not holds("finished", " ", finished=True)


def test_an_answer_that_was_cut_off_may_be_right() -> None:
    assert holds("answer:is", "Lima", finished=False, values=["Lima"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,234,567.5", [1234567.5]),
        ("1,2,3", [1.0, 2.0, 3.0]),
        ("twenty-one and seven", [21.0, 7.0]),
        ("three million two hundred thousand", [3_200_000.0]),
        ("10-15", [10.0, 15.0]),
        ("v2 and x3y", []),
        ("no one knows, and one of them is two hundred and five", [205.0]),
    ],
)
def test_numbers_are_read_as_values(text: str, found: list[float]) -> None:
    assert numbers(text) == found
