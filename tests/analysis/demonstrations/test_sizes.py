"""Claims about ICL against IFT by number of examples, on numbers written down."""

import numpy as np
import polars as pl
import pytest

from ablations.core.errors import StorageError
from ablations.studies.icl_vs_ift.findings import TuningFindings
from analysis.demonstrations.crossover import crossover
from analysis.demonstrations.sizes import (
    OVER_QUERIES,
    costs,
    loss_summary,
    reference_lines,
    size_curve,
    size_differences,
)
from analysis.effects.intervals import mean_intervals
from analysis.scores import failed_trials
from tests.support.simulated_sizes import arm, both_ways, simulated_losses, sized
from tests.support.written_sizes import ARMS, IFT_4, NAN, ONE_TURN, failed_study, half, rows


def two_turns() -> pl.DataFrame:
    """The second turn scores two points less in the prompt, and as much with tuning; one of its answers lacks one."""
    second = ONE_TURN - np.array([2.0, 2.0, 0, 0, 0, 0])
    second[2, 0] = NAN
    return sized(np.stack([ONE_TURN, second], axis=1), ARMS)


def test_each_way_has_its_mean_and_interval_at_each_size() -> None:
    found = rows(size_curve(sized(ONE_TURN, ARMS)), "pool", "way", "examples", "group")
    assert list(found) == [
        ("pool", way, size, group) for way in ("icl", "ift") for group in ("turn 1", "average") for size in (2, 4)
    ]
    row = found["pool", "icl", 2, "turn 1"]  # 4, 5, 6
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((5, 5 - half(1), 5 + half(1)))
    assert (row["draws"], row["n"], row["over"], row["coverage"]) == (1, 3, OVER_QUERIES, 1.0)
    assert found["pool", "ift", 4, "average"]["mean"] == 8.0


def test_turns_stand_alone_and_their_average_is_one_unit_a_query() -> None:
    found = rows(size_curve(two_turns()), "way", "examples", "group")
    assert [found["icl", 2, group]["mean"] for group in ("turn 1", "turn 2")] == [5.0, 2.5]
    average = found["icl", 2, "average"]  # by query 3, 4, 6: the last one has its first turn alone
    assert (average["mean"], average["n"]) == (pytest.approx(13 / 3), 3)
    assert average["low"] == pytest.approx(13 / 3 - half(np.std([3, 4, 6], ddof=1)))
    assert (found["icl", 2, "turn 2"]["n"], found["icl", 2, "turn 2"]["coverage"]) == (2, pytest.approx(2 / 3))
    assert average["coverage"] == pytest.approx(5 / 6)


def test_differences_are_paired_over_query_and_turn() -> None:
    found = rows(size_differences(two_turns()), "examples", "group")
    first = found[2, "turn 1"]  # -1, -2, 0
    assert (first["difference"], first["low"], first["high"]) == pytest.approx((-1, -1 - half(1), -1 + half(1)))
    second = found[2, "turn 2"]  # 1, 0 and an answer of ICL without a score
    assert (second["difference"], second["n"]) == (0.5, 2)
    average = found[2, "average"]  # 0, -1, 0: the third query is compared on its first turn
    assert (average["difference"], average["n"]) == (pytest.approx(-1 / 3), 3)


def test_equal_scores_are_equal_whatever_the_last_digits() -> None:
    noisy = ONE_TURN.copy()
    noisy[:, 2] = noisy[:, 0] + 1e-7
    row = rows(size_differences(sized(noisy, ARMS)), "examples", "group")[2, "turn 1"]
    assert (row["difference"], row["low"], row["high"]) == (0.0, 0.0, 0.0)


def test_a_size_that_does_not_fit_the_context_is_left_to_ift() -> None:
    arms = [*ARMS, arm("ift", 8, 0, "pool")]
    results = sized(np.hstack([ONE_TURN, ONE_TURN[:, [3]] + 1]), arms)
    found = rows(size_curve(results), "way", "examples", "group")
    assert ("icl", 8, "turn 1") not in found
    assert found["ift", 8, "turn 1"]["mean"] == 9.0
    assert size_differences(results).equals(size_differences(sized(ONE_TURN, ARMS)))
    row = rows(costs(results), "examples")[(8,)]
    assert (row["training_tokens"], row["ift_prompt_tokens"]) == (2400.0, 50.0)
    assert row["icl_prompt_tokens"] is row["extra_prompt_tokens"] is row["break_even_requests"] is None


def test_an_arm_whose_tuning_failed_counts_nowhere_and_is_named() -> None:
    results = failed_study()
    assert ("ift", 4) not in rows(size_curve(results).filter(pl.col("group") == "turn 1"), "way", "examples")
    assert set(size_differences(results).get_column("examples")) == {2}
    assert failed_trials(results) == ["ift pool 4: the loss is not a number"]
    row = rows(costs(results), "examples")[(4,)]
    assert (row["icl_prompt_tokens"], row["ift_prompt_tokens"], row["training_tokens"]) == (450.0, None, None)


def test_an_arm_without_any_score_has_no_mean_and_no_coverage() -> None:
    unscored = ONE_TURN.copy()
    unscored[:, 1] = NAN
    row = rows(size_curve(sized(unscored, ARMS)), "way", "examples", "group")["icl", 4, "turn 1"]
    assert (row["mean"], row["low"], row["n"], row["draws"], row["coverage"]) == (None, None, 0, 0, 0.0)


