"""Claims about choosing demonstrations: which ones, how many, and that it is the same everywhere."""

from collections.abc import Sequence

import numpy as np
import pytest

from ablations.core.errors import ConditionError
from ablations.core.prompt import Demonstration
from ablations.core.records import Query
from ablations.datasets.pools import STYLED, Pool, load_pool
from ablations.datasets.selection import Chooser, TokenLimits
from ablations.models.embedding import Encoder, Vectors
from ablations.prompts.components import SOURCES, build_parts, built_in_demonstrations


class TopicEncoder(Encoder):
    """Texts on one topic lie together: the number in a text decides its angle, in degrees."""

    identity = "topics"

    def encode(self, texts: Sequence[str]) -> Vectors:
        angles = np.radians([float(text.split()[-1]) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


ANGLES = (0, 5, 10, 90, 95, 100, 180, 185, 190, 270, 275, 280)
POOL = Pool("test", tuple(Demonstration(f"d{angle}", f"topic {angle}", "yes") for angle in ANGLES))
QUERIES = tuple(Query(f"q{angle}", "", (f"asked {angle}", "again 0")) for angle in (1, 92, 271))


def make_chooser(limits: TokenLimits | None = None, length: int = 10, **more: object) -> Chooser:
    lengths = {one.id: length for one in POOL.demonstrations}
    return Chooser(POOL, QUERIES, TopicEncoder(), limits or TokenLimits(), lengths, **more)  # type: ignore[arg-type]


def ids(shown: Sequence[Demonstration]) -> list[str]:
    return [one.id for one in shown]


def test_the_first_ones_are_in_the_pools_order() -> None:
    assert ids(make_chooser().choose("first", 3).common) == ["d0", "d5", "d10"]


def test_random_draws_differ_and_repeat_themselves_and_a_larger_one_begins_with_a_smaller() -> None:
    draws = [make_chooser().choose("random", 5, draw).common for draw in range(4)]
    assert len(set(draws)) == 4
    assert draws == [make_chooser().choose("random", 5, draw).common for draw in range(4)]
    assert make_chooser().choose("random", 2, 1).common == draws[1][:2]
    assert make_chooser(seed=1).choose("random", 5).common != draws[0]


def test_diverse_ones_come_from_different_clusters() -> None:
    shown = make_chooser().choose("diverse", 4).common
    assert ids(shown) == ["d5", "d95", "d185", "d275"]


def test_every_query_is_shown_the_nearest_ones_most_similar_last() -> None:
    chosen = make_chooser().choose("retrieved", 3)
    assert chosen.common == ()
    assert {query: ids(shown) for query, shown in chosen.by_query} == {
        "q1": ["d10", "d5", "d0"],
        "q92": ["d100", "d95", "d90"],
        "q271": ["d280", "d275", "d270"],
    }


def test_retrieval_fills_up_to_the_limit_and_passes_over_what_is_too_long() -> None:
    chooser = make_chooser(TokenLimits(each=15, total=25))
    assert [len(shown) for _, shown in chooser.choose("retrieved", 5).by_query] == [2, 2, 2]
    lengths = {one.id: 10 for one in POOL.demonstrations} | {"d0": 16}
    chooser = Chooser(POOL, QUERIES, TopicEncoder(), TokenLimits(each=15, total=25), lengths)
    assert chooser.too_long == 1
    assert ids(dict(chooser.choose("retrieved", 5).by_query)["q1"]) == ["d10", "d5"]


def test_the_control_shows_as_many_random_ones_as_retrieval_shows_that_query() -> None:
    lengths = {one.id: 5 if one.id in ("d0", "d5", "d10") else 30 for one in POOL.demonstrations}
    chooser = Chooser(POOL, QUERIES, TopicEncoder(), TokenLimits(total=40), lengths)
    near, control = (chooser.choose(source, 8, 0).by_query for source in ("retrieved", "random-per-query"))
    assert [(query, len(shown)) for query, shown in near] == [(query, len(shown)) for query, shown in control]
    assert near != control
    assert control != chooser.choose("random-per-query", 8, 1).by_query


def test_a_greedy_prompt_gives_what_the_search_had_at_each_number() -> None:
    found = tuple(Demonstration(name, name, "yes") for name in ("second", "first", "start"))
    chooser = make_chooser(greedy=found)
    assert ids(chooser.choose("greedy", 2).common) == ["first", "start"]
    assert chooser.most("greedy") == 3
    with pytest.raises(ConditionError, match="shots = 4 is out of range; the prompt of the greedy search has"):
        chooser.choose("greedy", 4)


@pytest.mark.parametrize("source", SOURCES)
def test_no_demonstration_is_the_same_from_every_source(source: str) -> None:
    chosen = make_chooser().choose(source, 0)
    assert (chosen.common, chosen.by_query) == ((), ())


def test_more_than_there_are_is_refused_with_the_limit() -> None:
    with pytest.raises(ConditionError, match="shots = 13 is out of range; the pool 'test' has 0 to 12"):
        make_chooser().choose("random", 13)


def test_an_unknown_source_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ConditionError, match="source = 'retrived' is not known; did you mean retrieved"):
        make_chooser().choose("retrived", 1)


def test_a_styled_pool_is_chosen_from_in_every_style() -> None:
    chooser = Chooser(load_pool(STYLED))
    warm, terse = (build_parts(shots=4, source="random", style=style, chooser=chooser) for style in ("warm", "terse"))
    assert ids(warm.shots) == ids(terse.shots)
    assert [one.answer for one in warm.shots] != [one.answer for one in terse.shots]
    by_style = {one.id: one for one in built_in_demonstrations("terse")}
    assert list(terse.shots) == [by_style[one.id] for one in terse.shots]


def test_demonstrations_of_each_query_are_arranged_and_named() -> None:
    parts = build_parts(shots=3, source="retrieved", order="reversed", chooser=make_chooser())
    assert ids(parts.shown_to("q1")) == ["d0", "d5", "d10"]
    assert parts.values()["shots"] == 3
    assert parts.values()["source"] == "retrieved"
    given = build_parts(shots=3, source="retrieved", chooser=make_chooser())
    assert parts.content() != given.content()


def test_a_random_answer_comes_from_the_whole_pool() -> None:
    parts = build_parts(shots=1, matching="pool", chooser=make_chooser())
    assert parts.shots[0].answer == "yes"


def test_what_decides_the_choice_is_its_identity() -> None:
    plain = make_chooser().identity
    assert plain == make_chooser(length=99).identity  # lengths decide nothing without limits
    assert make_chooser(TokenLimits(total=35)).identity != make_chooser(TokenLimits(total=35), length=9).identity
    assert make_chooser(greedy=POOL.demonstrations[:1]).identity != plain
