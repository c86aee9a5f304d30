"""Claims about which condition is best: conditions are compared on the queries that both have scores on."""

import numpy as np
import pytest

from ablations.core.statistics import best_first, filled

CONDITIONS, STUDIES = 13, 400


def studies(queries: int, noise: float) -> "list[tuple[np.ndarray, np.ndarray]]":
    """Return the difficulty of each query, and the scores of equal conditions on it, of many studies."""
    generator = np.random.default_rng(1)
    made = []
    for _ in range(STUDIES):
        difficulty = generator.normal(0, 2, queries)
        made.append((difficulty, 5 + difficulty[:, None] + generator.normal(0, noise, (queries, CONDITIONS))))
    return made


def scores_of(values: np.ndarray) -> dict[int, dict[str, float]]:
    """Return the scores of each condition by query; those that are not a number are missing."""
    return {
        column: {str(row): float(value) for row, value in enumerate(values[:, column]) if not np.isnan(value)}
        for column in range(values.shape[1])
    }


@pytest.mark.parametrize(("queries", "noise"), [(10, 1.0), (20, 1.0), (40, 1.0), (40, 2.0)])
def test_a_condition_that_lacks_the_hardest_tenth_of_the_queries_is_chosen_hardly_more_often_than_its_equals(
    queries: int, noise: float
) -> None:
    chosen = means = 0
    for difficulty, values in studies(queries, noise):
        values[np.argsort(difficulty)[: max(1, round(queries / 10))], 0] = np.nan
        chosen += best_first(scores_of(values))[0] == 0
        means += int(np.nanmean(values, axis=0).argmax()) == 0
    assert chosen / STUDIES <= 0.12
    assert means / STUDIES > 0.2, "means over different queries do choose it, so that the simulation shows something"


def test_a_condition_that_is_better_is_found_whatever_it_lacks() -> None:
    found = 0
    for difficulty, values in studies(40, 1.0):
        values[:, 0] += 1.0
        values[np.argsort(-difficulty)[:4], 0] = np.nan  # the easiest queries
        found += best_first(scores_of(values))[0] == 0
    assert found / STUDIES > 0.9


def test_of_equals_the_first_is_best_and_a_condition_without_a_score_is_left_out() -> None:
    assert best_first({"b": {"q": 5.0}, "a": {"q": 5.0}, "none": {}}) == ["b", "a"]
    assert best_first({}) == []
    assert best_first({"a": {"q1": 5.0}, "b": {"q2": 1.0}}) == ["a", "b"]


def test_complete_scores_are_ordered_by_their_means() -> None:
    _, values = studies(20, 1.0)[0]
    assert best_first(scores_of(values)) == list(np.argsort(-values.mean(axis=0)))


def test_what_is_missing_is_filled_with_what_query_and_condition_lead_to_expect() -> None:
    rows, columns = np.array([0.0, 2.0, 5.0]), np.array([1.0, 3.0])
    whole = rows[:, None] + columns
    holed = whole.copy()
    holed[2, 1] = np.nan
    assert filled(holed) == pytest.approx(whole, abs=1e-6)
    assert filled(whole) == pytest.approx(whole)
