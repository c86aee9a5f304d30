"""Claims about the built-in set `short`: every answer can be checked, and nothing passes by chance."""

import json
from collections import Counter

import pytest

from ablations.core.jsonl import DATA
from ablations.core.prompt import Demonstration
from ablations.datasets.overlap import find_overlaps
from ablations.datasets.pools import BUILT_IN, load_pool
from ablations.datasets.queries import load_queries
from ablations.judges.checks.base import Answer
from ablations.judges.checks.registry import Accepted, bind
from ablations.judges.checks.scores import floors
from ablations.models.embedding import Encoder

SHORT = load_queries("short", accept=Accepted())
ROWS = {row["id"]: row for row in map(json.loads, (DATA / "short.jsonl").read_text(encoding="utf-8").splitlines())}
TURNS = [(query, turn) for query in SHORT for turn in range(len(query.turns))]
NAMES = [f"{query.id}.{turn + 1}" for query, turn in TURNS]
TURN = pytest.mark.parametrize(("at"), range(len(TURNS)), ids=NAMES)


def passes(at: int, text: str, finished: bool = True) -> bool:
    query, turn = TURNS[at]
    return all(bind(one).holds(Answer(text, finished, query.turns[turn])) for one in query.checks[turn])


def test_there_are_enough_queries_of_enough_kinds() -> None:
    assert len(SHORT) >= 96
    kinds = Counter(query.category for query in SHORT)
    assert len(kinds) >= 8
    assert min(kinds.values()) >= 10
    assert sum(len(query.turns) == 2 for query in SHORT) >= 24


@TURN
def test_a_reference_is_short_and_passes_while_planted_violations_fail(at: int) -> None:
    query, turn = TURNS[at]
    reference = query.references[turn] or ""
    assert 1 <= len(reference.split()) <= 8
    assert passes(at, reference)
    assert not passes(at, reference, finished=False)
    wrong = ROWS[query.id]["wrong"][turn]
    assert len(wrong) >= 3
    assert [text for text in wrong if passes(at, text)] == []
    others = [text for one, place in TURNS for text in [one.references[place] or ""] if one.category != query.category]
    assert sum(passes(at, text) for text in others) <= 4


@TURN
def test_a_right_answer_in_other_words_passes(at: int) -> None:
    query, turn = TURNS[at]
    also = ROWS[query.id]["also"][turn]
    assert also
    assert query.references[turn] not in also
    assert [text for text in also if not passes(at, text)] == []


def test_every_turn_has_wrong_answers_and_other_right_ones_of_its_own() -> None:
    for query in SHORT:
        assert len(query.turns) == len(ROWS[query.id]["wrong"]) == len(ROWS[query.id]["also"])


@TURN
def test_the_query_echoed_a_refusal_and_nothing_fail(at: int) -> None:
    query, turn = TURNS[at]
    for text in (query.turns[turn], f"I cannot answer that: {query.turns[turn]}", "I don't know.", "", "yes", "no"):
        assert not passes(at, text)


@TURN
def test_a_right_answer_denied_fails(at: int) -> None:
    query, turn = TURNS[at]
    for text in (f"It is not {query.references[turn]}", f"Not {query.references[turn]}"):
        assert not passes(at, text)


def test_a_constant_passes_at_most_six_percent() -> None:
    found = floors(SHORT)
    assert found["strict"].best <= 0.06
    assert found["graded"].best <= 0.06


def test_no_question_is_there_twice() -> None:
    first = [query.turns[0] for query in SHORT]
    assert len(set(first)) == len(first)


def shown() -> list[Demonstration]:
    """Return all that a prompt may show of the package, whole conversations, and the other built-in queries."""
    pools = [one for name in BUILT_IN for one in load_pool(name, whole=True).demonstrations]
    others = [(query.id, [(turn, None) for turn in query.turns]) for query in load_queries("instructions")]
    return [*pools, *(Demonstration(name, *first, tuple(further)) for name, (first, *further) in others)]


def test_no_question_is_in_a_built_in_pool_or_in_the_other_built_in_set() -> None:
    assert find_overlaps(shown(), SHORT, None) == []


@pytest.mark.slow
def test_no_question_is_near_to_what_a_built_in_pool_or_the_other_built_in_set_asks() -> None:
    """The reason why a study on these may compare texts alone."""
    encoder = Encoder()
    nearest = max(find_overlaps(shown(), SHORT, encoder, near=-1.0), key=lambda one: one.cosine or 1.0)
    print(f"the nearest two: {nearest}")
    assert find_overlaps(shown(), SHORT, encoder) == []
