"""Claims about interactions, Shapley values and marginal means, on numbers written down and against statsmodels."""

from itertools import permutations, product
from typing import Any

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from analysis.effects.interactions import INTERACTION_SCHEMA, interaction_effects
from analysis.effects.marginals import MARGINAL_SCHEMA, MOST_LEVELS, PAIR_SCHEMA, marginal_curves, pair_means
from analysis.effects.shapley import SHAPLEY_SCHEMA, shapley_values
from tests.support.simulated import Floats, judge_scores, study

CORNERS = list(product(["on", "off"], repeat=3))
NAMES = ("system_prompt", "template", "style")


def of_corners(corners: list[tuple[str, ...]], worth: Any, noise: float = 0.0) -> pl.DataFrame:
    """A study of on/off components, the first corner the baseline."""
    settings = {name: [corner[at] for corner in corners] for at, name in enumerate(NAMES)}
    generator = np.random.default_rng(0)
    means = np.array([float(worth(corner)) for corner in corners])
    return study(generator.normal(5, 1, (10, 1)) + means + generator.normal(0, noise, (10, len(corners))), settings)


def test_an_interaction_is_four_times_the_coefficient_of_statsmodels() -> None:
    generator = np.random.default_rng(1)
    n = 25
    temperature, penalty = generator.uniform(0, 1, n), generator.uniform(1, 2, n)
    style = ["a", *generator.choice(["a", "b", "c"], n - 1)]
    scores = judge_scores(generator, (8, n), temperature * penalty, discrete=False)
    results = study(scores, {"temperature": temperature, "repetition_penalty": penalty, "style": style})

    def coded(values: Floats) -> Floats:
        return 2 * (values - values.min()) / np.ptp(values) - 1

    codes = {"temperature": coded(temperature), "repetition_penalty": coded(penalty)}
    codes["style"] = np.where(np.array(style) == "a", -1.0, 1.0)
    for row in interaction_effects(results).to_dicts():
        product_of_both = codes[row["first"]] * codes[row["second"]]
        model = sm.OLS(scores.mean(axis=0), np.column_stack([np.ones(n), *codes.values(), product_of_both]))
        assert row["difference"] == pytest.approx(4 * model.fit().params[-1])
        assert (row["n"], row["conditions"], row["reason"]) == (8, n, None)


def test_a_difference_of_differences_is_read_off_a_factorial() -> None:
    corners = list(product(["a", "b"], repeat=2))
    worth = {("a", "a"): 0.0, ("a", "b"): 1.0, ("b", "a"): 3.0, ("b", "b"): 9.0}
    settings = {name: [corner[at] for corner in corners] for at, name in enumerate(NAMES[:2])}
    results = study(np.array([[worth[corner] for corner in corners]] * 3), settings)
    (row,) = interaction_effects(results).to_dicts()
    assert row["difference"] == pytest.approx((9 - 1) - (3 - 0))
    assert (row["low"], row["high"]) == pytest.approx((5, 5))


def test_what_the_conditions_cannot_tell_apart_has_a_reason_and_no_figure() -> None:
    one_at_a_time = [("on", "on", "on"), ("off", "on", "on"), ("on", "off", "on"), ("on", "on", "off")]
    table = interaction_effects(of_corners(one_at_a_time, lambda corner: corner.count("on")))
    assert len(table) == 3
    assert table.get_column("difference").null_count() == 3
    assert set(table.get_column("reason")) == {
        "the conditions do not tell this product from the effects of single parameters"
    }
    moved_together = [(a, b, b) for a, b in product(["on", "off"], repeat=2)]
    rows = {
        (row["first"], row["second"]): row for row in interaction_effects(of_corners(moved_together, len)).to_dicts()
    }
    assert rows["system_prompt", "template"]["reason"] == "the conditions do not tell it from system_prompt × style"
    assert rows["template", "style"]["difference"] is None


def test_a_condition_without_the_parameter_is_kept_and_says_nothing_of_its_interaction() -> None:
    settings = {"temperature": [0.5, 0.5, 1.0, 1.0, 0.0], "top_p": [0.5, 1.0, 0.5, 1.0, None]}
    scores = np.array([[1.0, 2.0, 3.0, 8.0, 5.0]] * 3)
    (row,) = interaction_effects(study(scores, settings)).to_dicts()
    assert row["conditions"] == 5
    assert row["difference"] > 0


