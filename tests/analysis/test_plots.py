"""Claims about plots: each shows the numbers of its frame. No picture is compared."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import polars as pl
import pytest
from matplotlib.axes import Axes

from analysis.outputs import COST_SCHEMA, TEXT_SCHEMA, TURN_SCHEMA
from analysis.parameters.importance import IMPORTANCE_SCHEMA
from analysis.parameters.marginals import MARGINAL_SCHEMA, PAIR_SCHEMA
from analysis.parameters.shapley import SHAPLEY_SCHEMA
from analysis.plots import (
    draw_alignment,
    draw_audit,
    draw_categories,
    draw_changes,
    draw_cost,
    draw_heat_map,
    draw_importances,
    draw_length,
    draw_marginal,
    draw_parameter,
    draw_races,
    draw_shapley,
    draw_text_measure,
    draw_turns,
    draw_waterfall,
    new_figure,
)
from analysis.plots.style import BLUE, GREY, ORANGE, draw_intervals, new_grid, short
from analysis.scores import RACE_SCHEMA
from tests.support.axes import Row, bars, heights, legend, names, points, table, title, widths, written

LONG = "a name that is far longer than its place in the figure, by any measure, and $a_$ stop"


@pytest.fixture
def axes() -> Iterator[Axes]:
    """Axes in the house style, of a figure that can be rendered afterwards."""
    with new_figure() as (figure, made):
        yield made
        figure.savefig(BytesIO(), format="svg")


def test_an_interval_is_drawn_to_its_ends_and_a_missing_one_leaves_a_point(axes: Axes) -> None:
    rows = [{"mean": 2.0, "low": 1.0, "high": 4.0}, {"mean": 3.0, "low": None, "high": None}, {"mean": None}]
    draw_intervals(axes, [0, 1, 2], rows)
    assert points(axes) == [(2.0, 0.0), (3.0, 1.0)]
    assert bars(axes) == [(1.0, 4.0)]


def test_intervals_stand_upright_where_values_do_and_rounding_cannot_turn_them_round(axes: Axes) -> None:
    draw_intervals(axes, [5], [{"mean": 2.0, "low": 2.0 + 1e-12, "high": 2.0 - 1e-12}], along="y")
    assert points(axes) == [(5.0, 2.0)]
    assert bars(axes, "y") == [(2.0, 2.0)]


def test_nothing_to_draw_draws_nothing(axes: Axes) -> None:
    draw_intervals(axes, [0], [{"mean": None}])
    draw_intervals(axes, [], [])
    assert axes.containers == []


def test_a_long_name_is_cut_with_an_ellipsis() -> None:
    assert (short("abc", 3), short("abcd", 3)) == ("abc", "ab…")


def test_the_style_leaves_matplotlibs_settings_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with new_grid(2, 2) as (_, made):
        assert len(made) == 4
    assert dict(mpl.rcParams) == before


def importance(method: str, parameter: str, value: float, mark: str | None = None) -> Row:
    counts = {"null": value - 0.1, "conditions": 30, "queries": 12}
    return {"method": method, "parameter": parameter, "importance": value, "mark": mark, **counts}


def test_importances_are_bars_by_method_with_their_nulls_and_marked_ones_are_grey(axes: Axes) -> None:
    rows = [importance("fanova", "a", 0.2), importance("fanova", "b", 0.7)]
    rows += [importance("permutation", "b", 1.4, "R²"), importance("permutation", "a", -0.1, "R²")]
    draw_importances(table(IMPORTANCE_SCHEMA, *rows), axes)
    assert widths(axes) == [0.2, 0.7, -0.1, 1.4]
    nulls = [segment[0, 0] for lines in axes.collections for segment in lines.get_segments()]  # type: ignore[attr-defined]
    assert nulls == pytest.approx([width - 0.1 for width in widths(axes)])
    assert names(axes) == ["a", "b"]
    methods = ["fanova: share of the variance", "permutation: lost when shuffled (not to be relied on)"]
    assert sorted(legend(axes)) == sorted([*methods, "null: its shuffled shadow, 95 % quantile"])
    assert [bar.get_facecolor()[:3] == pytest.approx((0.6, 0.6, 0.6)) for bar in axes.patches] == [False] * 2 + [
        True
    ] * 2
    assert axes.get_xlim()[1] == pytest.approx(1.4)
    assert "30 conditions, 12 queries" in title(axes)


TRIALS = pl.DataFrame(
    {
        "trial": [0, 1, 2, 3],
        "replicate": [0, 0, 0, 1],
        "mean": [5.0, 6.0, None, 5.5],
        "param.temperature": [0.0, 0.5, 1.0, 0.0],
        "param.style": ["plain", LONG, "plain", "plain"],
    }
)


def effect(parameter: str, value: str, against: str, **more: Any) -> Row:
    numbers = {"trial": 1, "reference_trial": 0, "difference": 1.0, "low": 0.5, "high": 1.5, "n": 12}
    return {"parameter": parameter, "value": value, "against": against, **numbers, **more}


def test_changes_and_pairs_share_an_axis_with_the_margin_and_what_is_decided_in_colour(axes: Axes) -> None:
    names_of = {"parameter": "stop", "against": "headings", "around": ""}
    numbers = {"difference": -0.3, "low": -0.4, "high": -0.2, "n": 72, "verdict": "worse"}
    small = {"difference": 0.01, "low": -0.04, "high": 0.06, "n": 72, "verdict": "within 0.1"}
    effects = pl.DataFrame([{**names_of, "value": "none", **numbers}, {**names_of, "value": "fence", **small}])
    pair = {
        "first": "stop headings → fence",
        "second": "temperature 0 → 0.4",
        **small,
        "verdict": "additive within 0.1",
    }
    draw_changes(effects, pl.DataFrame([pair]), axes, "checks")
    assert names(axes) == [
        "stop headings → none",
        "stop headings → fence",
        "stop headings → fence × temperature 0 → 0.4",
    ]
    assert bars(axes) == [(-0.4, -0.2), (-0.04, 0.06), (-0.04, 0.06)]
    assert {"decided", "within the margin, or open", "within 0.1", "×: beyond the sum of both parts"} == set(
        legend(axes)
    )
    assert title(axes) == "Changes by the checks judge (n = 72 queries)"


@pytest.mark.parametrize(
    ("parameter", "value", "against", "at"), [("temperature", "0.5", "0", 0.5), ("style", LONG, "plain", 0)]
)
def test_a_parameter_has_its_paired_effects_around_the_references_mean(
    axes: Axes, parameter: str, value: str, against: str, at: float
) -> None:
    effects = pl.DataFrame([effect(parameter, value, against), effect("other", "9", "8")])
    draw_parameter(parameter, effects, TRIALS, axes, "fake")
    assert points(axes) == [(at, 6.0)]
    assert bars(axes, "y") == [(5.5, 6.5)]
    means = axes.collections[0].get_offsets()
    assert sorted(means[:, 1].tolist()) == [5.0, 6.0]  # type: ignore[index]  # neither the replicate nor the unscored
    assert (axes.get_xlabel(), axes.get_ylabel()) == (parameter, "mean score\n(fake judge)")
    assert title(axes) == f"{parameter}: effect with all else held still (n = 12 queries)"
    assert "compared with" in legend(axes)


def test_a_parameter_without_paired_effects_shows_the_trials_alone(axes: Axes) -> None:
    draw_parameter("temperature", pl.DataFrame([effect("style", "a", "b")]), TRIALS, axes, "fake")
    assert points(axes) == []
    assert "n = 0" in title(axes)


def level(name: str, at: float, mean: float, numeric: bool = True, **more: Any) -> Row:
    ends = {"low": mean - 1, "high": mean + 1, "conditions": 4, "queries": 9}
    return {"parameter": "p", "level": name, "position": at, "mean": mean, "numeric": numeric, **ends, **more}


def test_a_numeric_marginal_is_a_line_with_a_band(axes: Axes) -> None:
    draw_marginal("p", table(MARGINAL_SCHEMA, level("1", 1, 6), level("0", 0, 5)), axes, "fake")
    (line,) = axes.lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 1], [5, 6])
    ends = axes.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in ends.tolist()} == {(0, 4), (0, 6), (1, 5), (1, 7)}  # type: ignore[union-attr]
    assert title(axes) == "p (8 conditions)"


def test_a_marginal_without_a_band_is_still_a_line(axes: Axes) -> None:
    rows = [level("0", 0, 5, low=None, high=None), level("1", 1, 6, low=None, high=None)]
    draw_marginal("p", table(MARGINAL_SCHEMA, *rows), axes, "fake")
    assert list(axes.lines[0].get_ydata()) == [5, 6]


def test_a_categorical_marginal_is_a_point_for_each_level(axes: Axes) -> None:
    rows = [level("plain", 0, 5, False), level(LONG, 1, 6, False)]
    draw_marginal("p", table(MARGINAL_SCHEMA, *rows), axes, "fake")
    assert points(axes) == [(0, 5), (1, 6)]
    assert bars(axes, "y") == [(4, 6), (5, 7)]
    assert names(axes, "x") == ["plain", "a name that…"]


def test_a_heat_map_writes_mean_interval_and_number_into_each_cell_and_leaves_gaps(axes: Axes) -> None:
    keys = (
        "first_level",
        "first_position",
        "second_level",
        "second_position",
        "mean",
        "low",
        "high",
        "conditions",
        "queries",
    )
    cells = [
        ("0", 0, "1", 1, 5.0, 4.0, 6.0, 3, 9),
        ("1", 1, "1", 1, 7.0, None, None, 1, 9),
        ("0", 0, "2", 2, 6.0, 5, 7, 2, 9),
    ]
    draw_heat_map(table(PAIR_SCHEMA, *(dict(zip(keys, cell, strict=True)) for cell in cells)), "a", "b", axes, "fake")
    shown = axes.images[0].get_array()
    assert shown is not None
    assert shown.filled(-1).tolist() == [[5.0, 7.0], [6.0, -1.0]]
    assert written(axes) == ["5.00\n4.0 to 6.0\nn = 3", "7.00\nn = 1", "6.00\n5.0 to 7.0\nn = 2"]
    assert (names(axes, "x"), names(axes), axes.get_xlabel(), axes.get_ylabel()) == (["0", "1"], ["1", "2"], "a", "b")
    assert "9 queries" in title(axes)


def contribution(component: str, value: float, **more: Any) -> Row:
    about = {"on": LONG, "off": "none", "n": 12, "coalitions": 8, "of": 8, "method": "exact", "bare": 4.0}
    return {"component": component, "value": value, "low": value - 1, "high": value + 0.5, **about, **more}


SHAPLEY = table(SHAPLEY_SCHEMA, contribution("system_prompt", 2.0), contribution("style", -0.5, low=None, high=None))


def test_shapley_values_are_bars_with_intervals_and_say_what_is_on(axes: Axes) -> None:
    draw_shapley(SHAPLEY, axes)
    assert widths(axes) == [-0.5, 2.0]
    assert bars(axes) == [(1.0, 2.5)]
    assert names(axes) == ["style\na name that i…, not none", "system_prompt\na name that i…, not none"]
    assert title(axes) == "What components contribute (12 queries, all combinations)"


def test_a_waterfall_leads_from_the_bare_to_the_full_prompt(axes: Axes) -> None:
    draw_waterfall(SHAPLEY, 4.0, axes, "fake")
    assert heights(axes) == [4.0, 2.0, -0.5, 5.5]
    assert [bar.get_y() for bar in axes.patches] == [0, 4.0, 6.0, 0]  # type: ignore[attr-defined]
    assert bars(axes, "y") == [(5.0, 6.5)]  # around the bar's end: 6 less 1, 6 and a half more
    assert written(axes) == ["+2.00", "-0.50", "4.00", "5.50"]
    assert names(axes, "x") == ["bare prompt", "system_prompt", "style", "full prompt"]
    assert "12 queries" in title(axes)


def test_categories_have_a_colour_a_condition_and_say_their_number_of_judgments(axes: Axes) -> None:
    keys = ("trial", "group", "mean", "low", "high", "n_scored", "n_judged")
    rows = [(0, "turn 1", 1.0, 0.0, 2.0, 4, 4), (0, "average", 1.0, 0.0, 2.0, 4, 4), (0, "math", 5.0, 4.0, 6.0, 3, 4)]
    rows += [(1, "math", 7.0, None, None, 1, 4), (1, "roleplay", None, None, None, 0, 2)]  # type: ignore[list-item]
    draw_categories(pl.DataFrame(rows, schema=keys, orient="row"), {0: "baseline", 1: LONG}, axes, "fake")
    assert points(axes) == [(5.0, pytest.approx(-0.08)), (7.0, pytest.approx(0.08))]
    assert bars(axes) == [(4.0, 6.0)]
    assert names(axes) == ["math (n = 4)", "roleplay (n = 2)"]
    assert legend(axes) == ["baseline", short(LONG, 60)]


def described(trial: int, role: str, **numbers: Any) -> Row:
    return {"trial": trial, "change": LONG, "role": role, "n": 12, **numbers}


def test_turns_cross_the_baseline_and_the_best_alone(axes: Axes) -> None:
    ends = {"turn_1_low": 4.0, "turn_1_high": 6.0, "turn_2_low": None, "turn_2_high": None}
    rows = [
        described(at, role, turn_1=5.0, turn_2=4.0 - at, **ends)
        for at, role in enumerate(["baseline", "other", "best"])
    ]
    draw_turns(table(TURN_SCHEMA, *rows), axes, "fake")
    assert sorted(points(axes)) == [(5.0, 2.0), (5.0, 3.0), (5.0, 4.0)]
    assert bars(axes) == [(4.0, 6.0)] * 2
    assert title(axes) == "Turn 1 against turn 2 (3 conditions, 12 queries; 95 % intervals)"
    assert legend(axes) == ["as good on both turns", "other conditions", "best", "baseline"]


COSTS = table(
    COST_SCHEMA,
    described(0, "baseline", mean=5.0, low=4.0, high=6.0, tokens=100.0, characters=50.0, front=True),
    described(1, "other", mean=4.0, low=None, high=None, tokens=120.0, characters=60.0, front=False),
    described(2, "best", mean=7.0, low=6.0, high=8.0, tokens=150.0, characters=90.0, front=True),
)


@pytest.mark.parametrize(("draw", "column"), [(draw_length, "characters"), (draw_cost, "tokens")])
def test_scores_stand_against_length_and_tokens(axes: Axes, draw: Callable[..., Axes], column: str) -> None:
    draw(COSTS, axes, "fake")
    assert points(axes) == list(COSTS.select(column, "mean").iter_rows())
    assert bars(axes, "y") == [(4.0, 6.0), (6.0, 8.0)]
    assert "(3 conditions, 12 queries; 95 % intervals)" in title(axes)


def test_the_cost_figure_joins_and_names_the_front(axes: Axes) -> None:
    draw_cost(COSTS, axes, "fake")
    (front,) = [line for line in axes.lines if "Pareto" in str(line.get_label())]
    assert (list(front.get_xdata()), list(front.get_ydata())) == ([100.0, 150.0], [5.0, 7.0])
    assert written(axes) == [short(LONG, 40)]  # the baseline has a sign of its own


@pytest.mark.parametrize("named", [True, False])
def test_a_property_of_answers_is_a_point_a_condition(axes: Axes, named: bool) -> None:
    rows = [described(0, "baseline", tokens=10.0, tokens_low=8.0, tokens_high=12.0), described(1, "other", tokens=9.0)]
    draw_text_measure("tokens", table(TEXT_SCHEMA, *rows), axes, named)
    assert points(axes) == [(10.0, 0.0), (9.0, 1.0)]
    assert bars(axes) == [(8.0, 12.0)]
    assert names(axes) == ([short(LONG, 44)] * 2 if named else ["", ""])
    assert axes.get_xlabel() == "tokens an answer"


def test_a_race_shows_how_far_each_candidate_came(axes: Axes) -> None:
    keys = ("round", "candidate", "queries", "of", "mean", "outcome")
    rows = [(1, LONG, 8, 8, 6.0, "best"), (1, "b", 8, 8, 5.0, "finished"), (1, "c", 2, 8, None, "stopped")]
    draw_races(table(RACE_SCHEMA, *(dict(zip(keys, row, strict=True)) for row in rows)), [LONG, "b", "c"], axes)
    assert sorted(widths(axes)) == [2, 8, 8]
    assert written(axes) == ["no score", "5.00", "6.00"]
    assert names(axes) == ["c", "b", short(LONG, 30)]
    assert title(axes) == "Round 1: 18 of 24 evaluations (75%)"
    assert legend(axes) == ["stopped early", "raced to the end", "best of these"]


def test_models_have_both_turns_in_each_way_of_asking(axes: Axes) -> None:
    keys = ("model", "way", "group", "mean", "low", "high", "n_judged")
    rows = [("base", "bare", "turn 1", 3.0, 2.0, 4.0, 12), ("base", "bare", "turn 2", 2.0, None, None, 12)]
    rows += [(LONG, "chat", "turn 1", 6.0, 5.0, 7.0, 10), (LONG, "chat", "average", 9.0, 8.0, 9.5, 20)]
    draw_alignment(pl.DataFrame(rows, schema=keys, orient="row"), axes)
    assert points(axes) == [(3.0, -0.12), (6.0, 0.88), (2.0, 0.12)]
    assert bars(axes) == [(2.0, 4.0), (5.0, 7.0)]
    assert names(axes) == ["base\nbare", f"{short(LONG, 24)}\nchat"]
    assert "(12 queries)" in title(axes)


def test_an_audit_shows_shares_against_what_is_needed(axes: Axes) -> None:
    audit = pl.DataFrame(
        {
            "control": ["shuffled", "looped", "unjudged"],
            "wins": [9, 5, 0],
            "pairs": [10, 10, 0],
            "low": [0.6, 0.24, None],
            "high": [0.98, 0.76, None],
            "least": [0.8, 0.8, 0.8],
            "passed": [True, False, False],
        }
    )
    draw_audit(audit, axes, "fake")
    assert points(axes) == [(0.9, 0.0), (0.5, 1.0)]
    assert bars(axes) == [(0.6, 0.98), (0.24, 0.76)]
    assert names(axes) == ["shuffled (n = 10)", "looped (n = 10)", "unjudged (n = 0)"]
    assert [list(line.get_xdata()) for line in axes.lines if list(line.get_xdata()) == [0.8, 0.8]] == [[0.8, 0.8]] * 3
    assert title(axes) == "Audit of the fake judge"


def test_colours_are_told_apart() -> None:
    assert len({BLUE, ORANGE, GREY}) == 3
