"""Plots of scores: categories, turns, length, quality of text, cost."""

import polars as pl
from matplotlib.axes import Axes

from analysis.plots.style import BLUE, COLOURS, GREY, ORANGE, draw_intervals, legend_below, short
from analysis.scores import AVERAGE


def draw_categories(scores: pl.DataFrame, names: dict[int, str], axes: Axes, judge: str) -> Axes:
    """Draw the mean score of each category, one colour a condition.

    Takes `scores.score_groups`; `names` says what each of its trials is called.
    """
    own = scores.filter(~pl.col("group").str.starts_with("turn ") & (pl.col("group") != AVERAGE))
    groups = list(dict.fromkeys(own.get_column("group")))
    for index, (trial, name) in enumerate(names.items()):
        rows = {row["group"]: row for row in own.filter(pl.col("trial") == trial).to_dicts()}
        shown = [(place, rows[group]) for place, group in enumerate(groups) if group in rows]
        places = [place + 0.16 * (index - (len(names) - 1) / 2) for place, _ in shown]
        draw_intervals(axes, places, [row for _, row in shown], color=COLOURS[index], label=short(name, 60))
    counts = own.group_by("group").agg(pl.col("n_judged").max())
    judged = dict(counts.iter_rows())
    axes.set_yticks(range(len(groups)), [f"{group} (n = {judged[group]})" for group in groups])
    axes.invert_yaxis()
    with_bars = own.get_column("low").is_not_null().any()
    axes.set_xlabel(f"mean score ({judge} judge){', 95 % interval' if with_bars else ''}; n judgments")
    axes.set_title("Scores by category")
    legend_below(axes, columns=1)
    return axes


def draw_turns(turns: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw every condition's mean on turn 1 against that on turn 2. Takes the frame of `outputs.turn_table`."""
    rows = turns.to_dicts()
    ends = [row[name] for row in rows for name in ("turn_1", "turn_2")]
    span = (min(ends), max(ends))
    axes.plot(span, span, color="black", linewidth=0.8, linestyle="--", label="as good on both turns")
    for role, (colour, name) in _ROLES.items():
        own = [row for row in rows if row["role"] == role]
        for at, row in enumerate(own):
            crossed = role != "other"
            axes.errorbar(
                [row["turn_1"]],
                [row["turn_2"]],
                xerr=_spread(row, "turn_1") if crossed else None,
                yerr=_spread(row, "turn_2") if crossed else None,
                fmt="o",
                markersize=5 if crossed else 4,
                color=colour,
                capsize=3,
                label=name if at == 0 else None,
                zorder=3 if crossed else 2,
            )
    axes.set_xlabel(f"turn 1, mean score ({judge} judge)")
    axes.set_ylabel("turn 2, mean score")
    axes.set_title(f"Turn 1 against turn 2 ({len(rows)} conditions, {rows[0]['n']} queries; 95 % intervals)")
    legend_below(axes)
    return axes


_ROLES = {"other": (GREY, "other conditions"), "best": (ORANGE, "best"), "baseline": (BLUE, "baseline")}


def _spread(row: dict[str, float], name: str) -> list[list[float]] | None:
    if row[f"{name}_low"] is None:
        return None
    return [[max(row[name] - row[f"{name}_low"], 0)], [max(row[f"{name}_high"] - row[name], 0)]]


def draw_length(costs: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw every condition's mean score against the length of its answers. Takes the frame of `outputs.cost_table`."""
    rows = costs.to_dicts()
    places = [row["characters"] for row in rows]
    draw_intervals(axes, places, rows, along="y", color=GREY, alpha=0.8)
    for row in rows:
        if row["role"] != "other":
            colour, name = _ROLES[row["role"]]
            axes.scatter([row["characters"]], [row["mean"]], s=50, color=colour, zorder=3, label=name)
    axes.set_xlabel("mean length of an answer in characters")
    axes.set_ylabel(f"mean score\n({judge} judge)")
    axes.set_title(f"Score against length ({len(rows)} conditions, {rows[0]['n']} queries; 95 % intervals)")
    legend_below(axes)
    return axes


def draw_cost(costs: pl.DataFrame, axes: Axes, judge: str) -> Axes:
    """Draw every condition's mean score against its tokens, with the conditions that none beats in both.

    Takes the frame of `outputs.cost_table`.
    """
    rows = costs.to_dicts()
    draw_intervals(axes, [row["tokens"] for row in rows], rows, along="y", color=GREY, alpha=0.6)
    front = [row for row in costs.sort("tokens").to_dicts() if row["front"]]
    axes.step(
        [row["tokens"] for row in front],
        [row["mean"] for row in front],
        where="post",
        color=BLUE,
        marker="o",
        label="nothing is cheaper and better (Pareto front)",
        zorder=3,
    )
    for row in (row for row in front if row["role"] != "baseline"):  # that has a sign of its own
        text = short(row["change"], 40)
        axes.annotate(text, (row["tokens"], row["mean"]), (5, -10), textcoords="offset points", fontsize=7)
    for row in rows:
        if row["role"] == "baseline":
            axes.scatter([row["tokens"]], [row["mean"]], s=60, marker="D", color=ORANGE, zorder=4, label="baseline")
    axes.set_xlabel("tokens a turn, prompt and answer together")
    axes.set_ylabel(f"mean score\n({judge} judge)")
    axes.set_title(f"Tokens against score ({len(rows)} conditions, {rows[0]['n']} queries; 95 % intervals)")
    legend_below(axes)
    return axes


TEXT_MEASURES = {
    "tokens": "tokens an answer",
    "truncation": "cut off, share of answers",
    "repetition": "repeated 4-grams, share",
}
"""Columns of `outputs.text_table` and what they are called."""


def draw_text_measure(measure: str, texts: pl.DataFrame, axes: Axes, named: bool) -> Axes:
    """Draw one property of the answers by condition. Takes `outputs.text_table`; names stand where `named`."""
    rows = texts.to_dicts()
    places = list(range(len(rows)))
    draw_intervals(axes, places, rows, measure, (f"{measure}_low", f"{measure}_high"))
    axes.set_yticks(places, [short(row["change"], 44) for row in rows] if named else [""] * len(rows), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(TEXT_MEASURES[measure])
    axes.grid(axis="y", linewidth=0.3)
    return axes