def test_one_query_has_a_mean_and_a_difference_without_intervals() -> None:
    results = sized(ONE_TURN[:1], ARMS)
    assert set(size_curve(results).get_column("low")) == {None}
    (row,) = size_differences(results).filter((pl.col("examples") == 4) & (pl.col("group") == "average")).to_dicts()
    assert (row["difference"], row["low"], row["high"], row["n"]) == (2.0, None, None, 1)
    assert "no size has two queries" in crossover(results).get_column("verdict")[0]


def test_replicates_count_nowhere() -> None:
    again = sized(ONE_TURN + 3, ARMS).with_columns(replicate=1, trial=pl.col("trial") + 9)
    results = pl.concat([sized(ONE_TURN, ARMS), again], how="vertical_relaxed")
    assert size_curve(results).equals(size_curve(sized(ONE_TURN, ARMS)))


def test_reference_lines_are_the_ways_without_a_pools_examples() -> None:
    found = rows(reference_lines(two_turns()), "way", "group")
    assert list(found) == [(way, group) for way in ("zero-shot", "urial") for group in ("turn 1", "turn 2", "average")]
    row = found["zero-shot", "turn 1"]  # 2, 3, 4
    assert (row["mean"], row["low"], row["n"], row["model"]) == (3.0, pytest.approx(3 - half(1)), 3, "base")


def test_pools_are_told_apart() -> None:
    other = [one | {"arm.pool": "other"} for one in ARMS[:4]]
    results = sized(np.hstack([ONE_TURN, ONE_TURN[:, :4] + np.array([0, 0, 1, 1])]), [*ARMS, *other])
    found = rows(size_differences(results).filter(pl.col("group") == "turn 1"), "pool", "examples")
    assert {key: row["difference"] for key, row in found.items()} == {
        ("other", 2): 0.0,
        ("other", 4): 3.0,
        ("pool", 2): -1.0,
        ("pool", 4): 2.0,
    }
    assert crossover(results).get_column("pool").unique().sort().to_list() == ["other", "pool"]


def test_a_pool_without_a_name_and_a_draw_without_a_number_are_compared_all_the_same() -> None:
    nameless = sized(ONE_TURN, ARMS).with_columns(
        pl.lit(None, pl.String).alias("arm.pool"), pl.lit(None).alias("arm.draw")
    )
    expected = size_differences(sized(ONE_TURN, ARMS)).with_columns(pool=pl.lit(""))
    assert size_differences(nameless).equals(expected)


def test_a_draw_that_one_way_lacks_is_left_out_of_the_pairs() -> None:
    arms = both_ways((2,), draws=2)
    arms[3] = arms[3] | {"state": "failed", "failed_because": "out of memory"}
    scores = np.array([[4.0, 9.0, 5.0, 0.0], [5.0, 9.0, 7.0, 0.0], [6.0, 9.0, 9.0, 0.0]])
    row = rows(size_differences(sized(scores, arms)), "group")[("turn 1",)]
    assert (row["difference"], row["draws"], row["over"]) == (2.0, 1, OVER_QUERIES)
    expected = mean_intervals(np.array([[1.0], [2.0], [3.0]]))[0]
    assert expected is not None
    assert (row["low"], row["high"]) == (expected.low, expected.high)


def test_costs_are_tokens_of_training_against_tokens_of_every_request() -> None:
    row = rows(costs(sized(ONE_TURN, ARMS)), "examples")[(4,)]
    expected = {"training_tokens": 1200, "training_seconds": 4, "icl_prompt_tokens": 450, "ift_prompt_tokens": 50}
    assert {name: row[name] for name in expected} == expected
    assert (row["extra_prompt_tokens"], row["factor"], row["break_even_requests"]) == (400, 2, 6)  # 1200 x 2 / 400
    full = sized(ONE_TURN, [one | {"arm.tuning": one["arm.tuning"] and "full"} for one in ARMS])
    assert rows(costs(full), "examples")[(4,)]["break_even_requests"] == 9


def test_there_is_no_break_even_where_nothing_is_saved() -> None:
    dear = sized(ONE_TURN, [one | {"prompt_tokens": 50} for one in ARMS])
    assert set(costs(dear).get_column("break_even_requests")) == {None}
    assert set(costs(dear).get_column("extra_prompt_tokens")) == {0.0}


def test_costs_are_averaged_over_draws_that_have_both_ways() -> None:
    arms = both_ways((2,), draws=2)
    arms[1] = arms[1] | {"state": "failed", "failed_because": "server gone", "prompt_tokens": 999}
    arms[3] = arms[3] | {"arm.training_tokens": 9_000}
    (row,) = costs(sized(np.full((3, 4), 5.0), arms)).to_dicts()
    assert (row["training_tokens"], row["icl_prompt_tokens"]) == (600, 250)


def test_losses_are_summed_up_by_run() -> None:
    losses = simulated_losses(np.random.default_rng(0), (2, 64), draws=1)
    table = rows(loss_summary(losses), "examples", "draw")
    assert (table[2, 0]["steps"], table[64, 0]["steps"], table[64, 0]["tokens"]) == (3, 48, 48 * 400)
    own = losses.filter(pl.col("examples") == 64).get_column("loss")
    assert (table[64, 0]["first"], table[64, 0]["last"]) == (own[0], own[-1])


def test_results_of_another_study_and_of_two_ways_of_tuning_are_refused() -> None:
    results = sized(ONE_TURN, ARMS)
    with pytest.raises(StorageError, match=r"no column arm\.way, arm\.model:"):
        size_curve(results.drop("arm.way", "arm.model"))
    mixed = sized(ONE_TURN, [one | {"arm.tuning": "full"} if one is IFT_4 else one for one in ARMS])
    with pytest.raises(StorageError, match="tuned as full and as lora"):
        TuningFindings.of(mixed, None)
