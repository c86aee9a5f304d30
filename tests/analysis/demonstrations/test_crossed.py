"""Claims about intervals over queries and draws that are both resampled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import t as student_t

from analysis.demonstrations.crossed import crossed_interval, crossed_resamples
from analysis.demonstrations.sizes import OVER_BOTH, size_differences
from analysis.effects.intervals import mean_intervals
from tests.support.simulated_sizes import both_ways, sized
from tests.support.written_sizes import NAN, rows


def draws_of(differences: Sequence[Sequence[float]], **more: Any) -> pl.DataFrame:
    """Return a study with two examples whose differences are these, shape (queries, draws)."""
    table = np.array(differences)
    arms = both_ways((2,), draws=table.shape[1])
    return sized(5 + np.hstack([np.zeros_like(table), table]), [one | more for one in arms])


def test_several_draws_are_resampled_with_the_queries() -> None:
    differences = np.random.default_rng(0).normal(1, 1, (20, 3))
    row = rows(size_differences(draws_of(differences.tolist())), "group")[("turn 1",)]
    assert (row["difference"], row["draws"], row["n"], row["over"]) == (
        pytest.approx(differences.mean()),
        3,
        20,
        OVER_BOTH,
    )
    over_queries = mean_intervals(differences.mean(axis=1)[:, None])[0]
    assert over_queries is not None
    assert over_queries.low is not None
    assert row["low"] < over_queries.low


def test_draws_that_differ_alone_are_an_interval_over_draws() -> None:
    """Three draws that score 0, 1 and 2 on every query: Student's t with two degrees of freedom has half 2.48."""
    (row,) = size_differences(draws_of([[0.0, 1.0, 2.0]] * 30)).filter(pl.col("group") == "turn 1").to_dicts()
    assert row["difference"] == 1.0
    # two of three draws are taken at a time: the ends are both times the lowest, or the highest
    stretch = student_t.ppf(0.975, 2) / 1.959964
    assert (row["low"], row["high"]) == pytest.approx((1 - stretch, 1 + stretch), abs=1e-3)


def test_a_size_with_a_draw_of_its_own_keeps_it_in_every_resample() -> None:
    values = np.full((12, 2, 2), NAN)
    values[:, :, 0] = np.arange(24).reshape(12, 2)
    values[:, 1, 1] = 3.0
    assert set(crossed_resamples(values, resamples=50)[:, 1]) == {3.0}


def test_one_draw_has_the_interval_over_queries_and_no_score_none() -> None:
    values = np.random.default_rng(1).normal(0, 1, (15, 1))
    assert crossed_interval(values) == mean_intervals(values)[0]
    assert crossed_interval(np.full((3, 2), NAN)) is None


def test_resamples_vary_as_the_means_do() -> None:
    """Of queries alone: the standard error, stretched by Student's t over the normal quantile."""
    values = np.random.default_rng(2).normal(0, 1, (40, 1, 1))
    spread = crossed_resamples(values, resamples=20_000).std()
    stretch = student_t.ppf(0.975, 39) / 1.959964
    assert spread == pytest.approx(values.std(ddof=1) / 40**0.5 * stretch, rel=0.03)
