"""Claims about paired effects and intervals, against scipy, statsmodels and formulas written down."""

from math import gamma, sqrt

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import ttest_1samp, ttest_rel
from statsmodels.stats.proportion import proportion_confint

from analysis.effects.intervals import (
    Interval,
    alike,
    clustered_mean,
    mean_intervals,
    resampled_counts,
    wilson_interval,
)
from analysis.effects.paired import (
    EFFECT_SCHEMA,
    condition_effects,
    largest_effects,
    lead_of_best,
    noise_floor,
    one_factor_effects,
    paired_effects,
)
from analysis.frames import Scores, trial_scores
from tests.support.simulated import judge_scores, study


def effects_of(values: object) -> list[dict[str, object]]:
    """Return the effects of all columns against the first."""
    table = np.asarray(values, dtype=np.float64)
    scores = Scores([f"q{at}" for at in range(len(table))], range(table.shape[1]), table)
    return paired_effects(scores, [(at, 0) for at in range(1, table.shape[1])]).to_dicts()


def test_an_effect_agrees_with_scipy_and_hedges_formula() -> None:
    scores = judge_scores(np.random.default_rng(0), (9, 2), np.array([0.0, 1.0]))
    (row,) = effects_of(scores)
    theirs = ttest_rel(scores[:, 1], scores[:, 0])
    interval = theirs.confidence_interval(0.95)  # below twelve queries ours is Student's too
    assert (row["difference"], row["p_value"]) == pytest.approx(((scores[:, 1] - scores[:, 0]).mean(), theirs.pvalue))
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    gains = scores[:, 1] - scores[:, 0]
    correction = gamma(8 / 2) / (sqrt(8 / 2) * gamma(7 / 2))
    assert row["standardised"] == pytest.approx(correction * gains.mean() / gains.std(ddof=1))


def test_wins_draws_and_losses_are_counted_over_shared_queries() -> None:
    (row,) = effects_of([[1, 2], [1, 2], [1, 1 + 1e-12], [1, 0], [np.nan, 3], [2, np.nan]])
    assert (row["wins"], row["draws"], row["losses"], row["n"]) == (2, 1, 1, 4)


def test_columns_with_different_gaps_are_each_tested_on_their_own_queries() -> None:
    scores = judge_scores(np.random.default_rng(1), (20, 6))
    gaps = scores.copy()
    gaps[np.random.default_rng(2).random(gaps.shape) < 0.3] = np.nan
    for at, row in enumerate(effects_of(gaps), start=1):
        both = ~np.isnan(gaps[:, [0, at]]).any(axis=1)
        assert row["p_value"] == pytest.approx(ttest_rel(gaps[both, at], gaps[both, 0]).pvalue)
        assert row["n"] == both.sum()


def test_equal_differences_show_no_spread_and_are_neither_tested_nor_standardised() -> None:
    same, shifted = effects_of([[1.0, 1.0, 3.0]] * 5)
    for row, difference in ((same, 0.0), (shifted, 2.0)):
        assert row["difference"] == difference
        assert {row[name] for name in ("low", "high", "p_value", "p_family")} == {None}
        assert row["verdict"] == "open"
    assert (same["standardised"], shifted["standardised"]) == (0.0, None)


def test_one_query_has_a_difference_and_nothing_else_and_two_have_no_standardised_size() -> None:
    (one,) = effects_of([[1, 3]])
    nothing = {name: one[name] for name in ("low", "high", "p_value", "p_family", "standardised")}
    assert one["difference"] == 2
    assert set(nothing.values()) == {None}
    (two,) = effects_of([[1, 3], [1, 4]])
    assert two["standardised"] is None  # its correction for few queries is 0
    assert two["p_value"] == pytest.approx(ttest_rel([3, 4], [1, 1]).pvalue)


def test_a_pair_without_a_common_query_is_left_out_and_does_not_count_as_a_test() -> None:
    rows = effects_of([[1, np.nan, 2], [1, np.nan, 2.5], [np.nan, 3, 9]])
    assert [row["trial"] for row in rows] == [2]
    assert rows[0]["p_family"] == rows[0]["p_value"]
    assert paired_effects(Scores(["q"], [0], np.ones((1, 1))), []).schema == EFFECT_SCHEMA


def test_frames_of_effects_are_empty_without_the_baseline() -> None:
    scores = judge_scores(np.random.default_rng(3), (6, 4))
    results = study(scores, {"temperature": [0.0, 0.5, 1.0, 0.5]}, states=["failed", *["complete"] * 3])
    assert condition_effects(results).is_empty()
    assert lead_of_best(results) is None
    assert noise_floor(results).is_empty()
    assert one_factor_effects(results).is_empty()


def test_a_lead_without_a_shared_query_is_none() -> None:
    results = study([[1.0, np.nan], [np.nan, 9.0]])
    assert lead_of_best(results) is None
    assert condition_effects(results).is_empty()


def test_the_lead_is_corrected_for_all_conditions_and_a_repeated_one_goes_by_its_first_trial() -> None:
    scores = judge_scores(np.random.default_rng(4), (20, 5), np.array([0, 0.5, 1, 3, 4]))
    lead = lead_of_best(study(scores, ids=["a", "b", "c", "d", "d"]))
    gains = scores[:, 3:].mean(axis=1) - scores[:, 0]
    alone = ttest_1samp(gains, 0).confidence_interval(0.95)
    assert lead is not None
    assert lead.value == pytest.approx(gains.mean())
    assert lead.low is not None
    assert lead.low < alone.low


