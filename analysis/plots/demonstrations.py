"""Plots of demonstrations: how many, from where, and how a greedy search found them."""

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes

from analysis.frames import Row
from analysis.plots.style import BLUE, COLOURS, GREY, ORANGE, draw_intervals, legend_below, short


def draw_curve(curve: pl.DataFrame, baseline: float | None, axes: Axes, judge: str) -> Axes:
    """Draw the mean score by number of demonstrations, a line for each source.

    Args:
        curve: the frame of `curves.demonstration_curve`.
        baseline: the baseline's mean score, drawn as a line.
        axes: where to draw.
        judge: named on the vertical axis.
    """
    numbers = sorted(curve.get_column("shots").unique())
    places = {number: float(index) for index, number in enumerate(numbers)}
    for index, (name,) in enumerate(curve.select("source").unique(maintain_order=True).iter_rows()):
        own = curve.filter(pl.col("source") == name)
        colour = COLOURS[index % len(COLOURS)]
        at = [places[number] + 0.08 * index for number in own.get_column("shots")]
        draws = max(own.get_column("draws"))
        label = f"{name}, mean of {draws} draws" if draws > 1 else name
        axes.plot(at, own.get_column("mean"), "o-", color=colour, label=label)
        rows = own.to_dicts()
        for row in rows:  # the interval is that of the difference to the baseline
            shift = row["mean"] - row["difference"]
            row |= {end: None if row[end] is None else shift + row[end] for end in ("low", "high")}
        draw_intervals(axes, at, rows, along="y", fmt="none", ecolor=colour, alpha=0.6)
    if baseline is not None:
        axes.axhline(baseline, color="black", linewidth=0.8, linestyle="--", label="baseline")
    axes.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    axes.set_xlabel("demonstrations asked for (bars: 95 % interval of the difference to the baseline)")
    axes.set_ylabel(f"mean score\n({judge} judge)")
    n = max(curve.get_column("n"), default=0)
    axes.set_title(f"Score by number and source of demonstrations (n = {n} queries)")
    legend_below(axes)
    return axes


def draw_rounds(rounds: pl.DataFrame, held_back: Row | None, axes: Axes) -> Axes:
    """Draw what each round of a greedy search gained, and what all of them gain on queries that chose nothing.

    Args:
        rounds: columns round, winner, gain, low, high, added; a row each.
        held_back: the row of the effect on held-back queries, with difference, low and high, or None.
        axes: where to draw.
    """
    rows = rounds.filter(pl.col("gain").is_not_null()).to_dicts()
    names = [
        f"round {row['round']}: {short(row['winner'], 26)}{'' if row['added'] else ' (not added)'}" for row in rows
    ]
    draw_intervals(axes, range(len(rows)), rows, "gain", color=GREY, capsize=4)
    if held_back is not None:
        draw_intervals(axes, [len(names)], [dict(held_back)], "difference", capsize=4)
        names.append("all rounds, held-back queries")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("gain in points, first turn, 95 % interval")
    n = rows[-1]["n"] if rows else 0
    axes.set_title(f"Greedy search ({n} queries choose, {held_back['n'] if held_back else 0} held back)")
    return axes


def draw_races(races: pl.DataFrame, shown: Sequence[str], axes: Axes) -> Axes:
    """Draw how many queries each candidate of one round answered before it was stopped, and what it had scored.

    Takes the rows of one round from `scores.races`, and the candidates to show.
    """
    rows = races.filter(pl.col("candidate").is_in(shown)).sort("queries", "mean", nulls_last=True).to_dicts()
    places = range(len(rows))
    colours = {"stopped": GREY, "finished": BLUE, "best": ORANGE}
    labels = {"stopped": "stopped early", "finished": "raced to the end", "best": "best of these"}
    for outcome, colour in colours.items():
        own = [(place, row["queries"]) for place, row in zip(places, rows, strict=True) if row["outcome"] == outcome]
        if own:
            axes.barh([place for place, _ in own], [n for _, n in own], color=colour, height=0.7, label=labels[outcome])
    for place, row in zip(places, rows, strict=True):
        text = "no score" if row["mean"] is None else f"{row['mean']:.2f}"
        axes.annotate(text, (row["queries"], place), (3, 0), textcoords="offset points", fontsize=7, va="center")
    axes.set_yticks(list(places), [short(row["candidate"], 30) for row in rows], fontsize=8)
    axes.set_xlabel("queries answered (figure: mean score on these)")
    spent, full = races.get_column("queries").sum(), len(races) * races.get_column("of")[0]
    some = f", the {len(rows)} that came farthest" if len(rows) < len(races) else ""
    axes.set_title(f"Round {races.get_column('round')[0]}: {spent} of {full} evaluations ({spent / full:.0%}){some}")
    legend_below(axes)
    return axes
