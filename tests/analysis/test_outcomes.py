"""Claims about outcomes side by side, scores from 0 to 1, and the floor, on studies whose truth is known."""

import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest, norm, spearmanr, ttest_1samp
from statsmodels.stats.weightstats import DescrStatsW

from ablations.core.statistics import Ends, Scale, mean_interval
from analysis.effects.intervals import Interval, clustered_mean, mean_intervals, paired_interval, welch_interval
from analysis.effects.paired import best_trial, condition_effects, lead_of_best, paired_effects, ranked_trials
from analysis.frames import deciding, outcome_frames, scale_of, scales_of, trial_scores
from analysis.outcomes import outcome_agreement, outcome_contrasts, outcome_means
from analysis.outputs import cost_table, turn_table
from analysis.report.outcomes import OUTCOMES, floor_sentence, floor_verdict, outcomes_section
from analysis.scores import score_groups
from tests.support.simulated import SHARES, Floats, read_against, study

UNIT = Ends.of(Scale(0.0, 1.0))
RATED = Ends.of(Scale(1.0, 10.0))
COLUMNS = {"temperature": [0.0, 0.5, 1.0, 1.5]}


def shares(scores: Floats, **more: object) -> pl.DataFrame:
    return study(scores, scale={**SHARES, **more})


def shifted(generator: np.random.Generator, effects: tuple[float, ...], queries: int = 40) -> Floats:
    hard = generator.normal(5, 1, (queries, 1))
    return hard + np.array(effects) + generator.normal(0, 0.5, (queries, len(effects)))


# Scores from 0 to 1


@pytest.mark.parametrize("n", [2, 8, 12, 24, 96])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_scores_that_are_all_at_one_end_have_an_interval_and_it_stays_on_the_scale(n: int, value: float) -> None:
    for found in (
        mean_intervals(np.full((n, 1), value), ends=UNIT)[0],
        clustered_mean(np.full(n, value), list(range(n)), ends=UNIT),
        Interval(*mean_interval([value] * n, ends=UNIT), n),
    ):
        assert found is not None
        assert found.value == value
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= value <= found.high <= 1
        assert found.low < found.high


