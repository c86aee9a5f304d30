"""Figures: which pictures a study's tables allow, each drawn from its frame.

Knows the frames and the plots; computes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.demonstrations.sizes import pool_marks
from analysis.plots import (
    TEXT_MEASURES,
    draw_audit,
    draw_categories,
    draw_cost,
    draw_costs,
    draw_curve,
    draw_heat_map,
    draw_importances,
    draw_length,
    draw_losses,
    draw_marginal,
    draw_parameter,
    draw_races,
    draw_shapley,
    draw_size_curve,
    draw_size_differences,
    draw_text_measure,
    draw_turns,
    draw_waterfall,
    legend_below,
    new_figure,
    new_grid,
    resampled,
    short,
)

MOST_LISTED = 24
"""Conditions that a figure names one by one; the first ones where there are more."""
MOST_RACED = 40
"""Candidates that the figure of a race shows, those that came farthest."""
HEAT_MAP = ("temperature", "repetition_penalty")


@dataclass(frozen=True)
class Drawing:
    """What the figures of a study are drawn from.

    Attributes:
        frames: the tables of `findings.Findings`, by name.
        judge: named on the axes.
        parameters: those that the study varied.
        baseline, best: their trials' numbers, or None.
    """

    frames: Mapping[str, pl.DataFrame]
    judge: str
    parameters: Sequence[str]
    baseline: int | None
    best: int | None


def study_figures(drawing: Drawing) -> dict[str, Figure]:
    """Return the figures that the tables allow, by file name without ending."""
    figures: dict[str, Figure] = {}
    for draw in _DRAWN:
        figures |= draw(drawing)
    return figures


def audit_figures(audit: pl.DataFrame, judge: str) -> dict[str, Figure]:
    """Return the figure of a judge's audit, by file name without ending. Takes an audit's table."""
    with new_figure(height=1.6 + 0.3 * len(audit)) as (figure, axes):
        draw_audit(audit, axes, judge)
    return {"judge_audit": figure}


def race_figures(raced: pl.DataFrame) -> dict[str, Figure]:
    """Return a figure of each round's race, by file name without ending. Takes the frame of `races.races`."""
    figures = {}
    for (number,), own in raced.group_by("round", maintain_order=True):
        shown = own.sort("queries", "mean", descending=True, nulls_last=True).head(MOST_RACED)
        with new_figure(height=1.2 + 0.22 * len(shown)) as (figure, axes):
            draw_races(own, shown.get_column("candidate").to_list(), axes)
            figures[f"race_{number}"] = figure
    return figures


def tuning_figures(frames: Mapping[str, pl.DataFrame], losses: pl.DataFrame, judge: str) -> dict[str, Figure]:
    """Return the figures of a comparison of ICL with IFT, by file name without ending, for each pool.

    Args:
        frames: the tables of `icl_vs_ift.TuningFindings`, by name.
        losses: of each step of training, may be empty.
        judge: named on the axes.
    """
    pools = frames["curve"].get_column("pool").unique().sort().to_list()
    figures: dict[str, Figure] = {}
    for pool, mark in pool_marks(pools).items():
        end = f"_{mark}" if len(pools) > 1 else ""
        own = {
            name: frames[name].filter(pl.col("pool") == pool) for name in ("curve", "differences", "crossover", "costs")
        }
        figures[f"size_curve{end}"] = _size_curve(own["curve"], frames["references"], judge, pool)
        if len(own["differences"]):
            with new_figure(height=4.4) as (figure, axes):
                _name(draw_size_differences(own["differences"], own["crossover"], axes, judge), pool)
                figures[f"size_differences{end}"] = figure
        if own["costs"].get_column("extra_prompt_tokens").is_not_null().any():
            with new_figure(height=4.2) as (figure, axes):
                _name(draw_costs(own["costs"], axes), pool)
                figures[f"training_cost{end}"] = figure
        if len(of_pool := losses.filter(pl.col("pool").fill_null("") == pool)):
            with new_figure(height=4.2) as (figure, axes):
                _name(draw_losses(of_pool, axes), pool)
                figures[f"training_loss{end}"] = figure
    return figures


def _name(axes: Axes, pool: str) -> None:
    """Put the name of the pool, if it has one, before a figure's title."""
    if pool:
        axes.set_title(f"{short(pool, 40)}: {axes.get_title(loc='left')}")


def _size_curve(curve: pl.DataFrame, references: pl.DataFrame, judge: str, pool: str) -> Figure:
    """Return a panel for each turn, with one scale for all of them."""
    groups = [group for group in curve.get_column("group").unique().sort() if group.startswith("turn ")]
    ends = [
        value for one in (curve, references) for name in ("mean", "low", "high") for value in one[name].drop_nulls()
    ]
    with new_grid(1, len(groups), width=1.5 + 4.2 * len(groups), height=4.2) as (figure, axes):
        for place, group in zip(axes, groups, strict=True):
            if ends:
                room = 0.06 * (max(ends) - min(ends)) or 0.5
                place.set_ylim(min(ends) - room, max(ends) + room)
            draw_size_curve(curve, references, place, group, judge)
        legend_below(axes[0])
        named = f"{short(pool, 40)}: score" if pool else "Score"
        figure.suptitle(f"{named} by number of examples\n(95 % intervals over {resampled(curve)})", size=11)
    return figure


