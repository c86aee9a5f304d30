"""Plots of what stands on its own: models and outcomes side by side, a confirmation, a judge's audit."""

from collections.abc import Sequence
from textwrap import fill

import polars as pl
from matplotlib.axes import Axes

from analysis.plots.style import BLUE, GREY, ORANGE, draw_intervals, legend_below, short


def draw_alignment(table: pl.DataFrame, axes: Axes) -> Axes:
    """Draw each model's mean of turn 1 and turn 2 in each way it was asked. Takes `alignment.alignment_table`."""
    arms = list(dict.fromkeys(table.select("model", "way").iter_rows()))
    for turn, (colour, shift) in {"turn 1": (BLUE, -0.12), "turn 2": (ORANGE, 0.12)}.items():
        own = {(row["model"], row["way"]): row for row in table.filter(pl.col("group") == turn).iter_rows(named=True)}
        shown = [(place + shift, own[arm]) for place, arm in enumerate(arms) if arm in own]
        draw_intervals(axes, [place for place, _ in shown], [row for _, row in shown], color=colour, capsize=4)
        axes.plot([], [], "o", color=colour, label=turn)
    axes.set_yticks(range(len(arms)), [f"{short(model, 24)}\n{way}" for model, way in arms])
    axes.invert_yaxis()
    axes.set_xlabel("mean score in points, 95 % interval over queries")
    queries = max(table.filter(pl.col("group") == "turn 1").get_column("n_judged"), default=0)
    axes.set_title(f"Models and ways of asking them ({queries} queries)")
    axes.legend(loc="best")
    return axes


def draw_contrasts(contrasts: pl.DataFrame, changes: Sequence[str], axes: Axes, outcome: str) -> Axes:
    """Draw the effect of each change by one outcome, what excludes 0 in another colour.

    Args:
        contrasts: rows of `outcomes.outcome_contrasts` of one outcome.
        changes: in words, from top to bottom; one that the outcome lacks has an empty line.
        axes: where to draw.
        outcome: its name.
    """
    rows = {row["change"]: row for row in contrasts.iter_rows(named=True)}
    shown = [(place, rows[change]) for place, change in enumerate(changes) if change in rows]
    for decided, colour in ((True, BLUE), (False, GREY)):
        own = [
            (at, row) for at, row in shown if (row["low"] is not None and not row["low"] <= 0 <= row["high"]) is decided
        ]
        draw_intervals(axes, [at for at, _ in own], [row for _, row in own], "difference", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(changes)), [short(change, 34) for change in changes])
    axes.set_ylim(len(changes) - 0.5, -0.5)
    axes.set_xlabel("difference in points")
    axes.set_title(f"{outcome} (n = {max(contrasts.get_column('n'), default=0)})")
    return axes


def draw_audit(audit: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw how often a judge preferred good answers to each planted control, and how often it must.

    Takes a judge's audit: columns control, wins, pairs (judged), low, high (Wilson, shares 0 to 1), least, passed.
    """
    rows = audit.to_dicts()
    for row in rows:
        row["share"] = row["wins"] / row["pairs"] if row["pairs"] else None
    for passed, colour, label in ((True, BLUE, "passed"), (False, ORANGE, "failed")):
        own = [(place, row) for place, row in enumerate(rows) if bool(row["passed"]) is passed]
        draw_intervals(axes, [at for at, _ in own], [row for _, row in own], "share", color=colour, label=label)
    for place, row in enumerate(rows):
        axes.plot([row["least"]] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1.5)
    axes.plot([], [], color="black", label="needed")
    axes.axvline(0.5, color="black", linewidth=0.6, linestyle=":", label="chance")
    axes.set_xlim(0, 1.02)
    axes.set_yticks(range(len(rows)), [f"{row['control']} (n = {row['pairs']})" for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("good answer above the control, share of pairs (95 %, Wilson)")
    axes.set_title(f"Audit of the {judge} judge")
    legend_below(axes, columns=4)
    return axes


def draw_confirmation(table: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw each confirmed condition's lead as selected, on fresh seeds and on held-back queries.

    Args:
        table: columns label and, for NAME of selected, fresh and held_back, the lead NAME, NAME_low, NAME_high and
            n_NAME; at least one row.
        axes: where to draw.
        judge: named on the horizontal axis.
    """
    kinds = {"selected": ("as selected", GREY), "fresh": ("fresh seeds, same queries", ORANGE)}
    kinds["held_back"] = ("held-back queries", BLUE)
    rows = table.to_dicts()
    for offset, (name, (label, colour)) in zip((-0.22, 0.0, 0.22), kinds.items(), strict=True):
        places = [place + offset for place in range(len(rows))]
        draw_intervals(axes, places, rows, name, (f"{name}_low", f"{name}_high"), color=colour, capsize=4)
        axes.plot([], [], "o", color=colour, label=label)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(table)), [fill(label, 34) for label in table.get_column("label")], parse_math=False)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlabel(f"lead over the baseline in points\n({judge} judge), 95 % interval")
    queries, held_back = (max(table.get_column(f"n_{name}"), default=0) for name in ("fresh", "held_back"))
    axes.set_title(f"Best conditions again ({queries} queries, {held_back} held back)")
    legend_below(axes)
    return axes
