"""Plots: frames -> axes. Loads nothing, computes nothing, shows nothing.

One house style: colours from Okabe and Ito's colour-blind safe palette, intervals as bars, n in the title.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.dpi": 120,
    "savefig.bbox": "tight",
    "legend.frameon": False,
}


@contextmanager
def new_figure(width: float = 7.0, height: float = 3.6) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure of the house style, in inches, without touching matplotlib's global state."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def draw_importances(importances: pl.DataFrame, axes: Axes, n_trials: int, n_queries: int) -> Axes:
    """Draw importances as bars with their intervals, the largest on top.

    Takes the frame of `importance.fanova_importances`.
    """
    ordered = importances.sort("importance")
    names = ordered.get_column("parameter").to_list()
    values = ordered.get_column("importance").to_list()
    below = [max(value - low, 0) for value, low in zip(values, ordered.get_column("low"), strict=True)]
    above = [max(high - value, 0) for value, high in zip(values, ordered.get_column("high"), strict=True)]
    axes.barh(names, values, color=BLUE, height=0.6)
    axes.errorbar(values, range(len(names)), xerr=(below, above), fmt="none", ecolor="black", capsize=3)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the variance between trials (fANOVA), 95 % interval")
    axes.set_title(f"Which parameters matter ({n_trials} conditions, {n_queries} queries)")
    return axes


def draw_parameter(parameter: str, effects: pl.DataFrame, trials: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw one parameter: paired effects with all else still, and every trial's mean behind them.

    Args:
        parameter: whose values stand on the horizontal axis.
        effects: the frame of `effects.one_factor_effects`.
        trials: the frame of `frames.trial_table`.
        axes: where to draw.
        judge: named on the vertical axis.
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
        axes.set_xticks(range(len(categories)), [_short(text) for text in categories])
    axes.scatter(positions, known.get_column("mean"), s=18, color=GREY, alpha=0.7, label="any trial")
    means = dict(known.select("trial", "mean").iter_rows())
    for index, row in enumerate(own.iter_rows(named=True)):
        middle = means[row["reference_trial"]] + row["difference"]
        low, high = row["low"], row["high"]
        spread = None if low is None else ([max(row["difference"] - low, 0)], [max(high - row["difference"], 0)])
        label = "this parameter alone, 95 % interval of the difference" if index == 0 else None
        axes.errorbar([places[row["value"]]], [middle], yerr=spread, fmt="o", color=BLUE, capsize=4, label=label)
    references = own.select("against", "reference_trial").unique(maintain_order=True)
    for index, (value, trial) in enumerate(references.iter_rows()):
        label = "compared with" if index == 0 else None
        axes.scatter([places[value]], [means[trial]], s=60, marker="D", color=ORANGE, zorder=3, label=label)
    axes.set_xlabel(parameter)
    axes.set_ylabel(f"mean score\n({judge} judge)")
    axes.set_title(f"{parameter}: effect with all else held still (n = {max(own.get_column('n'), default=0)} queries)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8)
    return axes


def _short(text: str, length: int = 18) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
