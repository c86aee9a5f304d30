"""Plots of components: what each contributes, from the bare prompt to the full one."""

import polars as pl
from matplotlib.axes import Axes

from analysis.plots.style import BLUE, GREY, ORANGE, draw_intervals, short


def draw_shapley(values: pl.DataFrame, axes: Axes) -> Axes:
    """Draw each component's Shapley value as a bar with its interval. Takes `shapley.shapley_values`."""
    rows = values.sort("value").to_dicts()
    places = list(range(len(rows)))
    colours = [BLUE if row["value"] >= 0 else ORANGE for row in rows]
    axes.barh(places, [row["value"] for row in rows], height=0.6, color=colours)
    draw_intervals(axes, places, rows, "value", fmt="none", color="black", ecolor="black")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, [_named(row) for row in rows])
    axes.set_xlabel("contribution in points (Shapley value), 95 % simultaneous over queries")
    axes.set_title(f"What components contribute ({rows[0]['n']} queries, all combinations)", fontsize=10)
    return axes


def draw_waterfall(values: pl.DataFrame, bare: float, axes: Axes, judge: str) -> Axes:
    """Draw the way from the bare prompt's mean score to the full one's, one component after the other.

    Takes `shapley.shapley_values` and the bare prompt's mean score. Each bar carries its own interval.
    """
    rows = values.to_dicts()
    level, places = bare, list(range(1, len(rows) + 1))
    axes.bar([0], [bare], color=GREY, width=0.6)
    for place, row in zip(places, rows, strict=True):
        colour = BLUE if row["value"] >= 0 else ORANGE
        axes.bar([place], [row["value"]], bottom=level, color=colour, width=0.6)
        axes.plot([place - 1 + 0.3, place - 0.3], [level, level], color="black", linewidth=0.6)
        level += row["value"]
        shifted = {name: None if row[name] is None else level - row["value"] + row[name] for name in ("low", "high")}
        draw_intervals(axes, [place], [{"mean": level, **shifted}], along="y", fmt="none", ecolor="black")
        top = max(level, level - row["value"])
        axes.annotate(f"{row['value']:+.2f}", (place, top), (4, 3), textcoords="offset points", fontsize=8)
    axes.bar([len(rows) + 1], [level], color=GREY, width=0.6)
    ends = {0: bare, len(rows) + 1: level}
    for place, height in ends.items():
        axes.annotate(f"{height:.2f}", (place, height), (0, 3), textcoords="offset points", fontsize=8, ha="center")
    names = ["bare prompt", *(short(row["component"], 16) for row in rows), "full prompt"]
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right")
    axes.set_ylabel(f"mean score\n({judge} judge)")
    axes.set_title(f"From the bare to the full prompt (Shapley values, {rows[0]['n']} queries, 95 % intervals)")
    return axes


def _named(row: dict[str, str]) -> str:
    return f"{row['component']}\n{short(row['on'], 14)}, not {short(row['off'], 14)}"
