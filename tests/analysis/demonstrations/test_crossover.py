"""Claims about the number of examples at which IFT overtakes ICL, on numbers written down."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from analysis.demonstrations.crossover import LEAST_QUERIES, UNDECIDABLE, _lacking, crossings, crossover, isotonic
from analysis.demonstrations.sizes import size_differences
from tests.support.simulated_sizes import both_ways, sized
from tests.support.written_sizes import ARMS, NAN, ONE_TURN, Row, steady


def verdict(differences: Mapping[int, float], **more: Any) -> Row:
    return crossover(steady(differences, **more)).filter(pl.col("group") == "turn 1").to_dicts()[0]


def test_a_crossing_is_interpolated_in_doublings() -> None:
    row = verdict({2: -1.0, 4: -1.0, 16: 1.0}, noise=0.1)
    assert row["value"] == pytest.approx(8.0)  # half way from 4 to 16, in doublings
    assert 4 < row["low"] < 8 < row["high"] < 16
    assert (row["sizes"], row["smallest"], row["largest"], row["below"], row["above"]) == (3, 2, 16, 0.0, 0.0)
    assert row["verdict"] == "IFT overtakes ICL at about 8.0 examples (95 %: 7 to 9)."


def test_a_lead_at_every_size_is_below_the_smallest_and_one_at_none_above_the_largest() -> None:
    ahead, behind = verdict({2: 2.0, 4: 3.0}), verdict({2: -3.0, 4: -2.0})
    assert (ahead["value"], ahead["low"], ahead["high"], ahead["below"]) == (None, None, None, 1.0)
    assert (behind["value"], behind["low"], behind["high"], behind["above"]) == (None, None, None, 1.0)
    assert ahead["verdict"] == "IFT overtakes ICL below 2 examples, the smallest size: it is ahead at every one."
    assert behind["verdict"].startswith("IFT overtakes ICL above 4 examples, the largest size, if at all")


def test_an_interval_that_reaches_one_end_is_bounded_on_the_other() -> None:
    early, late = verdict({2: 0.1, 4: 1.0, 8: 2.0}), verdict({2: -2.0, 4: -1.0, 8: 0.1})
    assert (early["value"], early["low"]) == (None, None)
    assert early["high"] is not None
    assert early["verdict"].startswith("IFT overtakes ICL at most at 3 examples (best guess below 2)")
    assert (late["high"], late["low"] > 4) == (None, True)
    assert "above 6 examples (best guess 7.5), if at all" in late["verdict"]


def test_an_interval_that_reaches_both_ends_decides_nothing() -> None:
    row = verdict({2: -0.1, 4: 0.1}, noise=2.0)
    assert row["verdict"].startswith(f"{UNDECIDABLE}: the 95 % interval reaches from below 2 to above 4 examples")
    assert row["low"] is row["high"] is None
    assert row["below"] > 0.025 < row["above"]


def test_one_common_size_and_equal_scores_decide_nothing() -> None:
    assert verdict({4: 1.0})["verdict"] == (
        f"{UNDECIDABLE}: both ways have one size in common (4 examples), and it takes two"
    )
    row = verdict({2: 0.0, 4: 0.0}, noise=0.0)
    assert row["verdict"] == f"{UNDECIDABLE}: both ways scored the same at every size"
    assert (row["value"], row["below"]) == (None, None)


def test_a_lead_that_comes_and_goes_is_smoothed_and_said() -> None:
    row = verdict({2: -2.0, 4: 1.0, 8: -0.5, 16: 2.0}, noise=0.1)
    # 1 and -0.5 become 0.25 each, so the zero lies between 2 and 4
    assert row["value"] == pytest.approx(2 ** (1 + 2 / 2.25))
    assert row["sign_changes"] == 3
    assert row["verdict"].endswith("The lead changes sides 3 times from size to size, which the rule takes for chance.")


def test_isotonic_values_are_those_of_pooling_neighbours() -> None:
    from scipy.optimize import isotonic_regression

    values = np.random.default_rng(3).normal(0, 1, (200, 7))
    expected = np.array([isotonic_regression(row).x for row in values])
    assert isotonic(values) == pytest.approx(expected)


def test_a_difference_of_exactly_zero_is_no_lead() -> None:
    doublings = np.array([1.0, 2.0, 3.0])
    assert crossings(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 2.0]]), doublings).tolist() == [
        2.0,
        np.inf,
        1.0,
    ]


def test_a_size_with_one_query_is_left_out_of_the_crossover() -> None:
    scores = np.hstack([ONE_TURN, [[1.0, 9.0]] * 3])
    scores[1:, 6] = NAN
    results = sized(scores, [*ARMS, *both_ways((8,))])
    assert size_differences(results).filter(pl.col("examples") == 8).get_column("difference").to_list() == [8.0, 8.0]
    assert crossover(results).get_column("largest").to_list() == [4, 4]


def test_a_handful_of_queries_decides_no_crossover() -> None:
    differences = np.array([0.5, 1.0])
    for queries in range(2, LEAST_QUERIES):
        assert _lacking([2, 4], differences, queries) == f"{queries} queries are too few to resample, and it takes 6"
    assert _lacking([2, 4], differences, LEAST_QUERIES) == ""
