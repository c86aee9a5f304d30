"""Simulated studies with a known truth: how often 95 % intervals cover it. The output holds the figures (pytest -s)."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from ablations.core.statistics import Ends, Scale
from analysis.demonstrations.curves import scaling_slopes
from analysis.effects.intervals import Interval, clustered_mean, mean_intervals, wilson_interval
from analysis.effects.joint import joint_effects
from analysis.effects.paired import condition_effects
from analysis.parameters.shapley import shapley_values
from tests.support.coverage import STUDIES, check
from tests.support.simulated import Floats, judge_scores, study, true_difference

SHIFT = 0.5


def covers(found: Sequence[Interval | None], truth: float) -> int:
    return sum(one is not None and (one.low or 0) <= truth <= (one.high or 0) for one in found)


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("n", [8, 12, 30, 80])
def test_paired_effects_cover_the_truth(n: int, discrete: bool) -> None:
    generator = np.random.default_rng(n)
    shifts = np.array([SHIFT, 0.0])
    scores = judge_scores(generator, (n, STUDIES, 2), shifts, discrete)
    ends = Ends.of(Scale(1.0, 10.0) if discrete else None).differences()
    found = mean_intervals(scores[:, :, 0] - scores[:, :, 1], ends=ends)
    covered = covers(found, true_difference(SHIFT, discrete))
    kind = "scores 1 to 10" if discrete else "normal scores"
    check(f"paired effect, {n} queries, {kind}", covered, most=0.98 if n == 8 else 0.97)


@pytest.mark.parametrize("n", [30, 80])
def test_paired_effects_cover_the_truth_where_seven_answers_in_ten_are_the_same(n: int) -> None:
    generator = np.random.default_rng(n)
    changes = (generator.integers(-2, 4, (n, STUDIES))) * (generator.random((n, STUDIES)) < 0.3)
    check(f"paired effect, {n} queries, 70 % of differences 0", covers(mean_intervals(changes), 0.15))


def test_with_eight_queries_intervals_miss_rare_changes_in_one_direction() -> None:
    """A limit of every interval for a mean: no query may show the change. `intervals.mean_intervals` says so."""
    generator = np.random.default_rng(8)
    changes = generator.integers(0, 4, (8, STUDIES)) * (generator.random((8, STUDIES)) < 0.3)
    check("rare changes in one direction, 8 queries", covers(mean_intervals(changes), 0.45), least=0.7, most=0.93)


@pytest.mark.parametrize("n", [8, 30])
def test_two_turns_are_one_cluster_and_seeds_are_nested(n: int) -> None:
    """Three seeds of the condition against one of the baseline, two turns with a common effect of the query."""
    generator = np.random.default_rng(n)
    effect_on_query = generator.normal(0, 1, (n, STUDIES, 1, 1))
    on, off = (generator.normal(0, 1, (n, STUDIES, seeds, 2)) for seeds in (3, 1))
    gains = (SHIFT + effect_on_query + on).mean(axis=(2, 3)) - off.mean(axis=(2, 3))
    check(f"two turns, three seeds, {n} queries", covers(mean_intervals(gains), SHIFT))
    apart = (SHIFT + effect_on_query + on - off).reshape(n, STUDIES, -1).transpose(0, 2, 1).reshape(-1, STUDIES)
    naive = covers(mean_intervals(apart), SHIFT) / STUDIES
    print(f"coverage | the same with turns and seeds taken for queries | {naive:.1%} of {STUDIES}")
    assert naive < 0.8


def test_the_frame_nests_replicates_and_turns_as_the_arrays_do_200_studies_through_it() -> None:
    generator, covered = np.random.default_rng(4), 0
    for _ in range(200):
        shared = generator.normal(5, 2, (12, 1, 1)) + np.array([0, SHIFT, SHIFT, SHIFT])
        suits = generator.normal(0, 1, (12, 1, 1)) * np.array([0, 1, 1, 1])
        scores = shared + suits + generator.normal(0, 1, (12, 2, 4))
        results = study(scores, replicates=[0, 0, 1, 2], ids=["a", "b", "b", "b"], references=[None, None, "b", "b"])
        (row,) = condition_effects(results).to_dicts()
        gains = scores[:, :, 1:].mean(axis=(1, 2)) - scores[:, :, 0].mean(axis=1)
        assert row["difference"] == pytest.approx(gains.mean())
        covered += row["low"] <= SHIFT <= row["high"]
    check("two turns, three seeds, 12 queries, through the frame", covered, 200, 0.9, 0.99)


def additive(codes: Floats, interaction: float) -> Floats:
    """The truth of a 2^2 factorial: codes -1 or 1, shape (conditions, 2)."""
    return 0.5 * codes[:, 0] - 0.3 * codes[:, 1] + interaction / 4 * codes[:, 0] * codes[:, 1]


@pytest.mark.parametrize("n", [8, 30])
def test_interactions_cover_the_difference_of_differences(n: int) -> None:
    codes = np.array(list(product([-1.0, 1.0], repeat=2)))
    generator = np.random.default_rng(n)
    scores = judge_scores(generator, (n, STUDIES, 4), additive(codes, 0.8), discrete=False)
    weights = codes[:, 0] * codes[:, 1]
    check(f"interaction, {n} queries", covers(mean_intervals(scores @ weights), 0.8))


def test_pairs_cover_the_difference_of_differences_in_200_studies_through_the_frame() -> None:
    codes, covered = np.array(list(product([-1.0, 1.0], repeat=2))), 0
    settings = {name: codes[:, at].tolist() for at, name in enumerate(("temperature", "repetition_penalty"))}
    generator = np.random.default_rng(1)
    for _ in range(200):
        scores = judge_scores(generator, (12, 4), additive(codes, 0.8), discrete=False)
        (row,) = joint_effects(study(scores, settings)).to_dicts()
        assert row["difference"] == pytest.approx((scores @ (codes[:, 0] * codes[:, 1])).mean())
        covered += row["low"] <= 0.8 <= row["high"]
    check("pair, 12 queries, through the frame", covered, 200, 0.9, 0.99)


COALITIONS = np.array(list(product([1.0, 0.0], repeat=3)))
WORTH = COALITIONS @ np.array([1.0, 0.5, 0.0]) + 0.6 * COALITIONS[:, 0] * COALITIONS[:, 2]
SHAPLEY = {"system_prompt": 1.3, "style": 0.5, "order": 0.3}
"""Of `WORTH`: an interaction goes to its two components in equal parts."""


def test_shapley_values_of_a_factorial_cover_the_truth() -> None:
    """1,000 studies side by side as 12,000 queries, whose contributions are then taken 12 at a time."""
    generator = np.random.default_rng(5)
    names = list(SHAPLEY)
    settings = {name: ["on" if one else "off" for one in COALITIONS[:, at]] for at, name in enumerate(names)}
    weights = np.array([exact_weights(at) for at in range(3)])
    scores = judge_scores(generator, (12, STUDIES, 8), WORTH, discrete=False)
    for at, name in enumerate(names):
        check(f"Shapley value of {name}, 12 queries", covers(mean_intervals(scores @ weights[at]), SHAPLEY[name]))
    values = shapley_values(study(scores[:, 0], settings))
    by_name = {row["component"]: row for row in values.to_dicts()}
    for at, name in enumerate(names):  # the function has the same weights
        expected = mean_intervals((scores[:, 0] @ weights[at])[:, None])[0]
        assert expected is not None
        row = by_name[name]
        assert row["value"] == pytest.approx(expected.value)
        assert row["low"] <= (expected.low or 0) < (expected.high or 0) <= row["high"]


def exact_weights(component: int) -> Floats:
    """Weight of each coalition in a component's Shapley value, by its definition."""
    others = np.delete(COALITIONS, component, axis=1).sum(axis=1)
    share = np.array([1 / 3, 1 / 6, 1 / 3])[others.astype(int)]
    return np.where(COALITIONS[:, component] == 1, share, -share)


