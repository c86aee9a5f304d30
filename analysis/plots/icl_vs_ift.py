"""Plots of examples in the prompt against examples in the weights: scores by size, differences, costs, losses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, NullLocator
from scipy.optimize import isotonic_regression

from analysis.plots.style import BLUE, COLOURS, ORANGE, draw_intervals, legend_below, shades, short

_WAYS = {
    "icl": ("in the prompt (ICL)", BLUE, "o"),
    "ift": ("in the weights (IFT)", ORANGE, "s"),
}
_REFERENCES = {"zero-shot": ("#666666", ":"), "urial": (COLOURS[2], "-."), "aligned": ("black", "--")}
_TURNS = {"turn 1": (BLUE, -0.05), "turn 2": (ORANGE, 0.05)}
_LABEL_GAP = 0.075
"""Between labels of lines, as a share of the axis."""
_FEW_STEPS = 30
"""Up to which the steps of a training are drawn as points too."""


def draw_size_curve(curve: pl.DataFrame, references: pl.DataFrame, axes: Axes, group: str, judge: str) -> Axes:
    """Draw the score of ICL and IFT by number of examples, with bands, and the ways without examples as lines.

    Takes one pool of `sizes.size_curve`, `sizes.reference_lines`, and the group to draw. Where limits of the
    vertical axis are set, they are kept; the legend is left to the figure.
    """
    own = curve.filter(pl.col("group") == group)
    for way, (name, colour, marker) in _WAYS.items():
        line = own.filter((pl.col("way") == way) & pl.col("mean").is_not_null()).sort("examples")
        if line.is_empty():
            continue
        axes.plot(line["examples"], line["mean"], marker + "-", color=colour, label=name)
        banded = line.drop_nulls("low")
        axes.fill_between(banded["examples"], banded["low"], banded["high"], color=colour, alpha=0.18, linewidth=0)
    lines = references.filter((pl.col("group") == group) & pl.col("mean").is_not_null()).sort("mean").to_dicts()
    for row in lines:
        colour, dashes = _REFERENCES[row["way"]]
        axes.axhline(row["mean"], color=colour, linestyle=dashes, linewidth=1.2)
    low, high = axes.get_ylim()
    heights = _apart([row["mean"] for row in lines], _LABEL_GAP * (high - low))
    for row, height in zip(lines, heights, strict=True):
        text, where = f"{_called(row['way'])} {row['mean']:.2f}", ("axes fraction", "data")
        style: dict[str, Any] = {
            "textcoords": "offset points",
            "fontsize": 8,
            "va": "center",
            "color": _REFERENCES[row["way"]][0],
        }
        axes.annotate(text, (1.0, height), (4, 0), xycoords=where, annotation_clip=False, **style)
    _size_axis(axes, sorted(set(curve.get_column("examples"))))
    axes.set_ylabel(f"mean score\n({judge} judge)")
    axes.set_title(f"{group} ({max(own.get_column('n'), default=0)} queries)")
    return axes


def draw_size_differences(differences: pl.DataFrame, crossings: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw IFT minus ICL by number of examples on both turns, and where IFT overtakes ICL.

    Takes one pool of `sizes.size_differences` and of `crossover.crossover`; a crossover without a value,
    or open at both ends, is not drawn.
    """
    sizes = sorted(set(differences.get_column("examples")))
    axes.axhline(0, color="black", linewidth=0.8)
    for group, (colour, shift) in _TURNS.items():
        rows = differences.filter(pl.col("group") == group).sort("examples").to_dicts()
        places = [row["examples"] * 2**shift for row in rows]
        draw_intervals(axes, places, rows, "difference", along="y", color=colour, label=group, capsize=4)
        axes.plot(places, [row["difference"] for row in rows], color=colour, linewidth=0.8, alpha=0.5)
        decided = pl.any_horizontal(pl.col("low", "high").is_not_null())
        for row in crossings.filter((pl.col("group") == group) & pl.col("value").is_not_null() & decided).to_dicts():
            ends = [row["low"] or sizes[0], row["high"] or sizes[-1]]
            name = f"{group}: IFT overtakes, 95 %"
            axes.plot(ends, [0, 0], color=colour, linewidth=5, alpha=0.25, solid_capstyle="butt", label=name)
            axes.plot([row["value"]], [0], "D", color=colour, markersize=7, markeredgecolor="white", zorder=4)
    for text, at, side in (("IFT\nbetter", 0.98, "top"), ("ICL\nbetter", 0.02, "bottom")):
        axes.text(1.01, at, text, transform=axes.transAxes, va=side, fontsize=8, color="#666666")
    _size_axis(axes, sizes)
    axes.set_ylabel(f"IFT minus ICL in points\n({judge} judge)")
    n = max(differences.get_column("n"), default=0)
    axes.set_title(f"IFT minus ICL with the same examples ({n} queries,\n95 % intervals over {resampled(differences)})")
    legend_below(axes, columns=2)
    return axes


