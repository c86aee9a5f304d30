"""Claims about planted controls: what each makes of an answer, and where it cannot be planted."""

import random

import pytest

from ablations.core.records import Query
from ablations.datasets.queries import foreign_answers, load_queries, reworded_answers, second_answers, short_answers
from ablations.judges.audit.calibration import halves, short_halves
from ablations.judges.audit.controls import CONTROLS, HARD_CONTROLS, NEGATED, NUMBERS, OPTIONAL_CONTROLS, Place
from ablations.judges.audit.rewording import changed_numbers, negated
from ablations.judges.checks.texts import numbers

RULES = {**CONTROLS, **HARD_CONTROLS, **OPTIONAL_CONTROLS}
LAKE = Query(
    "lake",
    "stem",
    ("How deep is Lake Veld, and who measured it in 1907?", "And how wide is it?"),
    ("It is 42 metres deep, as Olsen found.", "It is 3 km wide."),
)
ANSWER = "Lake Veld is 42 metres deep. Karin Olsen measured it with 9 helpers and a long rope in the summer of 1907."


def planted(name: str, good: str = ANSWER, turn: int = 1) -> str | None:
    place = Place(LAKE, turn, good, "Bread rises because yeast makes gas, which is held by the dough's gluten.")
    return RULES[name](place, random.Random(1))


def test_an_echo_is_the_query_of_the_turn() -> None:
    assert planted("echoes the query") == LAKE.turns[0]
    assert planted("echoes the query", turn=2) == LAKE.turns[1]


def test_a_refusal_quotes_the_query_and_says_nothing_of_the_answer() -> None:
    text = planted("refuses and quotes the query")
    assert text is not None
    assert LAKE.turns[0] in text
    assert "42" not in text


def test_keywords_are_the_querys_content_words() -> None:
    assert planted("lists the query's keywords") == "deep, Lake, Veld, measured, 1907."


def test_the_first_half_ends_in_the_middle() -> None:
    half = planted("first half")
    assert half is not None
    assert ANSWER.startswith(half)
    assert len(half.split()) == len(ANSWER.split()) // 2
    assert planted("first half", "Olsen") is None


def test_short_answers_have_no_control_that_would_be_the_answer_itself() -> None:
    for name in ("shuffled words", "looped words", "cut after 10 words"):
        assert planted(name, "Karin Olsen") is None
        assert planted(name) not in (None, ANSWER)


def test_numbers_are_changed_where_query_or_reference_has_one_of_them() -> None:
    text = planted(NUMBERS)
    assert text is not None
    assert not set(numbers(text)) & set(numbers(ANSWER))
    assert planted(NUMBERS, "The lake has 17 islands.") is None
    assert planted(NUMBERS, "Nobody knows.") is None


@pytest.mark.parametrize(
    "text",
    [
        "1,380 euros",
        "at 08:15 and 09:40",
        "-7 degrees",
        "twenty-one days",
        "25%",
        "3.5 kW",
        "two thirds",
        "12 May 2031",
    ],
)
def test_every_number_becomes_another_one(text: str) -> None:
    for seed in range(20):
        changed = changed_numbers(text, random.Random(seed))
        assert changed is not None
        assert not set(numbers(changed)) & set(numbers(text)), changed


def test_the_same_number_changes_alike_and_marks_of_lists_stay() -> None:
    changed = changed_numbers("1. Add 12.\n2. Take 12 away.", random.Random(3))
    assert changed is not None
    assert changed.startswith("1. Add ")
    assert "\n2. Take " in changed
    assert len(set(numbers(changed.replace("1.", "").replace("2.", "")))) == 1
    assert changed_numbers("one of them", random.Random(3)) is None


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("Ice is lighter than water.", "Ice is not lighter than water."),
        ("Ice isn't heavier.", "Ice is heavier."),
        ("Fish can live there.", "Fish cannot live there."),
        ("Fish cannot fly.", "Fish can fly."),
        ("They won't come.", "They will come."),
        ("It melts and takes up heat.", "It melts and does not take up heat."),
        ("Olsen measured the lake.", "Olsen did not measure the lake."),
        ("She did not write it.", "She write it."),
        ("Nobody knew it.", "Everybody knew it."),
        ("It never rains.", "It always rains."),
        ("He left without a word.", "He left with a word."),
        ("Add the two numbers.", "Do not add the two numbers."),
        ("It is 2.5 km. The shore is steep!", "It is not 2.5 km. The shore is not steep!"),
        ("They carried water and tried it.", "They did not carry water and tried it."),
    ],
)
def test_sentences_are_denied_by_rule(text: str, denied: str) -> None:
    assert negated(text) == denied


def test_what_has_no_verb_that_is_known_is_not_denied() -> None:
    assert negated("Olive oil: 2 tablespoons") is None
    assert negated("    if x is None:") is None
    assert planted(NEGATED, "Karin Olsen") is None


def test_other_languages_and_wordings_answer_the_reported_half() -> None:
    ids = {query.id for query in halves()[1]}
    assert set(foreign_answers()) == set(reworded_answers()) == ids
    for id, (answer,) in reworded_answers().items():
        shared = set(answer.split()) & set(second_answers()[id][0].split())
        assert len(shared) < 0.75 * len(set(answer.split()))


def test_short_answers_are_halved_by_query() -> None:
    first, second = short_halves()
    assert not {turn.queries[0] for turn in first} & {turn.queries[0] for turn in second}
    wrong = short_answers("wrong")
    with_wrong = [query for query in load_queries("short") if wrong[query.id]]
    assert sum(len(turn.wrong) for turn in (*first, *second)) == sum(
        len(some) for query in with_wrong for some in wrong[query.id][: len(query.turns)]
    )
