"""Claims about interactions, Shapley values and marginal means, on numbers written down and against statsmodels."""

from itertools import permutations, product
from typing import Any

import numpy as np
import polars as pl
import pytest

from analysis.parameters.marginals import MARGINAL_SCHEMA, MOST_LEVELS, PAIR_SCHEMA, marginal_curves, pair_means
from analysis.parameters.shapley import SHAPLEY_SCHEMA, shapley_values
from tests.support.simulated import judge_scores, study

CORNERS = list(product(["on", "off"], repeat=3))
NAMES = ("system_prompt", "template", "style")


def of_corners(corners: list[tuple[str, ...]], worth: Any, noise: float = 0.0) -> pl.DataFrame:
    """A study of on/off components, the first corner the baseline."""
    settings = {name: [corner[at] for corner in corners] for at, name in enumerate(NAMES)}
    generator = np.random.default_rng(0)
    means = np.array([float(worth(corner)) for corner in corners])
    return study(generator.normal(5, 1, (10, 1)) + means + generator.normal(0, noise, (10, len(corners))), settings)


def brute_force(worth: dict[tuple[str, ...], float], component: int) -> float:
    """The mean of what a component adds over all orders in which components come."""
    added = []
    for order in permutations(range(3)):
        before = ["on" if order.index(at) < order.index(component) else "off" for at in range(3)]
        after = [*before[:component], "on", *before[component + 1 :]]
        added.append(worth[tuple(after)] - worth[tuple(before)])
    return float(np.mean(added))


def test_exact_shapley_values_are_the_mean_over_all_orders_and_add_up() -> None:
    drawn = np.random.default_rng(2).normal(5, 2, 8)
    worth = dict(zip(CORNERS, drawn.tolist(), strict=True))
    values = shapley_values(of_corners(CORNERS, worth.__getitem__))
    assert {row["component"]: row["value"] for row in values.to_dicts()} == pytest.approx(
        {name: brute_force(worth, at) for at, name in enumerate(NAMES)}
    )
    assert values.get_column("value").to_list() == sorted(values.get_column("value"), reverse=True)
    assert values["value"].sum() == pytest.approx(worth["on", "on", "on"] - worth["off", "off", "off"])
    assert set(values.select("on", "off").rows()) == {("on", "off")}


def test_one_component_at_a_time_and_some_combinations_give_no_shapley_values() -> None:
    """A leave-one-out design called Shapley gave -0.24 for a component that is worth +0.30."""
    alone = [corner for corner in CORNERS if corner.count("off") == 1]
    added = [corner for corner in CORNERS if corner.count("on") == 1]
    for chosen in ([CORNERS[0], CORNERS[-1], *alone], [CORNERS[0], CORNERS[-1], *added], CORNERS[:7], CORNERS[:2]):
        assert shapley_values(of_corners(chosen, len)).equals(pl.DataFrame(schema=SHAPLEY_SCHEMA))


def test_a_component_without_effect_in_a_condition_counts_as_on_and_as_off() -> None:
    demonstrations, style = ["3", "3", "0"], ["full", "plain", None]
    results = study(np.array([[9.0, 6.0, 2.0]] * 4), {"source": demonstrations, "style": style})
    values = {row["component"]: row for row in shapley_values(results).to_dicts()}
    assert values["style"]["value"] == pytest.approx(1.5)  # adds 3 where there are demonstrations, else 0
    assert values["source"]["value"] == pytest.approx(5.5)


def test_conditions_in_which_something_else_moves_belong_to_no_coalition() -> None:
    corners = [*CORNERS, ("on", "on", "on"), ("on", "on", "on")]
    settings = {name: [corner[at] for corner in corners] for at, name in enumerate(NAMES)}
    settings["temperature"] = [0.0] * 8 + [0.5, 1.0]  # type: ignore[list-item]
    scores = np.array([[float(corner.count("on")) for corner in CORNERS] + [99.0, 99.0]] * 3)
    values = shapley_values(study(scores, settings))
    assert values.get_column("value").to_list() == pytest.approx([1.0, 1.0, 1.0])


def test_without_what_they_need_there_are_no_shapley_values() -> None:
    empty = pl.DataFrame(schema=SHAPLEY_SCHEMA)
    no_bare = CORNERS[:-1]
    too_few = [CORNERS[0], CORNERS[1], CORNERS[7]]
    for corners in (no_bare, too_few):
        assert shapley_values(of_corners(corners, len)).equals(empty)
    failed = of_corners(CORNERS, len).with_columns(
        state=pl.when(pl.col("trial") == 0).then(pl.lit("failed")).otherwise("state")
    )
    assert shapley_values(failed).equals(empty)
    assert shapley_values(study(np.ones((3, 2)), {"style": ["a", "b"]})).equals(empty)  # one component