@pytest.mark.parametrize("n", [8, 30])
def test_scaling_slopes_cover_the_truth_200_studies_through_the_frame_and_1000_as_arrays(n: int) -> None:
    numbers = np.array([1, 2, 4, 8])
    doublings = np.log2(numbers)
    centred = doublings - doublings.mean()
    generator = np.random.default_rng(n)
    own = generator.normal(0.3, 0.3, (n, STUDIES, 1))  # queries gain unequally
    scores = judge_scores(generator, (n, STUDIES, 4), own * doublings, discrete=False)
    check(f"slope for each doubling, {n} queries", covers(mean_intervals(scores @ centred / (centred @ centred)), 0.3))
    settings = {"shots": [0, *numbers.tolist()], "source": [None, *["random"] * 4]}
    covered, bends = 0, 0
    for at in range(100):
        (row,) = scaling_slopes(study(np.column_stack([np.full(n, 5.0), scores[:, at]]), settings)).to_dicts()
        assert row["slope"] == pytest.approx((scores[:, at] @ centred / (centred @ centred)).mean())
        covered += row["slope_low"] <= 0.3 <= row["slope_high"]
        bends += row["bend_low"] <= 0 <= row["bend_high"]
    check(f"slope, {n} queries, through the frame", covered, 100, 0.88, 1)
    check(f"bend of a straight curve, {n} queries, through the frame", bends, 100, 0.88, 1)


@pytest.mark.parametrize("queries", [8, 30])
def test_means_of_clusters_of_unequal_size_cover_the_truth(queries: int) -> None:
    generator, covered = np.random.default_rng(queries), 0
    for _ in range(STUDIES):
        clusters = np.repeat(np.arange(queries), 2)[generator.random(2 * queries) < 0.9]
        values = 5 + generator.normal(0, 1, queries)[clusters] + generator.normal(0, 1, len(clusters))
        covered += covers([clustered_mean(values, clusters.tolist())], 5.0)
    check(f"clustered mean, {queries} queries, a tenth unscored", covered)


@pytest.mark.parametrize(("n", "truth"), [(12, 0.3), (80, 0.1), (30, 0.02)])
def test_wilsons_intervals_of_shares_cover_the_truth(n: int, truth: float) -> None:
    shares = np.random.default_rng(n).binomial(n, truth, STUDIES) / n
    ends = [wilson_interval(float(share), n) for share in shares]
    covered = sum(low <= truth <= high for low, high in ends)
    check(f"share {truth}, {n} queries", covered, least=0.92, most=0.99)  # a share moves in steps of 1/n