def _races(drawing: Drawing) -> dict[str, Figure]:
    return race_figures(drawing.frames["races"])


def _importance(drawing: Drawing) -> dict[str, Figure]:
    table = drawing.frames["importance"]
    if table.is_empty():
        return {}
    bars = len(table)
    with new_figure(height=1.6 + 0.3 * bars) as (figure, axes):
        draw_importances(table, axes)
    return {"importance": figure}


def _parameters(drawing: Drawing) -> dict[str, Figure]:
    figures = {}
    effects, trials = drawing.frames["effects"], drawing.frames["trials"]
    for parameter in drawing.parameters:
        if parameter not in effects.get_column("parameter") and trials.get_column(f"param.{parameter}").n_unique() < 2:
            continue
        with new_figure() as (figure, axes):
            draw_parameter(parameter, effects, trials, axes, drawing.judge)
            figures[f"parameter_{parameter}"] = figure
    return figures


def _marginals(drawing: Drawing) -> dict[str, Figure]:
    table = drawing.frames["marginals"]
    names = table.get_column("parameter").unique(maintain_order=True).to_list()
    if not names:
        return {}
    lines = -(-len(names) // 2)
    with new_grid(lines, 2, width=8.0, height=2.5 * lines) as (figure, axes):
        for place, name in zip(axes, names, strict=False):
            draw_marginal(name, table, place, drawing.judge)
        for spare in axes[len(names) :]:
            spare.set_visible(False)
        queries = table.get_column("queries")[0]
        figure.suptitle(
            f"Score along each parameter, averaged over the others ({queries} queries, 95 % bands)", size=11
        )
    return {"marginals": figure}


def _heat_map(drawing: Drawing) -> dict[str, Figure]:
    table = drawing.frames["pairs"]
    if table.is_empty():
        return {}
    with new_figure(width=8.0, height=4.6) as (figure, axes):
        draw_heat_map(table, *HEAT_MAP, axes, drawing.judge)
    return {"temperature_by_repetition_penalty": figure}


def _components(drawing: Drawing) -> dict[str, Figure]:
    values = drawing.frames["shapley"]
    if values.is_empty():
        return {}
    with new_figure(height=1.4 + 0.45 * len(values)) as (bars, axes):
        draw_shapley(values, axes)
    with new_figure(height=4.2) as (waterfall, axes):
        draw_waterfall(values, values.get_column("bare")[0], axes, drawing.judge)
    return {"shapley": bars, "waterfall": waterfall}


def _demonstrations(drawing: Drawing) -> dict[str, Figure]:
    curve = drawing.frames["curve"]
    if curve.is_empty():
        return {}
    means = dict(drawing.frames["trials"].select("trial", "mean").iter_rows())
    with new_figure(height=4.2) as (figure, axes):
        draw_curve(curve, means.get(drawing.baseline), axes, drawing.judge)
    return {"demonstrations": figure}


def _categories(drawing: Drawing) -> dict[str, Figure]:
    scores = drawing.frames["scores"]
    groups = [name for name in scores.get_column("group").unique() if not name.startswith(("turn ", "average"))]
    if not groups:
        return {}
    changes = dict(drawing.frames["trials"].select("trial", "change").iter_rows())
    names = {trial: changes[trial] for trial in scores.get_column("trial").unique(maintain_order=True)}
    if drawing.best in names and drawing.best != drawing.baseline:
        names[drawing.best] = f"best: {names[drawing.best]}"
    with new_figure(height=1.8 + 0.34 * len(groups)) as (figure, axes):
        draw_categories(scores, names, axes, drawing.judge)
    return {"categories": figure}


def _turns(drawing: Drawing) -> dict[str, Figure]:
    table = drawing.frames["turns"]
    if table.is_empty():
        return {}
    with new_figure(height=4.6) as (figure, axes):
        draw_turns(table, axes, drawing.judge)
    return {"turns": figure}


def _costs(drawing: Drawing) -> dict[str, Figure]:
    table = drawing.frames["costs"]
    if table.is_empty():
        return {}
    with new_figure(height=4.2) as (length, axes):
        draw_length(table, axes, drawing.judge)
    with new_figure(height=4.2) as (cost, axes):
        draw_cost(table, axes, drawing.judge)
    return {"length": length, "cost": cost}


def _texts(drawing: Drawing) -> dict[str, Figure]:
    table = drawing.frames["texts"]
    if table.is_empty():
        return {}
    shown = table.head(MOST_LISTED)
    with new_grid(1, len(TEXT_MEASURES), width=10.0, height=1.4 + 0.24 * len(shown)) as (figure, axes):
        for at, (place, measure) in enumerate(zip(axes, TEXT_MEASURES, strict=True)):
            draw_text_measure(measure, shown, place, named=at == 0)
        what = f"the first {len(shown)} of {len(table)} conditions" if len(shown) < len(table) else "all conditions"
        figure.suptitle(f"Answers by condition ({what}, {table.get_column('n')[0]} queries, 95 % intervals)", size=11)
    return {"answers": figure}


_DRAWN: tuple[Callable[[Drawing], dict[str, Figure]], ...] = (
    _importance,
    _parameters,
    _marginals,
    _heat_map,
    _components,
    _demonstrations,
    _categories,
    _turns,
    _costs,
    _texts,
    _races,
)
