"""Plots: frames -> axes. Loads nothing, computes nothing, shows nothing.

One house style: colours from Okabe and Ito's colour-blind safe palette, intervals as bars, n in the title.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import fill
from typing import Any

import matplotlib as mpl
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
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
        spread = None if low is None else _bounds(row["difference"], low, high)
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


def draw_alignment(table: pl.DataFrame, axes: Axes) -> Axes:
    """Draw each model's mean of turn 1 and turn 2 in each way it was asked. Takes `alignment.alignment_table`."""
    arms = list(dict.fromkeys(table.select("model", "way").iter_rows()))
    for turn, (colour, shift) in {"turn 1": (BLUE, -0.12), "turn 2": (ORANGE, 0.12)}.items():
        own = {(row["model"], row["way"]): row for row in table.filter(pl.col("group") == turn).iter_rows(named=True)}
        for place, arm in enumerate(arms):
            row = own.get(arm)
            if row is None or row["mean"] is None:
                continue
            _draw_interval(axes, place + shift, row["mean"], row["low"], row["high"], colour)
        axes.plot([], [], "o", color=colour, label=turn)
    axes.set_yticks(range(len(arms)), [f"{_short(model, 24)}\n{way}" for model, way in arms])
    axes.invert_yaxis()
    axes.set_xlabel("mean score in points, 95 % interval over queries")
    queries = max(table.filter(pl.col("group") == "turn 1").get_column("n_judged"), default=0)
    axes.set_title(f"Models and ways of asking them ({queries} queries)")
    axes.legend(loc="best", fontsize=8)
    return axes


def draw_curve(curve: pl.DataFrame, baseline: float | None, axes: Axes, judge: str) -> Axes:
    """Draw the mean score by number of demonstrations, a line for each source.

    Args:
        curve: the frame of `curves.demonstration_curve`.
        baseline: the baseline's mean score, drawn as a line.
        axes: where to draw.
        judge: named on the vertical axis.
    """
    numbers = sorted(curve.get_column("demonstrations").unique())
    places = {number: float(index) for index, number in enumerate(numbers)}
    for index, (name,) in enumerate(curve.select("source").unique(maintain_order=True).iter_rows()):
        own = curve.filter(pl.col("source") == name)
        shift = 0.08 * index
        at = [places[number] + shift for number in own.get_column("demonstrations")]
        draws = max(own.get_column("draws"))
        label = f"{name}, mean of {draws} draws" if draws > 1 else name
        axes.plot(at, own.get_column("mean"), "o-", color=COLOURS[index % len(COLOURS)], label=label)
        for place, row in zip(at, own.iter_rows(named=True), strict=True):
            if row["low"] is not None:
                bounds = _bounds(row["difference"], row["low"], row["high"])
                colour = COLOURS[index % len(COLOURS)]
                axes.errorbar([place], [row["mean"]], yerr=bounds, fmt="none", ecolor=colour, capsize=3, alpha=0.6)
    if baseline is not None:
        axes.axhline(baseline, color="black", linewidth=0.8, linestyle="--", label="baseline")
    axes.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    axes.set_xlabel("demonstrations asked for (bars: 95 % interval of the difference to the baseline)")
    axes.set_ylabel(f"mean score\n({judge} judge)")
    n = max(curve.get_column("n"), default=0)
    axes.set_title(f"Score by number and source of demonstrations (n = {n} queries)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8)
    return axes


def draw_rounds(rounds: pl.DataFrame, held_back: Any, axes: Axes) -> Axes:
    """Draw what each round of a greedy search gained, and what all of them gain on queries that chose nothing.

    Args:
        rounds: the frame of `searches.SearchFindings.rounds`.
        held_back: the gain on the held-back queries: value, low, high (None where there is none) and n.
        axes: where to draw.
    """
    names, n = list[str](), 0
    for row in rounds.filter(pl.col("gain").is_not_null()).iter_rows(named=True):
        kept = "" if row["kept"] else " (not kept)"
        _draw_interval(axes, len(names), row["gain"], row["low"], row["high"], GREY)
        names.append(f"round {row['round']}: {_short(row['winner'], 26)}{kept}")
        n = row["n"]
    if held_back.value is not None:
        _draw_interval(axes, len(names), held_back.value, held_back.low, held_back.high, BLUE)
        names.append("all rounds, held-back queries")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("gain in points, first turn, 95 % interval (Student's t)")
    axes.set_title(f"Greedy search ({n} queries choose, {held_back.n} held back)")
    return axes


def draw_confirmation(table: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw each confirmed condition's lead as selected, on fresh seeds and on held-back queries.

    Args:
        table: the frame of `confirmation.confirm`, at least one row.
        axes: where to draw.
        judge: named on the horizontal axis.
    """
    kinds = {"selected": ("as selected", GREY), "fresh": ("fresh seeds, same queries", ORANGE)}
    kinds["held_back"] = ("held-back queries", BLUE)
    for offset, (name, (label, colour)) in zip((-0.22, 0.0, 0.22), kinds.items(), strict=True):
        for place, row in enumerate(table.iter_rows(named=True)):
            if row[name] is not None:
                _draw_interval(axes, place + offset, row[name], row[f"{name}_low"], row[f"{name}_high"], colour)
        axes.plot([], [], "o", color=colour, label=label)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(table)), [fill(label, 34) for label in table.get_column("label")], parse_math=False)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlabel(f"lead over the baseline in points\n({judge} judge), 95 % interval")
    queries, held_back = (max(table.get_column(f"n_{name}"), default=0) for name in ("fresh", "held_back"))
    axes.set_title(f"Best conditions again ({queries} queries, {held_back} held back)")
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return axes


def _draw_interval(axes: Axes, row: float, value: float, low: float | None, high: float | None, colour: str) -> None:
    spread = None if low is None or high is None else _bounds(value, low, high)
    axes.errorbar([value], [row], xerr=spread, fmt="o", color=colour, capsize=4)


def _bounds(value: float, low: float, high: float) -> tuple[list[float], list[float]]:
    """Return how far an interval reaches below and above its value; rounding may put a bound on the wrong side."""
    return [max(value - low, 0.0)], [max(high - value, 0.0)]


def _short(text: str, length: int = 18) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
