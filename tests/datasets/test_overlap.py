"""Claims about leakage: what counts as the same text, what as nearly the same, and which query it is said to be."""

from collections.abc import Sequence

import numpy as np
import pytest

from ablations.core.prompt import Demonstration
from ablations.core.records import Query
from ablations.datasets.overlap import NEAR, Overlap, find_overlaps, normalised
from ablations.datasets.pools import BUILT_IN, load_pool
from ablations.datasets.queries import load_queries
from ablations.models.embedding import Encoder, Vectors

REWORDED = [
    ("How do I boil an egg?", "What is the way to boil an egg?"),
    ("Why is the sky blue?", "What makes the sky blue?"),
    ("What are the main causes of inflation?", "What mainly causes inflation?"),
    ("How can I sleep better at night?", "How do I get better sleep at night?"),
    ("Summarize the plot of Romeo and Juliet.", "Give a summary of the plot of Romeo and Juliet."),
    ("Write a Python function that reverses a string.", "Implement a function in Python to reverse a string."),
]
"""Close rewordings: a free paraphrase, with other words for the same thing, lies as low as 0.56 with MiniLM."""
ON_ONE_TOPIC = [
    ("How do I boil an egg?", "How do I fry an egg?"),
    ("Why is the sky blue?", "Why is the sunset red?"),
    ("What is 12 times 7?", "What is 12 times 8?"),
    ("Translate 'good morning' into Spanish.", "Translate 'good night' into Spanish."),
    ("Draft an email declining a job offer.", "Draft an email accepting a job offer."),
    ("Name three countries in South America.", "Name three countries in North America."),
]
"""Hard ones on purpose: one word or one number decides."""
TWO_TURNS = (
    Query("sky", "", ("Why is the sky blue?", "And why is the sunset red?")),
    Query("egg", "", ("How do I boil an egg?", "Name a side dish for it.")),
)


class AngleEncoder(Encoder):
    """The last word of a text is its angle in degrees."""

    identity = "angles"

    def encode(self, texts: Sequence[str]) -> Vectors:
        angles = np.radians([float(text.split()[-1]) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def shown(*queries: str) -> list[Demonstration]:
    return [Demonstration(f"d{number}", query, "answer") for number, query in enumerate(queries, start=1)]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder()


def cosine(encoder: Encoder, first: str, second: str) -> float:
    one, other = encoder.encode([first, second])
    return float(one @ other)


@pytest.mark.parametrize(
    "text",
    [
        "WHY IS THE SKY BLUE?",
        "Why is the sky blue",
        "“Why is the sky — blue?!”",
        "  Why is\tthe\nsky   blue ? ",
        "".join(chr(ord(letter) + 0xFEE0) if letter > " " else letter for letter in "Why is the sky blue?"),
    ],
)
def test_case_punctuation_spacing_and_width_make_no_other_text(text: str) -> None:
    assert normalised(text) == "why is the sky blue"
    assert find_overlaps(shown(text), TWO_TURNS, None) == [Overlap("d1", "sky", 1, None)]


@pytest.mark.parametrize(
    ("first", "second"),
    [("Grüße aus Köln!", "GRÜSSE AUS KÖLN"), ("Cafe\u0301?", "café"), ("\u2460 of \ufb01ve", "1 of five")],
)
def test_ways_of_writing_a_character_make_no_other_text(first: str, second: str) -> None:
    assert normalised(first) == normalised(second)


@pytest.mark.parametrize("text", ["Why is the sky blue today?", "Why is the sea blue?", "Why is the skyblue?"])
def test_without_an_encoder_another_word_makes_another_text(text: str) -> None:
    assert find_overlaps(shown(text), TWO_TURNS, None) == []


def test_every_turn_counts_and_the_first_place_of_a_text_is_named() -> None:
    again = Query("again", "", ("Name a side dish for it!", "Why is the sky blue?"))
    demonstrations = shown("name a side dish for it", "Why?", "why is the sky blue")
    assert find_overlaps(demonstrations, [*TWO_TURNS, again], None) == [
        Overlap("d1", "egg", 2, None),
        Overlap("d3", "sky", 1, None),
    ]


def test_texts_without_a_word_never_match() -> None:
    assert normalised(" ?! ") == ""
    assert find_overlaps(shown("?!", "…"), [Query("q", "", ("...",))], None) == []


def test_an_answer_that_equals_a_query_is_no_overlap() -> None:
    assert find_overlaps([Demonstration("d", "Hi?", "Why is the sky blue?")], TWO_TURNS, None) == []


def test_the_nearest_turn_is_named_from_the_threshold_on() -> None:
    queries = [Query("a", "", ("at 0", "at 50")), Query("b", "", ("at 90",))]
    demonstrations = shown("near 88", "near 30", "near 48", "AT 0")
    near = float(np.cos(np.radians(4)))
    found = find_overlaps(demonstrations, queries, AngleEncoder(), near)
    assert [(one.demonstration, one.query, one.turn) for one in found] == [
        ("d1", "b", 1),
        ("d3", "a", 2),
        ("d4", "a", 1),
    ]
    assert [one.cosine for one in found] == [
        pytest.approx(np.cos(np.radians(2))),
        pytest.approx(np.cos(np.radians(2))),
        None,
    ]
    assert str(found[0]) == "demonstration d1 is nearly (cosine 1.00) query b turn 1"
    assert str(found[2]) == "demonstration d4 is query a turn 1"


def test_nothing_overlaps_with_no_queries_and_no_demonstrations() -> None:
    assert find_overlaps(shown("near 1"), [], AngleEncoder()) == []
    assert find_overlaps([], TWO_TURNS, AngleEncoder()) == []


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_built_in_pool_holds_the_text_of_a_built_in_query(name: str) -> None:
    assert find_overlaps(load_pool(name).demonstrations, load_queries("instructions"), None) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT_IN)
def test_no_built_in_pool_is_near_a_built_in_query(name: str, encoder: Encoder) -> None:
    """The reason why a study on these may compare texts alone."""
    demonstrations, queries = load_pool(name).demonstrations, load_queries("instructions")
    closest = max(one.cosine or 1.0 for one in find_overlaps(demonstrations, queries, encoder, near=-1.0))
    print(f"{name}: the nearest two lie at {closest:.2f}")
    assert find_overlaps(demonstrations, queries, encoder) == []


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), REWORDED)
def test_a_close_rewording_of_a_question_is_near(first: str, second: str, encoder: Encoder) -> None:
    found = cosine(encoder, first, second)
    print(f"{found:.3f}")
    assert found >= NEAR
    (overlap,) = find_overlaps(shown(second), [Query("q", "", (first,))], encoder)
    assert overlap.cosine == pytest.approx(found, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), ON_ONE_TOPIC)
def test_another_question_on_one_topic_is_not_near(first: str, second: str, encoder: Encoder) -> None:
    found = cosine(encoder, first, second)
    print(f"{found:.3f}")
    assert found < NEAR
    assert find_overlaps(shown(second), [Query("q", "", (first,))], encoder) == []


@pytest.mark.slow
def test_a_rewording_is_found_in_the_turn_that_it_rewords(encoder: Encoder) -> None:
    demonstrations = shown("What is the way to boil an egg?", "And what makes the sunset red?", "How do boats float?")
    found = find_overlaps(demonstrations, TWO_TURNS, encoder)
    assert [(one.demonstration, one.query, one.turn) for one in found] == [("d1", "egg", 1), ("d2", "sky", 2)]
