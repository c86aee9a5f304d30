"""Simulated studies: false discoveries among equal conditions, and the power that planning promises."""

import numpy as np
import pytest
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from analysis.effects.intervals import mean_intervals
from analysis.effects.paired import condition_effects, holm, t_tests
from analysis.planning import Spread, detectable_effect, needed_queries, observed_spread
from tests.support.simulated import Floats, judge_scores, study

STUDIES, CONDITIONS = 1000, 15


def equal_conditions(n: int, discrete: bool) -> Floats:
    """Differences of 15 conditions from their baseline where none has an effect, shape (n, studies, conditions)."""
    scores = judge_scores(np.random.default_rng(n), (n, STUDIES, CONDITIONS + 1), discrete=discrete)
    return scores[:, :, 1:] - scores[:, :, :1]


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("n", [8, 12, 30])
def test_of_15_equal_conditions_none_is_a_discovery_in_95_studies_of_100(n: int, discrete: bool) -> None:
    p_values = np.array(t_tests(equal_conditions(n, discrete).reshape(n, -1))).reshape(STUDIES, CONDITIONS)
    corrected = np.array([holm(row) for row in p_values.tolist()])
    rates = {name: (values < 0.05).any(axis=1).mean() for name, values in (("p", p_values), ("holm", corrected))}
    kind = "scores 1 to 10" if discrete else "normal scores"
    print(f"family-wise error | {n} queries, {kind} | Holm {rates['holm']:.1%}, uncorrected {rates['p']:.1%}")
    assert rates["holm"] <= 0.055
    assert rates["p"] > 0.25


@pytest.mark.parametrize("n", [8, 12, 30])
def test_the_corrected_lead_of_the_best_of_15_equal_conditions_is_clear_in_5_studies_of_100_at_most(n: int) -> None:
    differences = equal_conditions(n, discrete=True)
    best = differences.mean(axis=0).argmax(axis=1)
    leads = differences[:, np.arange(STUDIES), best]
    clear = {
        level: sum(found is not None and (found.low or 0) > 0 for found in mean_intervals(leads, level=level)) / STUDIES
        for level in (0.95, 1 - 0.05 / CONDITIONS)
    }
    plain, corrected = clear.values()
    print(f"best of 15 called clear | {n} queries | corrected {corrected:.1%}, uncorrected {plain:.1%}")
    assert corrected <= 0.05 < plain


def test_p_values_of_a_frame_of_equal_conditions_are_those_of_the_arrays() -> None:
    scores = judge_scores(np.random.default_rng(3), (12, CONDITIONS + 1))
    effects = condition_effects(study(scores))
    expected = t_tests(scores[:, 1:] - scores[:, :1])
    assert effects.get_column("p_value").to_list() == pytest.approx(expected)
    assert effects.get_column("p_holm").to_list() == pytest.approx(holm(expected))


def test_p_values_are_scipys_and_holms_correction_is_that_of_statsmodels() -> None:
    scores = judge_scores(np.random.default_rng(4), (12, 8), np.linspace(0, 2, 8))
    theirs = [ttest_rel(scores[:, at], scores[:, 0]).pvalue for at in range(1, 8)]
    assert t_tests(scores[:, 1:] - scores[:, :1]) == pytest.approx(theirs)
    assert holm(theirs) == pytest.approx(multipletests(theirs, method="holm")[1].tolist())
    assert holm([0.9, 0.9, None, 0.2]) == [1.0, 1.0, None, pytest.approx(0.6)]
    assert (holm([]), holm([None])) == ([], [None])


@pytest.mark.parametrize(("effect", "spread"), [(0.5, 1.5), (1.0, 1.0), (0.2, 0.4)])
def test_the_planned_number_of_queries_has_the_promised_power(effect: float, spread: float) -> None:
    (row,) = needed_queries(Spread(spread, None, 10, 20), [effect]).to_dicts()
    shown = {}
    for name, level in (("queries", 0.05), ("queries_corrected", 0.005)):
        differences = np.random.default_rng(7).normal(effect, spread, (row[name], 2 * STUDIES))
        shown[name] = np.mean([value < level for value in t_tests(differences) if value is not None])
    print(
        f"power | effect {effect}, spread {spread} | {shown} with {row['queries']}, {row['queries_corrected']} queries"
    )
    assert all(0.77 <= power <= 0.85 for power in shown.values())


def test_planned_numbers_are_those_of_statsmodels() -> None:
    spread = Spread(1.3, None, 6, 20)
    for effect, queries, corrected in needed_queries(spread).select("effect", "queries", "queries_corrected").rows():
        for number, level in ((queries, 0.05), (corrected, 0.05 / 6)):
            theirs = TTestPower().solve_power(effect / 1.3, alpha=level, power=0.8)
            assert number == int(np.ceil(theirs))
    size = detectable_effect(spread)
    assert size is not None
    assert TTestPower().power(size / 1.3, 20, 0.05) == pytest.approx(0.8)


@pytest.mark.parametrize("seeds", [2, 4])
def test_more_seeds_have_the_power_that_the_plan_gives_them(seeds: int) -> None:
    """Noise between seeds of 1, effects over queries with 0.5; the spread is that of a simulated study."""
    generator = np.random.default_rng(8)
    difficulty, suits = generator.normal(5, 2, 2000), generator.normal(0, 0.5, (2000, 4))
    means = np.column_stack([difficulty, difficulty, difficulty[:, None] + suits])
    results = study(
        means + generator.normal(0, 1, means.shape), replicates=[0, 1, 0, 0, 0, 0], ids=["a", "a", "b", "c", "d", "e"]
    )
    spread = observed_spread(results)
    assert spread is not None
    assert spread.of_seeds == pytest.approx(1.0, abs=0.05)
    (row,) = needed_queries(spread, [0.5], [seeds]).to_dicts()
    noise = generator.normal(0, 1, (2, row["queries"], STUDIES, seeds)).mean(axis=3)
    differences = 0.5 + generator.normal(0, 0.5, (row["queries"], STUDIES)) + noise[0] - noise[1]
    power = np.mean([value < 0.05 for value in t_tests(differences) if value is not None])
    print(f"power | effect 0.5, {seeds} seeds | {power:.1%} with {row['queries']} queries")
    assert 0.76 <= power <= 0.86