def test_conditions_that_a_search_stopped_count_in_the_correction() -> None:
    scores = judge_scores(np.random.default_rng(5), (20, 12), np.array([0.0, 1.0, *[0.0] * 10]))
    states = ["complete"] * 2 + ["stopped"] * 10
    few, many = (lead_of_best(study(scores[:, :n], states=states[:n])) for n in (2, 12))
    assert few is not None
    assert many is not None
    assert few.value == many.value
    assert (many.low or 0) < (few.low or 0)


def test_the_largest_effect_of_a_parameter_is_the_one_that_surely_moves_most() -> None:
    generator = np.random.default_rng(6)
    values = judge_scores(generator, (40, 4), np.array([0.0, -1.0, -2.0, 0.05]), discrete=False)
    settings = {"temperature": [0.0, 0.5, 1.0, 0.0], "stop": ["a", "a", "a", "b"]}
    more = {"varied": [None, "temperature", "temperature", "stop"], "references": [None, "c0", "c0", "c0"]}
    effects = one_factor_effects(study(values, settings, **more))  # type: ignore[arg-type]
    first, second = largest_effects(effects).to_dicts()
    assert (first["parameter"], first["value"], second["parameter"]) == ("temperature", "1", "stop")
    assert first["at_least"] == pytest.approx(-first["high"])
    assert second["at_least"] == 0.0


def test_one_factor_effects_are_against_what_they_vary_around() -> None:
    settings = {"temperature": [0.0, 0.6, 0.6, 0.6], "top_p": [None, 1.0, 0.5, 0.8]}
    names, around = ["top_p"] * 2, ["warm"] * 2
    results = study(
        judge_scores(np.random.default_rng(5), (8, 4)),
        settings,
        ids=["cold", "warm", "c2", "c3"],
        varied=[None, "temperature", *names],
        references=[None, "cold", *around],
    )
    rows = one_factor_effects(results).select("parameter", "value", "against", "around").rows()
    assert rows == [("temperature", "0.6", "0", ""), *(("top_p", v, "1", "temperature=0.6") for v in ("0.5", "0.8"))]


def test_the_noise_floor_is_the_replicates_own_difference_and_not_its_average() -> None:
    scores = judge_scores(np.random.default_rng(6), (8, 2))
    results = study(scores, ids=["a", "a"], replicates=[0, 1], references=[None, "a"])
    (row,) = noise_floor(results).to_dicts()
    assert row["difference"] == pytest.approx((scores[:, 1] - scores[:, 0]).mean())
    assert list(trial_scores(results).trials) == [0, 1]


def test_a_clustered_mean_is_that_of_statsmodels_regression_on_a_constant() -> None:
    generator = np.random.default_rng(7)
    clusters = generator.integers(0, 9, 30)
    values = generator.normal(5, 1, 9)[clusters] + generator.normal(0, 1, 30)
    fitted = sm.OLS(values, np.ones(30)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    found = clustered_mean(values, clusters.tolist())
    assert found.value == pytest.approx(fitted.params[0])
    assert (found.low, found.high) == pytest.approx(tuple(fitted.conf_int()[0]))
    assert clustered_mean(values, ["one"] * 30).low is None


@pytest.mark.parametrize(("wins", "n"), [(0, 5), (3, 7), (20, 20), (411, 805)])
def test_wilsons_interval_is_that_of_statsmodels(wins: int, n: int) -> None:
    assert wilson_interval(wins / n, n) == pytest.approx(proportion_confint(wins, n, method="wilson"))


def test_the_bootstrap_agrees_with_students_t_where_there_are_many_queries() -> None:
    values = np.random.default_rng(8).normal(0.2, 1, (400, 1))
    (found,) = mean_intervals(values)
    theirs = ttest_rel(values[:, 0], np.zeros(400)).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_means_have_no_interval_below_two_rows_and_none_without_a_value() -> None:
    found = mean_intervals(np.array([[1.0, np.nan, 2.0], [3.0, np.nan, np.nan]]))
    assert found[1] is None
    assert found[2] == Interval(2.0, None, None, 1)
    assert found[0] is not None
    assert (found[0].value, found[0].n) == (2.0, 2)
    assert mean_intervals(np.empty((3, 0))) == []


def test_parts_without_gaps_cover_every_value_once() -> None:
    values = np.array([[1.0, np.nan, 2, np.nan], [3, 4, 5, np.nan], [6, 7, 8, np.nan]])
    parts = [(rows.tolist(), columns.tolist()) for rows, columns in alike(values)]
    assert parts == [([0, 1, 2], [0, 2]), ([1, 2], [1])]


def test_draws_are_those_of_the_seed_and_cannot_be_changed() -> None:
    counts = resampled_counts(5, 10, 1)
    assert set(counts.sum(axis=1)) == {5.0}
    assert not np.array_equal(counts, resampled_counts(5, 10, 2))
    with pytest.raises(ValueError, match="read-only"):
        counts[0, 0] = 1
    assert resampled_counts(0, 10, 1).shape == (10, 0)


def test_an_interval_reads_as_value_and_ends_and_knows_whether_it_excludes_zero() -> None:
    assert str(Interval(1.0, 0.25, 1.75, 9)) == "+1.00 [+0.25, +1.75]"
    assert str(Interval(1.0, None, None, 1)) == "+1.00 (n = 1)"
    cases = {(0.1, 2.0): True, (-2.0, -0.1): True, (-1.0, 1.0): False, (0.0, 1.0): False, (None, None): False}
    assert {ends: Interval(0, *ends, 5).excludes_zero for ends in cases} == cases


def test_numerical_noise_is_a_draw_and_no_effect() -> None:
    """A judge that embeds one text in two batches gives scores that differ by about 1e-7."""
    scores = np.full((9, 1), 5.0)
    (row,) = effects_of(np.hstack([scores, scores - 2e-7]))
    assert (row["wins"], row["draws"], row["losses"]) == (0, 9, 0)
    assert row["difference"] == 0.0
