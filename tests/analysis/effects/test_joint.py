"""Claims about pairs of parameters: what they do together beyond the sum of their parts, and when that is not known."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from analysis.effects.joint import JOINT_SCHEMA, joint_effects
from tests.support.simulated import SHARES, Floats, study

SCALE = SHARES | {"scale_high": 10.0}
SETTINGS: dict[str, list[Any]] = {
    "repetition_penalty": [1.0, 1.1, 1.0, 1.1],
    "stop": ["headings", "headings", "fence", "fence"],
}
ROLES = ["baseline", "one-factor", "one-factor", "joint"]


def of_means(means: list[float], queries: int = 24, noise: float = 0.5, **more: Any) -> pl.DataFrame:
    """A study of the baseline, both single changes and the joint one, with these means."""
    generator = np.random.default_rng(0)
    scores: Floats = generator.normal(0, 0.5, (queries, 1)) + means + generator.normal(0, noise, (queries, len(means)))
    return study(scores, SETTINGS, **{"roles": ROLES, "scale": SCALE, **more})


def test_a_planted_synergy_is_found_with_its_size_and_the_means_add_up() -> None:
    (row,) = joint_effects(of_means([5.0, 4.0, 5.2, 5.7])).to_dicts()
    assert (row["first"], row["second"]) == ("repetition_penalty 1 → 1.1", "stop headings → fence")
    assert (row["trial"], row["first_trial"], row["second_trial"], row["n"]) == (3, 1, 2, 24)
    assert row["difference"] == pytest.approx(1.5, abs=0.4)
    assert row["low"] > 0
    assert row["verdict"] == "more together"
    assert row["expected"] == pytest.approx(row["first_alone"] + row["second_alone"] - row["baseline"])
    assert row["together"] - row["expected"] == pytest.approx(row["difference"])


@pytest.mark.parametrize(
    ("together", "noise", "verdict"),
    [(3.0, 0.5, "less together"), (4.2, 0.2, "additive within 1"), (4.2, 4.0, "open")],
)
def test_verdicts_of_pairs(together: float, noise: float, verdict: str) -> None:
    assert joint_effects(of_means([5.0, 4.0, 5.2, together], noise=noise))["verdict"].to_list() == [verdict]


def test_the_sum_of_the_parts_is_shown_no_further_than_the_scales_end_and_compared_uncut() -> None:
    (row,) = joint_effects(of_means([3.0, 1.0, 1.0, 1.0], noise=0.0)).to_dicts()
    assert row["expected"] == 0.0 > row["first_alone"] + row["second_alone"] - row["baseline"]
    assert row["difference"] == pytest.approx(
        row["together"] + row["baseline"] - row["first_alone"] - row["second_alone"]
    )


def test_all_four_conditions_are_compared_on_the_same_queries() -> None:
    scores = np.array([[5.0, 4.0, 5.0, 4.0]] * 12)
    scores[0] = [9.0, 9.0, np.nan, 1.0]  # a hard one for both, which one of the parts lacks
    (row,) = joint_effects(study(scores, SETTINGS, roles=ROLES)).to_dicts()
    assert (row["n"], row["difference"], row["baseline"]) == (11, 0.0, 5.0)


def test_single_changes_and_points_that_fill_the_space_tell_no_interaction() -> None:
    """Temperature is flat to 0.7 and then costs a point, max_tokens nothing: a regression on main effects saw 2.98."""
    temperature, tokens = [0.0, 0.7, 1.2, 0.0, 0.9, 1.1, 0.3], [32, 32, 32, 16, 16, 24, 24]
    settings = {"temperature": temperature, "max_tokens": tokens}
    means = [5.0 if one <= 0.7 else 4.0 for one in temperature]
    roles = ["baseline", *["one-factor"] * 3, *["fill"] * 3]
    scores = np.random.default_rng(1).normal(0, 0.3, (24, 7)) + means
    assert joint_effects(study(scores, settings, roles=roles)).equals(pl.DataFrame(schema=JOINT_SCHEMA))


def test_a_factorial_design_tells_every_pair_around_the_baseline() -> None:
    grid = [(a, b) for a in (0.0, 0.5, 1.0) for b in ("headings", "fence")]
    settings = {"temperature": [a for a, _ in grid], "stop": [b for _, b in grid]}
    scores = np.array([[5.0, 5.0, 4.0, 4.0, 3.0, 1.0]] * 12)
    rows = joint_effects(study(scores, settings)).to_dicts()
    assert [(row["first"], row["difference"]) for row in rows] == [
        ("temperature 0 → 0.5", 0.0),
        ("temperature 0 → 1", -2.0),
    ]


def test_pairs_without_a_part_or_a_baseline_or_a_common_query_are_left_out() -> None:
    missing = {"states": ["complete", "failed", "complete", "complete"]}
    assert joint_effects(of_means([5.0] * 4, **missing)).is_empty()
    assert joint_effects(of_means([5.0] * 4, states=["failed", *["complete"] * 3])).is_empty()
    apart = np.full((4, 4), np.nan)
    apart[np.arange(4), np.arange(4)] = 5.0
    assert joint_effects(study(apart, SETTINGS, roles=ROLES)).is_empty()


def test_a_parameter_that_acts_nowhere_is_not_moved() -> None:
    settings = {"temperature": [0.0, 0.5, 0.0, 0.5], "top_p": [None, 1.0, None, 1.0], "stop": SETTINGS["stop"]}
    (row,) = joint_effects(study(np.array([[5.0, 4.0, 4.0, 4.0]] * 12), settings, roles=ROLES)).to_dicts()
    assert (row["first"], row["second"]) == ("temperature 0 → 0.5", "stop headings → fence")
