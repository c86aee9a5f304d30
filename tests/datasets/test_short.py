"""Claims about the built-in set `short`: every answer can be checked, and nothing passes by chance."""

import json
from collections import Counter

import pytest

from ablations.core.jsonl import DATA
from ablations.datasets.queries import load_queries
from ablations.judges.checks.base import Answer
from ablations.judges.checks.floor import floors
from ablations.judges.checks.registry import Accepted, bind

SHORT = load_queries("short", accept=Accepted())
WRONG = {
    row["id"]: row["wrong"] for row in map(json.loads, (DATA / "short.jsonl").read_text(encoding="utf-8").splitlines())
}
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
    assert len(WRONG[query.id][turn]) >= 3
    assert [text for text in WRONG[query.id][turn] if passes(at, text)] == []
    others = [text for one, place in TURNS for text in [one.references[place] or ""] if one.category != query.category]
    assert sum(passes(at, text) for text in others) <= 4


@TURN
def test_the_query_echoed_a_refusal_and_nothing_fail(at: int) -> None:
    query, turn = TURNS[at]
    for text in (query.turns[turn], f"I cannot answer that: {query.turns[turn]}", "I don't know.", "", "yes", "no"):
        assert not passes(at, text)


def test_a_constant_passes_at_most_six_percent() -> None:
    found = floors(SHORT)
    assert found["strict"].best <= 0.06
    assert found["graded"].best <= 0.06


def test_no_question_is_there_twice() -> None:
    first = [query.turns[0] for query in SHORT]
    assert len(set(first)) == len(first)