def draw_costs(costs: pl.DataFrame, axes: Axes) -> Axes:
    """Draw what both ways have cost after a number of requests, at the largest size that has both, and the break-even.

    Takes one pool of `sizes.costs` that has such a size.
    """
    known = costs.drop_nulls(["icl_prompt_tokens", "ift_prompt_tokens", "training_tokens", "factor"])
    row = known.sort("examples").row(-1, named=True)
    even = row["break_even_requests"]
    span, once = [0.0, 2 * even if even else 1_000.0], row["training_tokens"] * row["factor"]
    paid = {"icl": [each * row["icl_prompt_tokens"] for each in span]}
    paid["ift"] = [once + each * row["ift_prompt_tokens"] for each in span]
    for way, (name, colour, _) in _WAYS.items():
        per = f"{row[f'{way}_prompt_tokens']:,.0f} a request"
        axes.plot(span, paid[way], color=colour, label=f"{name}: {per}{f' after {once:,.0f}' * (way == 'ift')}")
    if even:
        at = (even, even * row["icl_prompt_tokens"])
        axes.plot(*at, "o", color="black", zorder=3)
        text = f"break-even: {even:,.0f} requests"
        axes.annotate(text, at, (8, -12), textcoords="offset points", fontsize=9)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.yaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set_xlabel("requests (one turn each)")
    axes.set_ylabel("prompt tokens read so far,\ntraining included")
    trained = f"a training token counts {row['factor']:g}"
    axes.set_title(f"Cost with {row['examples']} examples, before prefix caching\n({row['tuning']} tuning, {trained})")
    legend_below(axes, columns=1)
    return axes


def draw_losses(losses: pl.DataFrame, axes: Axes) -> Axes:
    """Draw the training loss by step, a colour a number of examples, a line a draw.

    Takes one pool of a study's losses: columns examples, draw, step, loss. The axis of losses is logarithmic where they
    span more than a factor of ten, that of steps where runs differ in length by more than a factor of eight.
    """
    sizes = losses.get_column("examples").unique().sort().to_list()
    for place, (size, colour) in enumerate(zip(sizes, shades(len(sizes)), strict=True)):
        own = losses.filter(pl.col("examples") == size)
        for at, (_, run) in enumerate(own.sort("draw", "step").group_by("draw", maintain_order=True)):
            label, marker = f"{size:,} examples" if at == 0 else None, "." if len(run) <= _FEW_STEPS else None
            style: dict[str, Any] = {
                "color": colour,
                "linewidth": 1,
                "marker": marker,
                "zorder": 3 - place / len(sizes),
            }
            axes.plot(run["step"], run["loss"], label=label, **style)
    known = losses.filter(pl.col("loss") > 0).get_column("loss").to_list()
    if known and max(known) > 10 * min(known):
        axes.set_yscale("log")
    lengths = losses.group_by("examples", "draw").agg(pl.col("step").max()).get_column("step").to_list()
    if lengths and max(lengths) > 8 * min(lengths) > 0:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("step of training")
    axes.set_ylabel("loss a token (nats)")
    draws = losses.get_column("draw").n_unique()
    axes.set_title(f"Training loss by number of examples ({draws} draw{'s' * (draws > 1)})")
    legend_below(axes, columns=4)
    return axes


def _size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Make the horizontal axis one of numbers of examples, in doublings, with a tick at each."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("examples (each tick is a size that was run)")


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights moved as little as it takes (least squares) for a gap between them."""
    if not heights:
        return []
    steps = gap * np.arange(len(heights))
    return list(isotonic_regression(np.array(heights) - steps).x + steps)


def _called(way: str) -> str:
    return "URIAL" if way == "urial" else short(way, 18)


def resampled(frame: pl.DataFrame) -> str:
    """Say what the intervals of a frame with the column `over` resample."""
    found = set(frame.get_column("over"))
    if len(found) > 1:
        return "queries, and over draws where there are several"
    return max(found, default="queries").replace(" and ", " and over ")