def test_a_marginal_mean_is_that_of_the_conditions_at_a_level() -> None:
    settings = {"temperature": [0.0, 0.5, 0.5, 1.0], "style": [None, "b", "a", "b"]}
    scores = np.array([[1.0, 2.0, 4.0, 7.0], [3.0, 4.0, 6.0, 9.0]])
    rows = marginal_curves(study(scores, settings)).to_dicts()
    found = [(row["parameter"], row["level"], row["position"], row["mean"], row["conditions"]) for row in rows]
    assert found == [
        ("temperature", "0", 0.0, 2.0, 1),
        ("temperature", "0.5", 0.5, 4.0, 2),
        ("temperature", "1", 1.0, 8.0, 1),
        ("style", "a", 0.0, 5.0, 1),  # the condition in which style has no effect is at no level
        ("style", "b", 1.0, 5.5, 2),
    ]
    assert [row["numeric"] for row in rows] == [True] * 3 + [False] * 2
    alone = rows[0]  # one condition, and every query differs from the others by its difficulty alone
    assert (alone["low"], alone["high"]) == pytest.approx((2.0, 2.0))
    assert rows[1]["low"] < 4.0 < rows[1]["high"]


def test_many_numbers_are_cut_into_eight_levels_of_about_as_many_conditions() -> None:
    temperatures = np.linspace(0, 1, 40).tolist()
    table = marginal_curves(study(np.tile(np.arange(40.0), (3, 1)), {"temperature": temperatures}))
    assert len(table) == MOST_LEVELS
    assert table.get_column("conditions").to_list() == [5] * 8
    assert table.get_column("level")[0] == "0 to 0.102564"
    assert table.get_column("mean").to_list() == [2.0 + 5 * at for at in range(8)]
    heavy = marginal_curves(study(np.ones((3, 40)), {"temperature": [0.0] * 30 + [0.1 * at for at in range(1, 11)]}))
    assert heavy.get_column("conditions").sum() == 40


def test_marginal_bands_cover_the_truth_of_a_new_study_of_queries_and_conditions() -> None:
    """The truth is the mean over all conditions and queries that might have been asked; queries' own means are out."""
    generator, covered = np.random.default_rng(3), 0
    for _ in range(100):
        conditions = np.repeat([0.0, 1.0], 10) + generator.normal(0, 0.5, 20)
        scores = judge_scores(generator, (20, 20), conditions, discrete=False)
        rows = marginal_curves(study(scores, {"temperature": [0.0] * 10 + [1.0] * 10}), draws=300).to_dicts()
        low, high = rows[1]["low"] - rows[1]["mean"], rows[1]["high"] - rows[1]["mean"]
        half = (rows[1]["mean"] - rows[0]["mean"]) / 2
        covered += half + low <= 0.5 <= half + high
    print(f"coverage | marginal mean less the study's own, wide by design | {covered}% of 100")
    assert covered >= 95


def test_one_query_has_means_and_no_band() -> None:
    table = marginal_curves(study(np.array([[1.0, 2.0, 3.0]]), {"temperature": [0.0, 0.5, 0.5]}))
    assert table.get_column("mean").to_list() == [1.0, 2.5]
    assert table.get_column("low").null_count() == 2


def test_a_pair_of_levels_has_the_mean_of_its_conditions_and_missing_pairs_are_left_out() -> None:
    settings = {"temperature": [0.0, 0.0, 1.0, 1.0], "repetition_penalty": [1.0, 1.2, 1.0, 1.0]}
    results = study(np.array([[1.0, 2.0, 4.0, 6.0]] * 3), settings)
    rows = pair_means(results, "temperature", "repetition_penalty").to_dicts()
    cells = [(row["first_level"], row["second_level"], row["mean"], row["conditions"]) for row in rows]
    assert cells == [("0", "1", 1.0, 1), ("0", "1.2", 2.0, 1), ("1", "1", 5.0, 2)]
    assert pair_means(results, "temperature", "style").equals(pl.DataFrame(schema=PAIR_SCHEMA))
    searched = results.with_columns(role=pl.lit("sampled"))
    assert pair_means(searched, "temperature", "repetition_penalty").is_empty()
    assert marginal_curves(searched).equals(pl.DataFrame(schema=MARGINAL_SCHEMA))


def test_decoding_parameters_alone_are_no_components_of_a_prompt() -> None:
    grid = {"temperature": [0.0, 0.0, 1.0, 1.0], "repetition_penalty": [1.0, 1.2, 1.0, 1.2]}
    assert shapley_values(study(np.array([[5.0, 4.0, 4.0, 2.0]] * 4), grid)).is_empty()
