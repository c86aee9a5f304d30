"""Claims about lengths, shares, turns and costs of answers, and races."""

import numpy as np
import polars as pl
import pytest

from analysis.demonstrations.curves import scaling_slopes
from analysis.effects.intervals import wilson_interval
from analysis.figures import race_figures
from analysis.outputs import COST_SCHEMA, TURN_SCHEMA, cost_table, text_table, turn_table
from analysis.scores import races, score_groups, unscored_reasons
from tests.support.simulated import study


def test_the_front_holds_what_nothing_beats_in_tokens_and_score() -> None:
    scores = np.array([[5.0, 6.0, 4.0, 6.0, 9.0, 5.0]] * 3)
    results = study(scores, completion_tokens=[10, 20, 30, 20, 40, 15], answer=["ab"] * 5 + ["abc"])
    table = cost_table(results)
    assert dict(table.select("trial", "front").iter_rows()) == {
        0: True,  # cheapest
        1: True,
        2: False,  # dearer and worse
        3: True,  # as dear and as good as 1
        4: True,
        5: False,  # dearer than 0 and as good
    }
    assert table.get_column("tokens").to_list() == [110.0, 120.0, 130.0, 120.0, 140.0, 115.0]
    assert table.get_column("characters").to_list() == [2.0] * 5 + [3.0]
    assert table.get_column("role").to_list() == ["baseline", "other", "other", "other", "best", "other"]


def test_costs_are_of_complete_first_trials_and_their_scores_average_replicates() -> None:
    results = study(
        [[4.0, 6.0, 8.0], [4.0, 6.0, 8.0]],
        ids=["a", "b", "a"],
        replicates=[0, 0, 1],
        states=["complete", "failed", "complete"],
    )
    (row,) = cost_table(results).to_dicts()
    assert (row["trial"], row["mean"], row["low"], row["n"]) == (0, 6.0, 6.0, 2)
    nothing = study(np.ones((2, 2)), states=["failed", "failed"])
    assert cost_table(nothing).equals(pl.DataFrame(schema=COST_SCHEMA))


def test_shares_of_answers_have_intervals_over_queries_inside_0_and_1() -> None:
    results = study(np.ones((6, 2, 2)), truncated=[True, False], repetition=[0.99, 0.0])
    noisy = results.with_columns(
        repetition=pl.when((pl.col("trial") == 0) & (pl.col("query_id") == "q000")).then(0.0).otherwise("repetition")
    )
    first, second = text_table(noisy).to_dicts()
    assert (first["truncation"], first["n"]) == (1.0, 6)
    assert (first["truncation_low"], first["truncation_high"]) == pytest.approx(wilson_interval(1.0, 6))
    assert 0 <= first["repetition_low"] < first["repetition"] < first["repetition_high"] <= 1
    assert (second["truncation_low"], second["repetition_low"], second["repetition_high"]) == (0.0, 0.0, 0.0)
    assert (first["tokens"], first["tokens_low"]) == (10.0, 10.0)
    (one,) = text_table(study(np.ones((1, 2, 1)))).to_dicts()
    assert (one["tokens"], one["tokens_low"], one["n"]) == (10.0, None, 1)


def test_turns_are_compared_on_queries_of_which_both_have_a_score() -> None:
    scores = np.array([[[8.0], [2.0]], [[6.0], [np.nan]], [[4.0], [4.0]]])
    (row,) = turn_table(study(scores)).to_dicts()
    assert (row["turn_1"], row["turn_2"], row["n"]) == (6.0, 3.0, 2)
    assert row["turn_1_low"] < 6.0 < row["turn_1_high"]
    for empty in (study(np.ones((3, 2))), study(np.full((3, 2, 2), np.nan))):
        assert turn_table(empty).equals(pl.DataFrame(schema=TURN_SCHEMA))


def test_slopes_and_bends_are_least_squares_over_doublings() -> None:
    settings = {"shots": [0, 1, 2, 4, 1, 2], "source": [None, *["random"] * 3, *["first"] * 2]}
    scores = np.array([[5.0, 6.0, 8.0, 9.0, 5.0, 7.0], [4.0, 5.0, 8.0, 8.0, 4.0, 7.0]])
    rows = {row["source"]: row for row in scaling_slopes(study(scores, settings)).to_dicts()}
    assert rows["random"]["slope"] == pytest.approx(1.5)
    assert rows["random"]["bend"] == pytest.approx(((9 - 8) - (8 - 6) + (8 - 8) - (8 - 5)) / 2)
    assert (rows["random"]["numbers"], rows["random"]["n"]) == (3, 2)
    assert (rows["first"]["slope"], rows["first"]["bend"]) == (pytest.approx(2.5), None)


def test_a_query_missing_at_one_number_is_in_no_slope_and_one_number_has_none() -> None:
    settings = {"shots": [0, 1, 2, 3], "source": [None, "random", "random", "first"]}
    scores = np.array([[5.0, 6.0, 8.0, 1.0], [4.0, 5.0, np.nan, 1.0]])
    (row,) = scaling_slopes(study(scores, settings)).to_dicts()
    assert (row["source"], row["slope"], row["slope_low"], row["n"]) == ("random", 2.0, None, 1)


def test_ten_demonstrations_come_after_two() -> None:
    settings = {"shots": [0, 10, 2], "source": [None, "random", "random"]}
    (row,) = scaling_slopes(study(np.array([[5.0, 9.0, 6.0]] * 3), settings)).to_dicts()
    assert row["slope"] == pytest.approx(3 / np.log2(5))


def test_unscored_answers_are_counted_by_reason_and_groups_without_a_score_have_no_mean() -> None:
    scores = np.array([[[1.0, np.nan], [np.nan, np.nan]]])
    results = study(scores)
    assert unscored_reasons(results).rows() == [("no number", 3, 2)]
    assert unscored_reasons(study(np.ones((1, 1)))).is_empty()
    rows = {(row["trial"], row["group"]): row for row in score_groups(results, [0, 1]).to_dicts()}
    assert rows[0, "average"]["mean"] == 1.0
    assert (rows[1, "math"]["mean"], rows[1, "math"]["n_judged"]) == (None, 2)


RACED = study(
    np.array([[5.0, 7.0, 6.0, 3.0, 8.0, np.nan]] * 4),
    roles=["start", *["candidate"] * 5],
    states=["complete", "complete", "complete", "stopped", "complete", "stopped"],
    label=["start", "round 1: + a", "round 1: + b: c", "round 1: + d", "round 2: + e", "round 2: + f"],
).filter(~pl.col("trial").is_in([3, 5]) | (pl.col("query_id") < "q002"))


def test_a_race_says_how_far_each_candidate_came_and_which_is_best() -> None:
    rows = races(RACED).select("round", "candidate", "queries", "of", "mean", "outcome").rows()
    assert rows == [
        (1, "a", 4, 4, 7.0, "best"),
        (1, "b: c", 4, 4, 6.0, "finished"),
        (1, "d", 2, 4, 3.0, "stopped"),
        (2, "e", 4, 4, 8.0, "best"),
        (2, "f", 2, 4, None, "stopped"),
    ]
    assert races(RACED.filter(pl.col("role") == "start")).is_empty()
    assert list(race_figures(races(RACED))) == ["race_1", "race_2"]
