"""Claims about how results become scores by query and trial, and what a trial changes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ablations.core.errors import StorageError
from ablations.core.schema import RESULT_SCHEMA
from analysis.effects.paired import baseline_trial, best_trial, worst_trial
from analysis.frames import condition_scores, load_results, query_scores, trial_scores, trial_table, varied_parameters
from tests.support.simulated import study

REPLICATED = study(
    [[[4, 6, 8, 9], [6, 8, np.nan, 9]], [[1, 2, np.nan, 9], [3, 2, np.nan, 9]]],
    {"temperature": [1.0, 0.5, 0.5, 0.0], "top_p": [1.0, 1.0, 1.0, None]},
    ids=["a", "b", "b", "c"],
    replicates=[0, 0, 1, 1],
)


def test_a_query_has_the_mean_of_its_turns_and_a_missing_one_is_what_query_turn_and_trial_lead_to_expect() -> None:
    assert query_scores(REPLICATED).select("trial", "query_id", "score").rows()[:4] == [
        (0, "q000", 5.0),
        (0, "q001", 2.0),
        (1, "q000", 7.0),
        (1, "q001", 2.0),
    ]
    assert query_scores(REPLICATED).filter(pl.col("trial") == 2).get_column("score").to_list() == [
        pytest.approx(8 + 2 / 3)
    ]


def test_replicates_are_apart_by_trial_and_averaged_for_each_query_by_condition() -> None:
    apart, nested = trial_scores(REPLICATED), condition_scores(REPLICATED)
    assert (list(apart.trials), list(nested.trials)) == ([0, 1, 2, 3], [0, 1])
    assert np.isnan(apart.of([2])[1, 0])
    assert nested.of([1])[:, 0].tolist() == pytest.approx([(7 + 8 + 2 / 3) / 2, 2.0])  # of both; of the first alone
    assert list(nested.queries) == ["q000", "q001"]


def test_a_condition_of_which_only_replicates_are_complete_is_left_out() -> None:
    assert 3 not in condition_scores(REPLICATED).trials
    lost = study(np.ones((2, 3)), ids=["a", "b", "b"], replicates=[0, 0, 1], states=["complete", "failed", "complete"])
    assert list(condition_scores(lost).trials) == [0]


def test_a_failed_trial_has_a_row_and_no_scores() -> None:
    results = study(np.ones((2, 2)), states=["complete", "failed"])
    assert trial_table(results).get_column("state").to_list() == ["complete", "failed"]
    assert list(trial_scores(results).trials) == [0]


def test_scores_of_no_trial_have_no_column() -> None:
    assert condition_scores(REPLICATED).of([]).shape == (2, 0)
    empty = trial_scores(study(np.ones((2, 2)), states=["failed", "failed"]))
    assert (empty.queries, empty.trials, empty.values.shape) == ([], [], (0, 0))


def test_a_trials_row_holds_its_means_and_coverage() -> None:
    rows = trial_table(REPLICATED).to_dicts()
    # the second is its condition's, of two replicates
    assert [row["mean"] for row in rows] == pytest.approx([3.5, 4 + 11 / 12, 8 + 2 / 3, 9.0])
    assert [row["coverage"] for row in rows] == [1.0, 1.0, 0.25, 1.0]
    assert [(row["n_scored"], row["n_queries"]) for row in rows] == [(4, 2), (4, 2), (1, 2), (4, 2)]
    assert [row["mean_tokens"] for row in rows] == [10.0] * 4


def test_a_change_names_what_differs_from_the_baseline_or_the_label() -> None:
    settings = {"temperature": [1.0, 0.5, 0.5, 1.0, 0.0], "top_p": [0.9, 0.9, 0.9, 0.9, None]}
    results = study(
        np.ones((2, 5)), settings, ids=["a", "b", "b", "a", "d"], replicates=[0, 0, 1, 1, 0], label=list("vwxyz")
    )
    assert trial_table(results).get_column("change").to_list() == [
        "baseline",
        "temperature=0.5",
        "temperature=0.5 (A/A)",
        "baseline, other seeds",
        "temperature=0",  # top_p has no effect there and is not named
    ]
    no_baseline = results.filter(pl.col("trial") > 0)
    assert trial_table(no_baseline).get_column("change").to_list() == [
        "w",
        "x",
        "y",
        "z",
    ]


def test_varied_parameters_are_those_that_had_an_effect_somewhere() -> None:
    assert varied_parameters(REPLICATED) == ["temperature", "top_p"]
    assert varied_parameters(study(np.ones((1, 1)))) == []


def test_best_and_worst_are_complete_first_trials_with_a_score() -> None:
    scores = np.array([[5.0, 9.0, 7.0, 9.9, 1.0, 9.5, np.nan]])
    results = study(
        scores,
        ids=["a", "b", "c", "b", "d", "b", "e"],
        replicates=[0, 0, 0, 0, 0, 1, 0],
        states=["complete"] * 4 + ["failed"] + ["complete"] * 2,
    )
    assert (baseline_trial(results), best_trial(results), worst_trial(results)) == (0, 1, 0)
    assert best_trial(study(np.ones((1, 2)), states=["failed", "failed"])) is None
    assert best_trial(study([[np.nan, 1.0]])) == 1


def write(frame: pl.DataFrame, folder: Path) -> Path:
    path = folder / "results.parquet"
    frame.write_parquet(path)
    return path


def test_results_that_cannot_be_used_are_refused_with_the_reason_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot be read: .*; give a results\.parquet of a study"):
        load_results(tmp_path / "none.parquet")
    (tmp_path / "text").write_text("no table")
    with pytest.raises(StorageError, match="cannot be read"):
        load_results(tmp_path / "text")
    empty = pl.DataFrame(schema=dict(RESULT_SCHEMA))
    with pytest.raises(StorageError, match="hold no finished trial; run the study's command again, which resumes"):
        load_results(write(empty, tmp_path))
    with pytest.raises(StorageError, match=r"no column judge_details, .*|no column .*judge_details.*an older version"):
        load_results(write(empty.drop("judge_details"), tmp_path))


def test_results_without_a_newer_parameter_are_still_read(tmp_path: Path) -> None:
    row = {name: [None] for name in RESULT_SCHEMA if name != "param.draw"}
    schema = {name: kind for name, kind in RESULT_SCHEMA.items() if name != "param.draw"}
    assert len(load_results(write(pl.DataFrame(row, schema=schema), tmp_path))) == 1


def test_no_trial_is_rewarded_for_lacking_the_harder_turn() -> None:
    """Second turns are two points harder; equal trials lack some of them at random, or none."""
    generator, lead = np.random.default_rng(0), []
    for _ in range(200):
        scores = generator.normal(5, 1, (12, 1, 1)) - np.array([[0.0], [2.0]]) + generator.normal(0, 0.5, (12, 2, 4))
        scores[generator.random(12) < 0.4, 1, 3] = np.nan
        means = condition_scores(study(scores)).values.mean(axis=0)
        lead.append(means[3] - means[:3].mean())
    assert abs(float(np.mean(lead))) < 0.06  # by the mean of what is there it would be 0.4
