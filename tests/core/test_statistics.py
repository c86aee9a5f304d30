"""Claims about scoring: queries are the unit, gaps are counted, and intervals are Student's."""

import random
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from ablations.core.records import Completion, JudgedTurn, Judgment, Query, Score
from ablations.core.statistics import mean_interval, repeated_share, summarise


def judged(
    query: str,
    turn: int,
    score: float | str,
    *,
    category: str = "",
    text: str = "A full answer.",
    tokens: int = 4,
    finish: str = "stop",
) -> JudgedTurn:
    """One judged turn; a text in place of the score is the reason why there is none."""
    value = Score(None, score) if isinstance(score, str) else Score(score)
    completion = Completion(text, 10, tokens, finish, 0)
    return JudgedTurn(Query(query, category, ("a", "b")), turn, completion, Judgment("j", value, ""))


def test_the_two_turns_of_a_query_are_one_cluster() -> None:
    turns = [judged("a", 1, 2.0), judged("a", 2, 4.0), judged("b", 1, 9.0)]
    summary = summarise(turns)
    assert summary.mean == pytest.approx((3.0 + 9.0) / 2)
    assert summary.n_queries == 2
    expected = stats.t.interval(0.95, 1, loc=6.0, scale=stats.sem([3.0, 9.0]))
    assert (summary.low, summary.high) == pytest.approx(expected)


def test_the_order_of_turns_does_not_matter() -> None:
    turns = [judged(query, turn, len(query) + turn) for query in ("a", "bb", "ccc") for turn in (1, 2)]
    assert summarise(turns[::-1]) == summarise(turns)


def test_an_unscored_turn_is_left_out_and_counted_with_its_reason() -> None:
    turns = [
        judged("a", 1, 2.0),
        judged("a", 2, "no reference"),
        judged("b", 1, "no reference"),
        judged("b", 2, "empty"),
    ]
    summary = summarise(turns)
    assert summary.mean == 2.0
    assert (summary.low, summary.high) == (None, None)
    assert (summary.n_queries, summary.n_scored, summary.n_judged) == (2, 1, 4)
    assert summary.coverage == 0.25
    assert summary.unscored == {"no reference": 2, "empty": 1}
    assert summary.by_turn == {1: 2.0}


def test_a_trial_without_any_score_has_no_mean() -> None:
    summary = summarise([judged("a", 1, "broken", category="math")])
    assert (summary.mean, summary.low, summary.high, summary.coverage) == (None, None, None, 0.0)
    assert (summary.by_turn, summary.by_category) == ({}, {})


def test_a_score_of_zero_is_a_score() -> None:
    summary = summarise([judged("a", 1, 0.0), judged("b", 1, 1.0)])
    assert (summary.mean, summary.coverage) == (0.5, 1.0)


def test_turns_and_categories_have_means_of_their_own() -> None:
    turns = [
        judged("a", 1, 2.0, category="math"),
        judged("a", 2, 4.0, category="math"),
        judged("b", 1, 9.0, category="math"),
        judged("c", 1, 1.0, category="coding"),
        judged("d", 1, 5.0),
    ]
    summary = summarise(turns)
    assert summary.by_turn == {1: fmean([2.0, 9.0, 1.0, 5.0]), 2: 4.0}
    assert list(summary.by_category.items()) == [("coding", 1.0), ("math", 5.0)]


def test_lengths_and_rates_are_over_all_turns_scored_or_not() -> None:
    turns = [
        judged("a", 1, 2.0, tokens=10, finish="length"),
        judged("a", 2, "empty", tokens=0, text=" ```\n"),
        judged("b", 1, 3.0, tokens=2, text="a b c d a b c d"),
        judged("b", 2, 3.0, tokens=4),
    ]
    summary = summarise(turns)
    assert (summary.mean_tokens, summary.completion_tokens, summary.prompt_tokens) == (4.0, 16, 40)
    assert (summary.truncation_rate, summary.empty_rate) == (0.25, 0.25)
    assert summary.repetition == pytest.approx(repeated_share("a b c d a b c d") / 4)


@pytest.mark.parametrize("count", [2, 3, 10, 80])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_is_that_of_scipy(count: int, level: float) -> None:
    values = list(np.random.default_rng(count).normal(5, 2, count))
    mean, low, high = mean_interval(values, level)
    expected = stats.t.interval(level, count - 1, loc=np.mean(values), scale=stats.sem(values))
    assert mean == pytest.approx(np.mean(values))
    assert (low, high) == pytest.approx(expected)


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    generator = random.Random(0)
    covered = 0
    for _ in range(1000):
        _, low, high = mean_interval([generator.gauss(5, 2) for _ in range(8)])
        assert low is not None
        assert high is not None
        covered += low <= 5 <= high
    assert 0.93 <= covered / 1000 <= 0.97


@pytest.mark.parametrize(("values", "interval"), [([], (None, None, None)), ([4.0], (4.0, None, None))])
def test_too_few_values_have_no_interval(values: list[float], interval: tuple[float | None, ...]) -> None:
    assert mean_interval(values) == interval


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert mean_interval([3.0, 3.0, 3.0]) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    ("text", "n", "share"),
    [
        ("", 4, 0.0),
        ("one two three", 4, 0.0),
        ("one two three four", 4, 0.0),
        ("a b a b a b", 2, 3 / 5),
        ("no no no no no", 4, 1 / 2),
        ("Yes YES yes\nyes  yes", 4, 1 / 2),
        ("a b c d e f g h", 4, 0.0),
    ],
)
def test_the_repeated_share_counts_word_ngrams_that_occurred_before(text: str, n: int, share: float) -> None:
    assert repeated_share(text, n) == pytest.approx(share)
