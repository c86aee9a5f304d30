"""Claims about planning: spreads of comparisons, power, and the queries that effects take, by simulation too."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from statsmodels.stats.power import TTestPower

from ablations.core.statistics import ENDLESS, Ends, Scale
from analysis.effects.families import family
from analysis.planning import PLAN_SCHEMA, Contrast, Level, needed_queries, observed_contrasts
from tests.support.simulated import Floats, judge_scores, study

SAMPLED = {"temperature": [0.0, 0.7, 0.7, 0.0]}
"""A greedy baseline, a condition that samples with its A/A replicate, and a greedy condition."""


def sampled(scores: Floats, **more: Any) -> pl.DataFrame:
    return study(scores, SAMPLED, ids=["a", "b", "b", "c"], replicates=[0, 0, 1, 0], **more)


def test_each_comparison_has_its_own_spread_and_noise_only_where_a_condition_samples() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, [0.0, 1.0, 1.0, 0.0], (2000, 4))
    scores = generator.normal(5, 2, (2000, 1)) + generator.normal(0, [0.0, 0.3, 0.3, 0.5], (2000, 4)) + noise
    first, second = observed_contrasts(sampled(scores))
    assert first.spread == pytest.approx((scores[:, 1] - scores[:, 0]).std(ddof=1))
    assert first.noise == pytest.approx(np.sqrt(((scores[:, 2] - scores[:, 1]) ** 2).mean() / 2))
    assert (second.spread, second.noise) == (pytest.approx((scores[:, 3] - scores[:, 0]).std(ddof=1)), 0.0)
    assert second.with_seeds(9) == second.spread
    assert first.with_seeds(4) == pytest.approx(np.sqrt(first.spread**2 - 0.75 * first.noise**2))


def test_too_little_gives_no_comparison_and_gaps_count_in_its_queries() -> None:
    scores = judge_scores(np.random.default_rng(1), (10, 2))
    scores[6:, 1] = np.nan
    assert [one.n for one in observed_contrasts(study(scores))] == [6]
    for few in (scores[:1], scores[:, :1], np.where(np.arange(2) == 0, scores, np.nan)):
        assert observed_contrasts(study(few)) == []
    assert observed_contrasts(study(scores, states=["failed", "complete"])) == []


def test_numbers_without_pseudo_queries_are_those_of_statsmodels_and_the_family_takes_more() -> None:
    for comparisons in (1, 9):
        level = Level(comparisons)
        theirs = TTestPower().solve_power(0.5 / 1.3, alpha=level.alpha, power=0.8)
        assert level.queries(0.5, 1.3) == int(np.ceil(theirs))
        assert level.power(0.5, 1.3, 40) == pytest.approx(TTestPower().power(0.5 / 1.3, 40, level.alpha))
        assert level.power(level.detectable(1.3, 40), 1.3, 40) == pytest.approx(0.8, abs=0.005)
    assert Level(1).alpha == pytest.approx(0.05)
    assert 1 - (1 - Level(9).alpha) ** 9 == pytest.approx(0.05)


def test_no_spread_takes_two_queries_and_too_many_are_said_to_be_none() -> None:
    assert Level().queries(0.1, 0.0) == 2
    assert Level().queries(0.1, 100.0) is None
    assert Level().power(0.0, 0.0, 10) == Level().alpha


@pytest.mark.parametrize(("ends", "shares"), [(ENDLESS, False), (Ends.of(Scale(0.0, 1.0)).differences(), True)])
def test_the_planned_number_of_queries_has_the_promised_power(ends: Ends, shares: bool) -> None:
    level, generator, effect = Level(1, ends), np.random.default_rng(7), 0.15
    chances = np.array([0.25, 0.35, 0.40])  # of losing, of no change, of winning
    spread = float(np.sqrt(chances[[0, 2]].sum() - effect**2)) if shares else 0.5
    queries = level.queries(effect, spread)
    assert queries is not None
    shape = (queries, 1000)
    drawn = generator.choice([-1.0, 0.0, 1.0], shape, p=chances) if shares else generator.normal(effect, spread, shape)
    power = np.mean([one.p_value < 0.05 for column in drawn.T for one in family(column[:, None], [ends]) if one])
    print(f"power | effect {effect}, spread {spread:.2f}, 0-1 scores {shares} | {power:.1%} with {queries} queries")
    assert 0.76 <= power <= 0.85


def test_more_seeds_have_the_power_that_the_plan_gives_them() -> None:
    """Noise between seeds of 1 on one side, effects over queries with 0.5."""
    generator = np.random.default_rng(8)
    (row,) = needed_queries([Contrast("c", float(np.sqrt(1.25)), 1.0, 500)], [0.5], Level(), [4]).to_dicts()
    noise = generator.normal(0, 1, (row["queries"], 1000, 4)).mean(axis=2)
    differences = 0.5 + generator.normal(0, 0.5, (row["queries"], 1000)) + noise
    power = np.mean(
        [one.p_value < 0.05 for column in differences.T for one in family(column[:, None], [ENDLESS]) if one]
    )
    print(f"power | effect 0.5, 4 seeds | {power:.1%} with {row['queries']} queries")
    assert 0.76 <= power <= 0.86


def test_a_plan_has_a_range_from_the_intervals_of_the_spread_and_names_seeds_where_they_help() -> None:
    table = needed_queries([Contrast("greedy", 1.0, 0.0, 30), Contrast("sampled", 1.0, 0.5, 30)], [0.5, 1.0], Level(3))
    assert table.schema == pl.Schema(PLAN_SCHEMA)
    assert table.select("change", "effect", "seeds").rows() == [
        *(("greedy", effect, 1) for effect in (0.5, 1.0)),
        *(("sampled", effect, seeds) for effect in (0.5, 1.0) for seeds in (1, 2, 4)),
    ]
    assert (table["queries_low"] < table["queries"]).all()
    assert (table["queries"] < table["queries_high"]).all()
    covered = 0
    for seed in range(200):
        spread = np.random.default_rng(seed).normal(0, 1, 30).std(ddof=1)
        (row,) = needed_queries([Contrast("c", float(spread), 0.0, 30)], [0.5], Level()).to_dicts()
        covered += row["queries_low"] <= (Level().queries(0.5, 1.0) or 0) <= row["queries_high"]
    assert 183 <= covered <= 198