def test_interactions_need_a_designed_study_and_its_baseline() -> None:
    settings = {"temperature": [0.0, 0.0, 1.0, 1.0], "repetition_penalty": [1.0, 1.2, 1.0, 1.2]}
    for more in ({"roles": ["baseline", *["sampled"] * 3]}, {"states": ["failed", *["complete"] * 3]}):
        assert interaction_effects(study(np.ones((3, 4)), settings, **more)).equals(  # type: ignore[arg-type]
            pl.DataFrame(schema=INTERACTION_SCHEMA)
        )
    assert interaction_effects(study(np.ones((3, 4)))).is_empty()
    (equal,) = interaction_effects(study(np.ones((3, 4)), settings)).to_dicts()
    assert (equal["difference"], equal["p_value"]) == (pytest.approx(0), 1.0)


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
    assert set(values.select("method", "coalitions", "of", "on", "off").rows()) == {("exact", 8, 8, "on", "off")}


def test_leaving_one_out_gives_each_loss_and_an_equal_share_of_the_rest() -> None:
    worth = {("on",) * 3: 10.0, ("off",) * 3: 1.0}
    worth |= {("off", "on", "on"): 6.0, ("on", "off", "on"): 8.0, ("on", "on", "off"): 10.0}
    values = shapley_values(of_corners(list(worth), worth.__getitem__))
    assert set(values.get_column("method")) == {"leave-one-out"}
    assert dict(values.select("component", "value").iter_rows()) == pytest.approx(
        {"system_prompt": 4 + 1, "template": 2 + 1, "style": 0 + 1}
    )


def test_some_coalitions_give_an_estimate_that_adds_up_and_is_exact_where_the_truth_is_additive() -> None:
    parts = {"system_prompt": 2.0, "template": -1.0, "style": 0.5}

    def worth(corner: tuple[str, ...]) -> float:
        return sum(part for part, value in zip(parts.values(), corner, strict=True) if value == "on")

    chosen = [CORNERS[at] for at in (0, 1, 2, 3, 7)]
    values = shapley_values(of_corners(chosen, worth))
    assert set(values.get_column("method")) == {"least squares"}
    assert dict(values.select("component", "value").iter_rows()) == pytest.approx(parts)


def test_a_component_without_effect_in_a_condition_counts_as_on_and_as_off() -> None:
    demonstrations, style = ["3", "3", "0"], ["full", "plain", None]
    results = study(np.array([[9.0, 6.0, 2.0]] * 4), {"source": demonstrations, "style": style})
    values = {row["component"]: row for row in shapley_values(results).to_dicts()}
    assert values["style"]["value"] == pytest.approx(1.5)  # adds 3 where there are demonstrations, else 0
    assert values["source"]["value"] == pytest.approx(5.5)
    assert values["style"]["method"] == "exact"


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


def test_a_component_that_was_not_taken_away_by_itself_gets_no_remainder() -> None:
    alone = [corner for corner in CORNERS if corner.count("off") == 1]
    full, bare = CORNERS[0], CORNERS[-1]
    assert set(shapley_values(of_corners([full, bare, *alone], len)).get_column("method")) == {"leave-one-out"}
    assert shapley_values(of_corners([full, bare, *alone[:-1]], len)).is_empty()


def test_decoding_parameters_alone_are_no_components_of_a_prompt() -> None:
    grid = {"temperature": [0.0, 0.0, 1.0, 1.0], "repetition_penalty": [1.0, 1.2, 1.0, 1.2]}
    assert shapley_values(study(np.array([[5.0, 4.0, 4.0, 2.0]] * 4), grid)).is_empty()


@pytest.mark.parametrize("count", [2, 3])
def test_the_full_and_the_bare_prompt_alone_do_not_tell_components_apart(count: int) -> None:
    corners = [("on",) * count, ("off",) * count]
    values = shapley_values(of_corners([(*corner, *["on"] * (3 - count)) for corner in corners], len))
    assert values.equals(pl.DataFrame(schema=SHAPLEY_SCHEMA))
