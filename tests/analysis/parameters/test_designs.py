"""Claims about which trials may say something about parameters, and about gaps in their scores."""

import numpy as np
import pytest

from analysis.parameters.designs import Design, read_design
from tests.support.simulated import study


def design_of(*args: object, **more: object) -> Design:
    design = read_design(study(*args, **more))  # type: ignore[arg-type]
    assert isinstance(design, Design)
    return design


def test_settings_are_those_with_two_values_and_none_where_there_is_no_effect() -> None:
    settings = {"temperature": [0.0, 0.7, 0.7], "top_p": [None, 0.5, 0.9], "style": ["a", "a", "a"], "draw": [0, 1, 2]}
    design = design_of(np.ones((2, 3)), settings)
    assert dict(design.settings) == {"temperature": [0.0, 0.7, 0.7], "top_p": [None, 0.5, 0.9]}
    assert design.baseline == 0


def test_a_parameter_that_acts_with_a_single_value_is_no_setting() -> None:
    assert dict(design_of(np.ones((2, 3)), {"style": [None, "a", "a"], "system_prompt": ["x", "y", "x"]}).settings) == {
        "system_prompt": ["x", "y", "x"]
    }


def test_trials_of_an_optimiser_single_changes_and_studies_without_a_complete_trial_are_refused() -> None:
    for role in ("anchor", "one-factor", "joint", "listed"):
        assert "measure the design" in str(read_design(study(np.ones((2, 2)), roles=["baseline", role])))
    mixed = design_of(np.ones((2, 3)), roles=["baseline", "one-factor", "fill"])
    assert list(mixed.scores.trials) == [0, 2]
    assert "optimiser" in str(read_design(study(np.ones((2, 2)), roles=["baseline", "sampled"])))
    assert read_design(study(np.ones((2, 2)), states=["failed"] * 2)) == "no trial is complete"


def test_a_failed_baseline_leaves_a_design_without_one_and_replicates_are_one_condition() -> None:
    design = design_of(np.ones((2, 3)), states=["failed", "complete", "complete"])
    assert (design.baseline, list(design.scores.trials)) == (None, [1, 2])
    nested = design_of(
        [[4.0, 2.0, 6.0]], ids=["a", "b", "a"], replicates=[0, 0, 1], roles=["baseline", "fill", "replicate"]
    )
    assert list(nested.scores.trials) == [0, 1]
    assert nested.filled.tolist() == [[5.0, 2.0]]


def test_a_gap_is_filled_with_what_query_and_condition_would_give() -> None:
    hard, good = np.array([[1.0], [4.0], [9.0], [3.0]]), np.array([0.0, 1.0, -2.0, 0.5])
    scores = hard + good
    gaps = scores.copy()
    gaps[0, 1] = gaps[2, 0] = gaps[2, 3] = np.nan
    assert design_of(gaps).filled == pytest.approx(scores, abs=1e-6)
    assert design_of(scores).filled.tolist() == scores.tolist()


def test_a_condition_does_not_profit_from_missing_the_hard_queries() -> None:
    generator = np.random.default_rng(0)
    scores = np.array([1.0] * 10 + [9.0] * 10)[:, None] + generator.normal(0, 0.2, (20, 6))
    scores[:5, 2] = np.nan
    design = design_of(scores)
    assert np.nanmean(scores[:, 2]) > 6
    assert design.filled.mean(axis=0) == pytest.approx([5.0] * 6, abs=0.25)
