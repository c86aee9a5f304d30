"""Claims about scores by turn and category, win rates, and their intervals."""

import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student_t

from analysis.effects.intervals import clustered_mean, wilson_interval
from analysis.scores import comparison_table, score_groups

CELLS = [  # query, category, turn, score
    ("q1", "math", 1, 8.0),
    ("q1", "math", 2, 4.0),
    ("q2", "math", 1, 6.0),
    ("q2", "math", 2, None),
    ("q3", "writing", 1, 10.0),
    ("q3", "writing", 2, 2.0),
]


def frame(
    cells: list[tuple[str, str, int, float | None]], details: list[dict[str, float]] | None = None
) -> pl.DataFrame:
    rows = [
        {"trial": 0, "label": "baseline", "query_id": query, "category": category, "turn": turn, "score": score}
        for query, category, turn, score in cells
    ]
    texts = [json.dumps(one) for one in details or [{}] * len(rows)]
    return pl.DataFrame(rows).with_columns(judge_details=pl.Series(texts, dtype=pl.String))


def test_turns_average_and_categories_are_means_over_judgments_as_in_mt_bench() -> None:
    groups = {row["group"]: row for row in score_groups(frame(CELLS), [0]).iter_rows(named=True)}
    assert list(groups) == ["turn 1", "turn 2", "average", "math", "writing"]
    means = {name: row["mean"] for name, row in groups.items()}
    assert means == {"turn 1": 8.0, "turn 2": 3.0, "average": 6.0, "math": 6.0, "writing": 6.0}
    assert (groups["turn 2"]["n_scored"], groups["turn 2"]["n_judged"]) == (2, 3)
    assert groups["writing"]["low"] is None  # one query
    assert groups["turn 1"]["low"] == pytest.approx(8 - student_t.ppf(0.975, 2) * 2 / np.sqrt(3))


def test_a_group_without_a_score_has_no_mean() -> None:
    (row,) = score_groups(frame([("q1", "", 1, None)]), [0]).filter(pl.col("group") == "turn 1").to_dicts()
    assert (row["mean"], row["low"], row["n_scored"], row["n_judged"]) == (None, None, 0, 1)


def test_the_clustered_interval_is_that_of_the_clusters_means_where_they_are_of_one_size() -> None:
    generator = np.random.default_rng(0)
    means = generator.normal(5, 2, 20)
    values = np.repeat(means, 2) + np.tile([1.0, -1.0], 20)
    found = clustered_mean(values, [number // 2 for number in range(40)])
    half = student_t.ppf(0.975, 19) * means.std(ddof=1) / np.sqrt(20)
    assert found.low == pytest.approx(means.mean() - half)
    assert found.high == pytest.approx(means.mean() + half)
    assert found.n == 20


@pytest.mark.parametrize(("wins", "n"), [(0, 5), (3, 7), (20, 20), (411, 805)])
def test_wilsons_interval_is_scipys(wins: int, n: int) -> None:
    theirs = binomtest(wins, n).proportion_ci(method="wilson")
    assert wilson_interval(wins / n, n) == pytest.approx((theirs.low, theirs.high))


def test_wins_draws_losses_and_the_position_bias_have_intervals_over_queries() -> None:
    win, draw = {"win": 1.0, "draw": 0.0, "loss": 0.0}, {"win": 0.0, "draw": 1.0, "loss": 0.0}
    steady, biased = {"first_twice": 0.0, "second_twice": 0.0}, {"first_twice": 1.0, "second_twice": 0.0}
    details = [win | steady, draw | biased, win | steady, {}, draw | steady, draw | biased]
    (row,) = comparison_table(frame(CELLS, details)).to_dicts()
    assert (row["n"], row["n_queries"]) == (5, 3)  # the unscored pair is left out
    assert (row["win"], row["draw"], row["loss"]) == (0.4, 0.6, 0.0)
    assert (row["first_twice"], row["second_twice"]) == (0.4, 0.0)
    assert (row["loss_low"], row["loss_high"]) == pytest.approx(wilson_interval(0.0, 3))


def test_a_judge_that_compares_nothing_has_no_comparisons() -> None:
    assert comparison_table(frame(CELLS)).is_empty()
