"""Paired effects, the noise floor and importances on results with a known truth."""

from functools import cache

import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_rel

from ablations.studies.conditions.findings import ConditionFindings
from analysis.effects.intervals import paired_interval
from analysis.effects.paired import (
    baseline_trial,
    best_trial,
    condition_effects,
    lead_of_best,
    noise_floor,
    one_factor_effects,
)
from analysis.frames import condition_scores, trial_table, varied_parameters
from analysis.parameters.importance import FANOVA, importances
from analysis.report.page import About
from tests.support.temperatures import make_results


@cache
def found() -> ConditionFindings:
    """The findings of `make_results()`, whose importances take seconds."""
    return ConditionFindings.of(make_results(trials=36))


def test_the_planted_effect_is_found_and_pairing_is_narrower_than_the_spread_between_queries() -> None:
    results = make_results()
    (row,) = condition_effects(results).filter(pl.col("trial") == 2).to_dicts()
    assert row["low"] <= -2.0 <= row["high"] < 0
    assert row["verdict"] == "worse"
    assert row["high"] - row["low"] < condition_scores(results).of([0]).std(ddof=1) / 2


def test_intervals_agree_with_students_t_on_normal_data() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.normal(1, 1, 200), generator.normal(0, 1, 200)
    theirs = ttest_rel(first, second).confidence_interval(0.95)
    ours = paired_interval(first, second)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_unscored_queries_are_left_out_of_the_pair() -> None:
    interval = paired_interval(np.array([1.0, np.nan, 3.0]), np.array([0.0, 0.0, 1.0]))
    assert (interval.value, interval.n) == (1.5, 2)


def test_equal_scores_have_no_spread_and_one_query_no_interval() -> None:
    same = paired_interval(np.ones(5), np.zeros(5))
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    single = paired_interval(np.ones(1), np.zeros(1))
    assert (single.low, single.high) == (None, None)
    with pytest.raises(ValueError, match="no query"):
        paired_interval(np.array([np.nan]), np.ones(1))


def test_the_noise_floor_compares_the_replicate_with_its_twin() -> None:
    (row,) = noise_floor(make_results()).to_dicts()
    assert (row["trial"], row["reference_trial"]) == (1, 0)
    assert row["low"] <= 0 <= row["high"]


def test_one_factor_effects_name_parameter_value_and_what_they_are_against() -> None:
    (row,) = one_factor_effects(make_results()).to_dicts()
    assert (row["parameter"], row["value"], row["against"]) == ("temperature", "1", "0")
    assert row["difference"] == pytest.approx(-2.0, abs=0.3)


def test_importance_finds_what_matters_and_keeps_the_conditional_parameter() -> None:
    by_name = {row["parameter"]: row for row in found().importances.of(FANOVA).to_dicts()}
    assert set(by_name) == {"temperature", "top_p"}
    assert by_name["temperature"]["importance"] > max(0.6, by_name["temperature"]["null"])


def test_importances_of_an_optimisers_and_of_few_trials_are_withheld() -> None:
    assert "optimiser" in importances(make_results(role="sampled")).withheld
    few = importances(make_results(trials=6))
    assert few.table.is_empty()
    assert few.withheld == "4 conditions that move all parameters at once are too few; 30 are needed"


def test_a_parameter_without_effect_has_its_neutral_value() -> None:
    table = trial_table(make_results())
    assert set(table.filter(pl.col("param.temperature") == 0).get_column("param.top_p")) == {1.0}
    assert varied_parameters(make_results()) == ["temperature", "top_p"]


def test_a_failed_trial_neither_wins_nor_counts() -> None:
    failed = pl.when(pl.col("trial") == 3).then(pl.lit("failed")).otherwise(pl.col("state")).alias("state")
    results = make_results().with_columns(
        failed, score=pl.when(pl.col("trial") == 3).then(10.0).otherwise(pl.col("score"))
    )
    assert best_trial(results) != 3
    assert baseline_trial(results) == 0


def test_findings_hold_a_headline_with_interval_and_a_figure_per_parameter() -> None:
    findings = found()
    assert "paired over 12 queries" in findings.headline
    figures = findings.report(About("s")).figures
    assert set(figures) >= {
        "importance",
        "parameter_temperature",
        "parameter_top_p",
        "marginals",
        "cost",
    }
    fanova = findings.importances.of(FANOVA).filter(pl.col("parameter") == "temperature")
    assert findings.metrics()["importance/temperature"] == fanova.get_column("importance")[0]


def test_a_figure_shows_the_numbers_of_its_frame() -> None:
    findings = found()
    figures = findings.report(About("s")).figures
    axes = figures["importance"].axes[0]
    widths = sorted(bar.get_width() for bar in axes.patches)  # type: ignore[attr-defined]
    assert widths == pytest.approx(sorted(findings.importances.table.get_column("importance")))
    assert "34 conditions, 12 queries" in axes.get_title(loc="left")
    drawn = figures["parameter_temperature"].axes[0]
    assert "temperature" in drawn.get_xlabel()
    assert "fake judge" in drawn.get_ylabel()


def test_the_best_of_many_equal_conditions_is_seldom_called_clear() -> None:
    leads = [lead_of_best(make_results(effect=0.0, seed=seed)) for seed in range(60)]
    assert sum(lead is not None and lead.excludes_zero for lead in leads) <= 6


def test_a_real_lead_is_called_clear() -> None:
    assert ": a clear lead." in ConditionFindings.of(make_results(effect=-1.0, trials=9)).headline
