"""Plots of parameters: importances, one parameter at a time, marginal curves, two parameters as a heat map."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from ablations.core.statistics import ENDLESS, Ends
from analysis.plots.style import BLUE, COLOURS, GREY, ORANGE, draw_intervals, legend_below, short

METHODS = {"fanova": "share of the variance", "permutation": "lost when shuffled"}
"""Meaning of each method's importance, as the legend words it."""
VERDICTS = {True: ("decided", BLUE), False: ("within the margin, or open", GREY)}


def draw_changes(effects: pl.DataFrame, joint: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw each single change and below it what each pair does beyond the sum of its parts, with intervals.

    Takes the frames of `paired.one_factor_effects` and `joint.joint_effects`. The margin within which a difference does
    not matter is shaded where a verdict names it.
    """
    rows, names = [], []
    for row in effects.sort("parameter", maintain_order=True).iter_rows(named=True):
        rows.append(row)
        around = f" ({row['around']})" if row["around"] else ""
        names.append(f"{row['parameter']} {row['against']} → {row['value']}{around}")
    for row in joint.iter_rows(named=True):
        rows.append(row)
        names.append(f"{row['first']} × {row['second']}")
    for decided, (label, colour) in VERDICTS.items():
        own = [
            (at, row)
            for at, row in enumerate(rows)
            if (row["low"] is not None and not row["low"] <= 0 <= row["high"]) is decided
        ]
        draw_intervals(axes, [at for at, _ in own], [row for _, row in own], "difference", color=colour, label=label)
    margins = [float(row["verdict"].split()[-1]) for row in rows if "within" in row["verdict"]]
    if margins:
        axes.axvspan(-margins[0], margins[0], color=GREY, alpha=0.15, linewidth=0, label=f"within {margins[0]:g}")
    axes.axvline(0, color="black", linewidth=0.8)
    if len(joint):
        axes.axhline(len(effects) - 0.5, color="black", linewidth=0.5, linestyle=":")
        axes.plot([], [], " ", label="×: beyond the sum of both parts")
    axes.set_yticks(range(len(rows)), [short(name, 56) for name in names])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("difference in points, 95 % simultaneous")
    axes.set_title(f"Changes by the {judge} judge (n = {max(effects.get_column('n'))} queries)")
    legend_below(axes)
    return axes


def draw_importances(importances: pl.DataFrame, axes: Axes) -> Axes:
    """Draw importances as bars, one colour a method, the largest of the first method on top, with the null's end.

    Takes the table of `importance.importances`.
    """
    methods = [name for name in METHODS if name in set(importances.get_column("method"))]
    first = importances.filter(pl.col("method") == methods[0]).sort("importance")
    names = first.get_column("parameter").to_list()
    thick = 0.8 / len(methods)
    marked = set(importances.filter(pl.col("mark").is_not_null()).get_column("method"))
    for index, method in enumerate(methods):
        rows = {row["parameter"]: row for row in importances.filter(pl.col("method") == method).to_dicts()}
        places = [place + thick * ((len(methods) - 1) / 2 - index) for place in range(len(names))]
        own = [rows[name] for name in names]
        label = f"{method}: {METHODS[method]}" + (" (not to be relied on)" if method in marked else "")
        colour = GREY if method in marked else COLOURS[index]
        axes.barh(places, [row["importance"] for row in own], height=0.9 * thick, color=colour, label=label)
        label = "null: its shuffled shadow, 95 % quantile" if index == 0 else "_"
        below, above = ([place + side * thick / 2 for place in places] for side in (-1, 1))
        axes.vlines([row["null"] for row in own], below, above, color="black", label=label)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(right=max(1.0, *importances.get_column("importance")) if len(methods) > 1 else 1.0)
    axes.set_xlabel("importance")
    row = first.row(0, named=True)
    axes.set_title(f"Which parameters matter ({row['conditions']} conditions, {row['queries']} queries)")
    legend_below(axes, columns=2)
    return axes


def draw_parameter(
    parameter: str, effects: pl.DataFrame, trials: pl.DataFrame, axes: Axes, judge: str, ends: Ends = ENDLESS
) -> Axes:
    """Draw one parameter: paired effects with all else still, and every trial's mean behind them.

    Args:
        parameter: whose values stand on the horizontal axis.
        effects: the frame of `paired.one_factor_effects`.
        trials: the frame of `frames.trial_table`.
        axes: where to draw.
        judge: named on the vertical axis.
        ends: of the scores, where they are known; no interval is drawn beyond them.
    """
    own = effects.filter(pl.col("parameter") == parameter)
    known = trials.filter(pl.col("mean").is_not_null() & (pl.col("replicate") == 0))
    column = known.get_column(f"param.{parameter}")
    categories = None if column.dtype.is_numeric() else sorted(set(column.to_list()))
    if categories is None:
        places = {text: float(text) for text in {*own.get_column("value"), *own.get_column("against")}}
        positions = column.cast(pl.Float64).to_list()
    else:
        places = {text: float(index) for index, text in enumerate(categories)}
        positions = [places[text] for text in column]
        axes.set_xticks(range(len(categories)), [short(text) for text in categories])
    axes.scatter(positions, known.get_column("mean"), s=18, color=GREY, alpha=0.7, label="any trial")
    means = dict(known.select("trial", "mean").iter_rows())
    rows = own.to_dicts()
    for row in rows:  # the interval is that of the difference, drawn around the trial's own mean
        shift = means[row["reference_trial"]]
        row |= {name: None if row[name] is None else shift + row[name] for name in ("difference", "low", "high")}
        if row["low"] is not None:
            row["low"], row["high"] = ends.clip(row["low"], row["high"])
    label = "this parameter alone, 95 % interval of the difference"
    at = [places[row["value"]] for row in rows]
    draw_intervals(axes, at, rows, "difference", along="y", capsize=4, label=label)
    references = own.select("against", "reference_trial").unique(maintain_order=True)
    for index, (value, trial) in enumerate(references.iter_rows()):
        label = "compared with" if index == 0 else ""
        axes.scatter([places[value]], [means[trial]], s=60, marker="D", color=ORANGE, zorder=3, label=label or None)
    axes.set_xlabel(parameter)
    axes.set_ylabel(f"mean score\n({judge} judge)")
    axes.set_title(f"{parameter}: effect with all else held still (n = {max(own.get_column('n'), default=0)} queries)")
    legend_below(axes)
    return axes


def draw_marginal(parameter: str, marginals: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw the mean score along one parameter with its band. Takes the frame of `marginals.marginal_curves`."""
    rows = marginals.filter(pl.col("parameter") == parameter).sort("position").to_dicts()
    at = [row["position"] for row in rows]
    counted = sum(row["conditions"] for row in rows)
    if rows[0]["numeric"]:
        low, high, mean = (np.array([row[name] for row in rows], dtype=np.float64) for name in ("low", "high", "mean"))
        axes.fill_between(at, low, high, color=BLUE, alpha=0.2, linewidth=0, label="95 % band")
        axes.plot(at, mean, "o-", color=BLUE)
    else:
        draw_intervals(axes, at, rows, along="y")
        axes.set_xticks(at, [short(row["level"], 12) for row in rows], rotation=20 if len(rows) > 3 else 0)
        axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set_xlabel(parameter)
    axes.set_ylabel(f"mean score\n({judge} judge)")
    axes.set_title(f"{parameter} ({counted} conditions)", fontsize=10)
    return axes


def draw_heat_map(table: pl.DataFrame, first: str, second: str, axes: Axes, judge: str) -> Axes:
    """Draw the mean score of each pair of levels; each cell has mean, interval and the number of conditions.

    Takes the frame of `marginals.pair_means`; `first` runs along the horizontal axis.
    """
    columns = table.select("first_level", "first_position").unique().sort("first_position").get_column("first_level")
    rows = table.select("second_level", "second_position").unique().sort("second_position").get_column("second_level")
    cells = np.full((len(rows), len(columns)), np.nan)
    for row in table.iter_rows(named=True):
        at = (rows.to_list().index(row["second_level"]), columns.to_list().index(row["first_level"]))
        cells[at] = row["mean"]
        bright = row["mean"] > (table.get_column("mean").min() + table.get_column("mean").max()) / 2  # type: ignore[operator]
        interval = "" if row["low"] is None else f"\n{row['low']:.1f} to {row['high']:.1f}"
        text = f"{row['mean']:.2f}{interval}\nn = {row['conditions']}"
        axes.text(at[1], at[0], text, ha="center", va="center", fontsize=7, color="black" if bright else "white")
    image = axes.imshow(cells, cmap="cividis", origin="lower", aspect="auto")
    axes.figure.colorbar(image, ax=axes, label=f"mean score ({judge} judge)")
    axes.set_xticks(range(len(columns)), columns.to_list())
    axes.set_yticks(range(len(rows)), rows.to_list())
    axes.set_xlabel(first)
    axes.set_ylabel(second)
    axes.set_title(f"{first} × {second} ({table.get_column('queries')[0]} queries; n conditions, 95 % interval)")
    for side in axes.spines.values():
        side.set_visible(False)
    return axes