def test_the_interval_of_scores_is_students_with_a_pseudo_query_at_each_end() -> None:
    scores = np.random.default_rng(0).integers(0, 2, 30).astype(float)
    (found,) = mean_intervals(scores[:, None], ends=UNIT)
    assert found is not None
    expected = ttest_1samp([*scores, 0.0, 1.0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(scores.mean())


@pytest.mark.parametrize(("ends", "weight"), [(UNIT, 0.5), (RATED, 0.025)])
def test_the_interval_of_differences_counts_a_part_of_a_query_at_each_end(ends: Ends, weight: float) -> None:
    differences = np.random.default_rng(0).integers(-1, 2, 30).astype(float)
    found = paired_interval(differences, np.zeros(30), ends=ends)
    width = ends.high - ends.low
    weighted = DescrStatsW([*differences, -width, width], [1.0] * 30 + [weight] * 2, ddof=1)
    assert (found.low, found.high) == pytest.approx(weighted.tconfint_mean())
    assert found.value == pytest.approx(differences.mean())


def test_pseudo_queries_spread_as_those_of_independent_scores_together() -> None:
    for ends in (UNIT, RATED):
        spread = ends.weight * sum((value - (ends.low + ends.high) / 2) ** 2 for value in ends.pseudo)
        for number, weights in ((1, [1.0, -1.0]), (2, [1.0, -1.0, -1.0, 1.0])):
            for own in (ends.differences(number), ends.contrast(np.array(weights))):
                assert own.weight * sum(value**2 for value in own.pseudo) == pytest.approx(2 * number * spread)
                assert (own.low, own.high) == (-number * (ends.high - ends.low), number * (ends.high - ends.low))


def test_the_p_value_is_the_intervals_and_mcnemars_stands_beside_it() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        results = shares((generator.random((24, 2)) < [0.6, 0.35]).astype(float))
        row = condition_effects(results).row(0, named=True)
        assert (row["p_value"] < 0.05) == (row["low"] > 0 or row["high"] < 0)
        assert row["p_exact"] == pytest.approx(binomtest(row["wins"], row["wins"] + row["losses"]).pvalue)


def test_equal_answers_are_no_effect_and_rated_scores_have_no_mcnemar() -> None:
    row = condition_effects(shares(np.ones((10, 2)))).row(0, named=True)
    assert (row["difference"], row["p_value"], row["p_exact"]) == (0.0, 1.0, 1.0)
    assert row["low"] < 0 < row["high"]
    rated = study(np.full((10, 2), 5.0), scale={**SHARES, "scale_low": 1.0, "scale_high": 10.0})
    assert condition_effects(rated).row(0, named=True)["p_exact"] is None


@pytest.mark.parametrize("n", [8, 24, 72])
@pytest.mark.parametrize(
    ("one", "other", "alike"), [(0.33, 0.33, 0.5), (0.33, 0.08, 0.7), (0.02, 0.02, 0.0), (0.95, 0.99, 0.8)]
)
def test_intervals_of_binary_differences_cover(n: int, one: float, other: float, alike: float) -> None:
    generator = np.random.default_rng(7)
    studies = 1_500
    common = generator.random((n, studies))
    draws = [np.where(generator.random((n, studies)) < alike, common, generator.random((n, studies))) for _ in range(2)]
    differences = (draws[0] < one).astype(float) - (draws[1] < other)
    assert UNIT is not None
    found = mean_intervals(differences, ends=UNIT.differences())
    covered = np.mean([i is not None and i.low is not None and i.low <= one - other <= (i.high or 0) for i in found])
    assert covered >= 0.93


@pytest.mark.parametrize("n", [24, 72])
def test_a_difference_of_differences_covers_with_its_own_pseudo_queries(n: int) -> None:
    generator = np.random.default_rng(8)
    p = np.array([0.36, 0.34, 0.07, 0.33])
    easy = generator.normal(size=(n, 1, 1_500))
    scores = (0.8 * easy + 0.6 * generator.normal(size=(n, 4, 1_500)) < norm.ppf(p)[:, None]).astype(float)
    contrast = scores[:, 0] - scores[:, 1] - scores[:, 2] + scores[:, 3]
    truth = p[0] - p[1] - p[2] + p[3]
    assert UNIT is not None
    found = mean_intervals(contrast, ends=UNIT.differences(2))
    assert np.mean([i is not None and (i.low or 0) <= truth <= (i.high or 0) for i in found]) >= 0.93


@pytest.mark.parametrize("ends", [UNIT, RATED])
def test_no_interval_leaves_the_scale(ends: Ends) -> None:
    generator = np.random.default_rng(3)
    width = ends.high - ends.low
    for n in (2, 5, 13):
        values = generator.choice([ends.low, ends.high], (n, 40), p=[0.9, 0.1])
        for found in mean_intervals(values, ends=ends):
            assert found is not None
            assert ends.low <= (found.low or 0) <= (found.high or 0) <= ends.high
        for column in values.T:
            gap = paired_interval(column, values[:, 0], ends=ends)
            welch = welch_interval(column, values[:, 0], ends=ends)
            for interval in (gap, welch):
                assert -width <= (interval.low or 0) <= (interval.high or 0) <= width


def test_the_tables_of_a_study_stay_on_the_scale() -> None:
    scores = np.zeros((6, 2, 3))
    scores[0], scores[:, :, 2] = 1.0, 1.0
    results = shares(scores)
    for table, names in (
        (cost_table(results), ("",)),
        (turn_table(results), ("turn_1_", "turn_2_")),
        (score_groups(results, [0, 1, 2]), ("",)),
    ):
        for name in names:
            assert table.get_column(f"{name}low").min() >= 0  # type: ignore[operator]
            assert table.get_column(f"{name}high").max() <= 1  # type: ignore[operator]


def test_without_a_known_scale_nothing_is_cut_and_nothing_added() -> None:
    values = np.array([[1.0], [1.0], [1.0]])
    (found,) = mean_intervals(values)
    assert found == Interval(1.0, 1.0, 1.0, 3)
    assert scale_of(study(np.ones((2, 2)))) is None
    assert paired_effects(trial_scores(study(np.ones((4, 2)))), [(1, 0)])["p_exact"][0] is None


# Which scores may choose


def test_scores_that_pay_for_ending_choose_no_best_condition() -> None:
    scores = np.array([[0.5, 1.0]] * 12)
    assert best_trial(shares(scores)) == 1
    paying = shares(scores, chooses=False)
    assert best_trial(paying) is None
    assert lead_of_best(paying) is None
    assert ranked_trials(paying) == [1, 0]  # an order is still known, for examples


# Outcomes


def several(scores: Floats, content: Floats, other: Floats) -> pl.DataFrame:
    """Results of two judges, the first with a detail of its own."""
    roles = {"settings": COLUMNS, "roles": ["baseline", *["one-factor"] * 3], "varied": [None, *["temperature"] * 3]}
    first = study(scores, **roles, references=[None, "c0", "c0", "c0"], scale=SHARES)  # type: ignore[arg-type]
    details = pl.Series([json.dumps({"content": value}) for value in content.T.reshape(-1)])
    second = study(other, **roles, references=[None, "c0", "c0", "c0"])  # type: ignore[arg-type]
    rated = {**SHARES, "decides": False, "scale_low": 1.0, "scale_high": 10.0}
    return pl.concat(
        [
            first.with_columns(judge_details=details, judge=pl.lit("checks")),
            read_against(second.with_columns(judge=pl.lit("rated")), rated).select(first.columns),
        ]
    )


def agreed(frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return outcome_agreement(frames, outcome_contrasts(frames))


def frames_of(record: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {"checks": deciding(record), **outcome_frames(record)}


@pytest.fixture(scope="module")
def record() -> pl.DataFrame:
    generator = np.random.default_rng(5)
    right = (generator.random((40, 4)) < [0.6, 0.55, 0.2, 0.1]).astype(float)
    return several(right / 2, right, shifted(generator, (0.0, 0.1, -2.0, 2.0)))


def test_a_record_is_taken_apart_into_its_outcomes(record: pl.DataFrame) -> None:
    frames = frames_of(record)
    assert list(frames) == ["checks", "content", "rated"]
    assert {name: len(frame) for name, frame in frames.items()} == dict.fromkeys(frames, 160)
    assert (frames["content"]["score"] == 2 * frames["checks"]["score"]).all()
    content = Scale(0.0, 1.0, negligible=0.1)
    assert [scale_of(frame) for frame in frames.values()] == [Scale(0.0, 1.0), content, Scale(1.0, 10.0)]
    assert list(scales_of(record)) == ["checks", "rated"]


def test_contrasts_of_each_outcome_are_those_of_its_own_frame(record: pl.DataFrame) -> None:
    frames = frames_of(record)
    found = outcome_contrasts(frames)
    assert found.get_column("change").unique(maintain_order=True).to_list() == [
        "temperature 0 → 0.5",
        "temperature 0 → 1",
        "temperature 0 → 1.5",
    ]
    for name, frame in frames.items():
        own = found.filter(pl.col("outcome") == name)
        for column in ("difference", "low", "high", "p_family"):
            assert own[column].to_list() == pytest.approx(condition_effects(frame).sort("trial")[column].to_list())


def test_agreement_counts_what_both_and_what_one_alone_support(record: pl.DataFrame) -> None:
    frames = frames_of(record)
    rated = agreed(frames).filter(pl.col("against") == "rated").row(0, named=True)
    # 1 falls by both; 1.5 falls by the first and rises by the second; 0.5 does nothing by either.
    assert (rated["changes"], rated["both"], rated["opposite"]) == (3, 1, 1)
    assert rated["first_alone"] + rated["second_alone"] == 0
    expected = [condition_effects(frame).sort("trial")["difference"] for frame in (frames["checks"], frames["rated"])]
    assert rated["rank_correlation"] == pytest.approx(spearmanr(*expected).statistic)
    assert -1 <= rated["low"] <= rated["rank_correlation"] <= rated["high"] <= 1
    content = agreed(frames).filter(pl.col("against") == "content").row(0, named=True)
    assert content["rank_correlation"] == pytest.approx(1.0)
    assert content["opposite"] == 0


def test_the_interval_of_a_rank_correlation_covers_what_many_queries_say() -> None:
    generator, covered = np.random.default_rng(9), 0
    effects = (0.0, -0.3, 0.2, 0.5, -0.1, 0.4)
    for _ in range(60):
        one, other = (study(shifted(generator, effects, 24)) for _ in range(2))
        row = agreed({"one": one, "other": other}).row(0, named=True)
        covered += row["high"] >= 0.9  # by both outcomes the order is the same
    assert covered >= 50


def test_too_few_conditions_have_no_rank_correlation_and_equal_ones_neither() -> None:
    two = study(np.random.default_rng(0).random((8, 3)))
    assert agreed({"one": two, "other": two}).row(0, named=True)["rank_correlation"] is None
    same = study(np.ones((8, 5)))
    assert agreed({"one": same, "other": same}).row(0, named=True)["rank_correlation"] is None


def test_a_study_of_conditions_is_compared_with_its_baseline_and_one_without_has_means_alone() -> None:
    results = study(np.random.default_rng(0).random((8, 3)))
    assert outcome_contrasts({"one": results})["change"].to_list() == ["trial 1", "trial 2"]
    without = study(np.ones((4, 2)), roles=["fill", "fill"])
    assert outcome_contrasts({"one": without, "other": without}).is_empty()
    assert len(outcome_means({"one": without, "other": without})) == 4
    section = outcomes_section(
        *(table({"one": without, "other": without}) for table in (outcome_contrasts, outcome_means, agreed))
    )
    assert [table.caption for table in section.tables] == [
        "Agreement with the outcome that decides",
        "Conditions by each outcome",
    ]


def test_the_section_shows_outcomes_side_by_side(record: pl.DataFrame) -> None:
    frames = frames_of(record)
    section = outcomes_section(outcome_contrasts(frames), outcome_means(frames), agreed(frames))
    assert section.title == OUTCOMES
    changes = section.tables[0]
    assert changes.columns == ("change", "checks", "content", "rated", "queries")
    assert [row[0] for row in changes.rows] == ["temperature 0 → 0.5", "temperature 0 → 1", "temperature 0 → 1.5"]
    assert [table.caption for table in section.tables if "alone" in table.caption] == [
        "Changes by the outcome 'content' alone",
        "Changes by the outcome 'rated' alone",
    ]
    agreement = next(table for table in section.tables if table.caption.startswith("Agreement"))
    assert "checks and rated both support: temperature 0 → 1." in agreement.note
    assert "checks and content both support: temperature 0 → 1, temperature 0 → 1.5." in agreement.note


# The floor


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        (Interval(0.30, 0.20, 0.40, 40), ""),
        (Interval(0.10, 0.02, 0.20, 40), "is not shown to be better than a constant answer"),
        (Interval(0.06, 0.02, 0.12, 40), "is no better than a constant answer's 0.06"),
        (Interval(0.05, 0.00, 0.12, 40), "is no better than a constant answer's 0.06"),
        (Interval(0.50, None, None, 1), "is not shown to be better than a constant answer"),
        (None, ""),
    ],
)
def test_a_baseline_is_said_to_be_no_better_than_a_constant(baseline: Interval | None, said: str) -> None:
    scale = Scale(0.0, 1.0, 0.06, "no", 0.0)
    verdict = floor_verdict(scale, baseline)
    assert (said in verdict) if said else verdict == ""
    assert "'no', scores 0.06" in floor_sentence(scale, baseline)
    assert floor_verdict(Scale(1.0, 10.0), baseline) == floor_sentence(Scale(1.0, 10.0), baseline) == ""
