"""Claims about plots of ICL against IFT: each shows the numbers of its frame. No picture is compared."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from ablations.studies.icl_vs_ift.findings import TuningFindings
from analysis.demonstrations.crossover import CROSSOVER_SCHEMA
from analysis.demonstrations.sizes import COST_SCHEMA, CURVE_SCHEMA, DIFFERENCE_SCHEMA, REFERENCE_SCHEMA
from analysis.plots import draw_costs, draw_losses, draw_size_curve, draw_size_differences, new_figure
from analysis.plots.style import BLUE, ORANGE, shades
from analysis.report.page import About
from tests.support.axes import Row, bars, legend, names, points, table, title, written
from tests.support.simulated_sizes import arm, simulated_losses, simulated_study, sized


@pytest.fixture
def axes() -> Iterator[Axes]:
    """Axes in the house style, of a figure that can be rendered afterwards."""
    with new_figure() as (figure, made):
        yield made
        figure.savefig(BytesIO(), format="svg")


def scored(way: str, examples: int, mean: float | None, group: str = "turn 1", **more: Any) -> Row:
    ends = {} if mean is None else {"low": mean - 1, "high": mean + 2}
    return {"pool": "p", "way": way, "examples": examples, "group": group, "mean": mean, "n": 9, **ends, **more}


CURVE = table(
    CURVE_SCHEMA,
    scored("icl", 4, 5.0),
    scored("icl", 2, 4.0),
    scored("ift", 2, 3.0),
    scored("ift", 4, 6.0, low=None, high=None),
    scored("ift", 8, 7.0),
    scored("ift", 16, None),
    scored("ift", 2, 9.0, "turn 2"),
)


def level(way: str, mean: float, group: str = "turn 1") -> Row:
    return {"way": way, "model": "m", "group": group, "mean": mean, "n": 9}


LEVELS = table(
    REFERENCE_SCHEMA,
    level("zero-shot", 2.0),
    level("aligned", 8.0),
    level("urial", 8.01),
    level("urial", 1.0, "turn 2"),
)


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    named = {str(line.get_label()): line for line in axes.lines}
    return {name: (list(line.get_xdata()), list(line.get_ydata())) for name, line in named.items() if name[0] != "_"}


def test_a_size_curve_has_a_line_and_a_band_each_way(axes: Axes) -> None:
    draw_size_curve(CURVE, LEVELS, axes, "turn 1", "fake")
    assert lines(axes) == {
        "in the prompt (ICL)": ([2, 4], [4.0, 5.0]),
        "in the weights (IFT)": ([2, 4, 8], [3.0, 6.0, 7.0]),
    }
    shown, tuned = ({(x, y) for x, y in band.get_paths()[0].vertices.tolist()} for band in axes.collections)  # type: ignore[union-attr]
    assert shown == {(2, 3), (4, 4), (4, 7), (2, 6)}
    assert tuned == {(2, 2), (8, 6), (8, 9), (2, 5)}  # four examples have no interval
    assert (axes.get_xscale(), names(axes, "x")) == ("log", ["2", "4", "8", "16"])
    assert (title(axes), axes.get_ylabel()) == ("turn 1 (9 queries)", "mean score\n(fake judge)")


def test_levels_are_lines_of_their_turn_whose_labels_are_kept_apart(axes: Axes) -> None:
    draw_size_curve(CURVE, LEVELS, axes, "turn 1", "fake")
    assert [line.get_ydata()[0] for line in axes.lines[2:]] == [2.0, 8.0, 8.01]  # type: ignore[index]
    assert written(axes) == ["zero-shot 2.00", "aligned 8.00", "URIAL 8.01"]
    low, high = axes.get_ylim()
    heights = [text.xy[1] for text in axes.texts]  # type: ignore[attr-defined]
    assert heights[0] == pytest.approx(2.0)
    assert heights[2] - heights[1] == pytest.approx(0.075 * (high - low))
    assert heights[1] + heights[2] == pytest.approx(8.0 + 8.01)  # around their lines


def test_a_turn_that_nothing_answered_is_drawn_empty(axes: Axes) -> None:
    draw_size_curve(CURVE.head(0), LEVELS.head(0), axes, "turn 1", "fake")
    assert title(axes) == "turn 1 (0 queries)"


def apart(examples: int, difference: float, group: str = "turn 1", over: str = "queries", **more: Any) -> Row:
    ends = {"low": difference - 1, "high": difference + 1}
    about = {"pool": "p", "examples": examples, "group": group, "difference": difference, "n": 9, "over": over}
    return about | ends | more


DIFFERENCES = table(
    DIFFERENCE_SCHEMA,
    apart(2, -1.0),
    apart(8, 1.0, low=None, high=None),
    apart(2, 0.5, "turn 2"),
    apart(2, 0.0, "average", "draws and queries"),
)
CROSSED = table(
    CROSSOVER_SCHEMA,
    {"group": "turn 1", "value": 4.0, "low": 3.0, "high": None},
    {"group": "turn 2", "value": 5.0, "low": None, "high": None},
    {"group": "average", "value": 4.0, "low": 3.0, "high": 5.0},
)


def test_differences_are_points_with_intervals_by_turn(axes: Axes) -> None:
    draw_size_differences(DIFFERENCES, CROSSED, axes, "fake")
    first, second = 2**-0.05, 2**0.05
    assert points(axes) == [pytest.approx(point) for point in [(2 * first, -1), (8 * first, 1), (2 * second, 0.5)]]
    assert bars(axes, "y") == [(-2.0, 0.0), (-0.5, 1.5)]
    assert names(axes, "x") == ["2", "8"]
    assert written(axes) == ["IFT\nbetter", "ICL\nbetter"]
    over = "95 % intervals over queries, and over draws where there are several"
    assert title(axes) == f"IFT minus ICL with the same examples (9 queries,\n{over})"


def test_a_crossover_is_drawn_to_the_sizes_it_reaches_and_an_undecided_one_is_not(axes: Axes) -> None:
    draw_size_differences(DIFFERENCES, CROSSED, axes, "fake")
    assert lines(axes) == {"turn 1: IFT overtakes, 95 %": ([3.0, 8], [0, 0])}
    assert sorted(legend(axes)) == ["turn 1", "turn 1: IFT overtakes, 95 %", "turn 2"]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "D"] == [[4.0]]


def cost(examples: int, icl: float | None, **more: Any) -> Row:
    about = {"pool": "p", "examples": examples, "tuning": "lora", "training_tokens": 600.0, "factor": 2.0}
    saved = None if icl is None else icl - 50
    even = None if not saved else 1200 / saved
    tokens = {"icl_prompt_tokens": icl, "ift_prompt_tokens": 50.0, "extra_prompt_tokens": saved}
    return about | tokens | {"break_even_requests": even} | more


def test_costs_are_those_of_the_largest_size_with_both_ways_and_cross_at_break_even(axes: Axes) -> None:
    draw_costs(table(COST_SCHEMA, cost(2, 250), cost(4, 350), cost(8, None)), axes)
    assert lines(axes) == {
        "in the prompt (ICL): 350 a request": ([0, 8], [0, 2800]),
        "in the weights (IFT): 50 a request after 1,200": ([0, 8], [1200, 1600]),
    }
    assert written(axes) == ["break-even: 4 requests"]
    (point,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([4], [1400])
    assert title(axes) == "Cost with 4 examples, before prefix caching\n(lora tuning, a training token counts 2)"


def test_costs_without_a_break_even_are_drawn_without_its_mark(axes: Axes) -> None:
    draw_costs(table(COST_SCHEMA, cost(2, 50.0)), axes)
    assert written(axes) == []
    assert lines(axes)["in the prompt (ICL): 50 a request"] == ([0, 1000], [0, 50_000])


def steps(*runs: tuple[int, int, list[float]]) -> pl.DataFrame:
    rows = [(size, draw, at, loss) for size, draw, losses in runs for at, loss in enumerate(losses, start=1)]
    return pl.DataFrame(rows, schema=["examples", "draw", "step", "loss"], orient="row")


def test_losses_are_a_line_a_draw_and_a_colour_a_size(axes: Axes) -> None:
    draw_losses(steps((8, 0, [2.0, 1.5, 1.0]), (2, 0, [2.0]), (2, 1, [3.0])), axes)
    assert [list(line.get_ydata()) for line in axes.lines] == [[2.0], [3.0], [2.0, 1.5, 1.0]]
    assert legend(axes) == ["2 examples", "8 examples"]
    assert [line.get_color() for line in axes.lines] == [shades(2)[0], shades(2)[0], shades(2)[1]]
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    assert title(axes) == "Training loss by number of examples (2 draws)"


def test_losses_that_span_much_have_logarithmic_axes(axes: Axes) -> None:
    draw_losses(steps((2, 0, [2.0]), (64, 0, list(np.geomspace(2, 0.01, 20)))), axes)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_a_loss_that_is_no_number_leaves_a_gap(axes: Axes) -> None:
    draw_losses(steps((2, 0, [2.0, float("nan"), 1.0])), axes)
    assert axes.get_yscale() == "linear"


def test_shades_go_from_light_to_dark_and_differ() -> None:
    light = [sum(colour[:3]) for colour in shades(8)]
    assert light == sorted(light, reverse=True)
    assert len({to_hex(colour) for colour in shades(8)}) == 8
    assert len(shades(1)) == 1
    assert BLUE != ORANGE


def test_each_pool_has_figures_of_its_own_with_one_scale_for_both_turns() -> None:
    one = simulated_study(np.random.default_rng(0), 8, 1)
    other = simulated_study(np.random.default_rng(1), 8, 2, "second/pool").filter(pl.col("arm.pool").is_not_null())
    both = pl.concat([one, other.with_columns(trial=pl.col("trial") + 100)])
    figures = TuningFindings.of(both, simulated_losses(np.random.default_rng(0))).report(About("s")).figures
    kinds = ("size_curve", "size_differences", "training_cost")
    assert set(figures) == {f"{kind}_{end}" for kind in kinds for end in ("pool", "second-pool")} | {
        "training_loss_pool"
    }
    first, second = figures["size_curve_pool"].axes
    assert (first.get_ylim(), first.get_title(loc="left")) == (second.get_ylim(), "turn 1 (8 queries)")
    assert "second/pool: IFT minus ICL" in figures["size_differences_second-pool"].axes[0].get_title(loc="left")


def test_pools_whose_names_differ_in_signs_alone_do_not_share_a_figure() -> None:
    studies = [simulated_study(np.random.default_rng(n), 8, 1, pool) for n, pool in enumerate(("a_b", "a-b"))]
    own = studies[1].filter(pl.col("arm.pool").is_not_null()).with_columns(trial=pl.col("trial") + 100)
    figures = TuningFindings.of(pl.concat([studies[0], own]), None).report(About("s")).figures
    assert {name for name in figures if name.startswith("size_curve")} == {"size_curve_1-a-b", "size_curve_2-a-b"}


def test_a_study_of_one_turn_has_one_panel_and_no_figure_without_its_numbers() -> None:
    alone = sized(np.array([[4.0, 5.0], [5.0, 7.0], [6.0, 6.0]]), [arm("ift", 2, 0, "p"), arm("zero-shot")])
    figures = TuningFindings.of(alone, None).report(About("s")).figures
    assert list(figures) == ["size_curve"]
    assert len(figures["size_curve"].axes) == 1
