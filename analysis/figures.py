"""Figures: which pictures a study's tables allow, each drawn from its frame when it is asked for.

Knows the frames and the plots; computes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.core.statistics import ENDLESS, Ends
from analysis.demonstrations.sizes import pool_marks
from analysis.frames import Row
from analysis.plots import (
    TEXT_MEASURES,
    draw_alignment,
    draw_audit,
    draw_categories,
    draw_changes,
    draw_confirmation,
    draw_contrasts,
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
    draw_rounds,
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
from analysis.report.page import Figures
from analysis.scores import AVERAGE

MOST_LISTED = 24
"""Conditions that a figure names one by one; the first ones where there are more."""
MOST_RACED = 40
"""Candidates that the figure of a race shows, those that came farthest."""
HEAT_MAP = ("temperature", "repetition_penalty")

Draw = Callable[[], Figure]


@dataclass(frozen=True)
class Drawing:
    """Data of a study's figures.

    Attributes:
        frames: the tables of a study's findings, by name.
        judge: named on the axes.
        parameters: those that the study varied.
        baseline, best: their trials' numbers, or None.
        ends: of the scores, where they are known.
    """

    frames: Mapping[str, pl.DataFrame]
    judge: str
    parameters: Sequence[str]
    baseline: int | None
    best: int | None
    ends: Ends = ENDLESS


def study_figures(drawing: Drawing) -> Figures:
    """Return the figures that the tables allow, by file name without ending."""
    return Figures({name: draw for allowed in _DRAWN for name, draw in allowed(drawing).items()})


def _changes(drawing: Drawing) -> dict[str, Draw]:
    """Return the figure of single changes and pairs, which share their axis."""
    effects, joint = drawing.frames["effects"], drawing.frames["joint"]
    height = 1.9 + 0.27 * (len(effects) + len(joint))
    draw = partial(on_axes, lambda axes: draw_changes(effects, joint, axes, drawing.judge), 8.0, height)
    return {"changes": draw} if len(effects) else {}


def outcome_figures(contrasts: pl.DataFrame) -> Figures:
    """Return the figure of changes by each outcome. Takes rows of `outcomes.outcome_contrasts`; {} without any."""
    return Figures({"outcomes": partial(_outcomes, contrasts)} if len(contrasts) else {})


def _outcomes(contrasts: pl.DataFrame) -> Figure:
    """Return a panel for each outcome, with the changes in the same places."""
    names = contrasts.get_column("outcome").unique(maintain_order=True).to_list()
    changes = contrasts.get_column("change").unique(maintain_order=True).to_list()
    with new_grid(1, len(names), width=2.2 + 2.6 * len(names), height=1.6 + 0.26 * len(changes)) as (figure, axes):
        for place, name in zip(axes, names, strict=True):
            draw_contrasts(contrasts.filter(pl.col("outcome") == name), changes, place, name)
        for place in axes[1:]:
            place.set_yticklabels([])
        figure.suptitle("The same changes by each outcome (95 % intervals, simultaneous within an outcome)", size=11)
    return figure


def on_axes(draw: Callable[[Axes], object], width: float = 7.0, height: float = 3.6) -> Figure:
    """Return a figure of the house style with what `draw` puts on its axes; sizes in inches."""
    with new_figure(width, height) as (figure, axes):
        draw(axes)
    return figure


def audit_figures(audit: pl.DataFrame, judge: str) -> Figures:
    """Return the figure of a judge's audit. Takes an audit's table."""
    draw = partial(on_axes, lambda axes: draw_audit(audit, axes, judge), height=1.6 + 0.3 * len(audit))
    return Figures({"judge_audit": draw})


def alignment_figures(table: pl.DataFrame) -> Figures:
    """Return the figure of models side by side. Takes the frame of `alignment.alignment_table`."""
    height = 1.2 + 0.35 * len(table.filter(pl.col("group") == AVERAGE))
    return Figures({"models": partial(on_axes, lambda axes: draw_alignment(table, axes), height=height)})


def confirmation_figures(table: pl.DataFrame, judge: str) -> Figures:
    """Return the figure of a confirmation, if it has rows. Takes its table of leads."""
    draw = partial(on_axes, lambda axes: draw_confirmation(table, axes, judge), height=1.6 + 0.75 * len(table))
    return Figures({"confirmation": draw} if len(table) else {})


def race_figures(raced: pl.DataFrame) -> Figures:
    """Return a figure of each round's race. Takes the frame of `scores.races`."""
    return Figures(_race_drawings(raced))


def search_figures(rounds: pl.DataFrame, held_back: Row | None, raced: pl.DataFrame) -> Figures:
    """Return the figures of a greedy search: its rounds, where these are known, and each round's race.

    Args:
        rounds: what each round gained, may be empty.
        held_back: the effect of the chosen prompt on the held-back queries, or None.
        raced: the frame of `scores.races`.
    """
    drawn: dict[str, Draw] = {}
    if len(rounds):
        drawn["rounds"] = partial(on_axes, lambda axes: draw_rounds(rounds, held_back, axes))
    return Figures(drawn | _race_drawings(raced))


def _race_drawings(raced: pl.DataFrame) -> dict[str, Draw]:
    return {
        f"race_{number}": partial(_draw_race, own) for (number,), own in raced.group_by("round", maintain_order=True)
    }


def _draw_race(own: pl.DataFrame) -> Figure:
    shown = own.sort("queries", "mean", descending=True, nulls_last=True).head(MOST_RACED)
    names = shown.get_column("candidate").to_list()
    return on_axes(lambda axes: draw_races(own, names, axes), height=1.2 + 0.22 * len(shown))


def tuning_figures(frames: Mapping[str, pl.DataFrame], losses: pl.DataFrame, judge: str) -> Figures:
    """Return the figures of a comparison of ICL with IFT, for each pool.

    Args:
        frames: the tables of its findings, by name.
        losses: of each step of training, may be empty.
        judge: named on the axes.
    """
    pools = frames["curve"].get_column("pool").unique().sort().to_list()
    figures: dict[str, Draw] = {}
    for pool, mark in pool_marks(pools).items():
        end = f"_{mark}" if len(pools) > 1 else ""
        own = {
            name: frames[name].filter(pl.col("pool") == pool) for name in ("curve", "differences", "crossover", "costs")
        }
        of_pool = losses.filter(pl.col("pool").fill_null("") == pool)
        figures[f"size_curve{end}"] = partial(_size_curve, own["curve"], frames["references"], judge, pool)
        if len(own["differences"]):
            draw = partial(_size_differences, own["differences"], own["crossover"], judge, pool)
            figures[f"size_differences{end}"] = draw
        if own["costs"].get_column("extra_prompt_tokens").is_not_null().any():
            figures[f"training_cost{end}"] = partial(_of_pool, draw_costs, own["costs"], pool)
        if len(of_pool):
            figures[f"training_loss{end}"] = partial(_of_pool, draw_losses, of_pool, pool)
    return Figures(figures)


def _size_differences(differences: pl.DataFrame, crossings: pl.DataFrame, judge: str, pool: str) -> Figure:
    return on_axes(
        lambda axes: _name(draw_size_differences(differences, crossings, axes, judge), pool),
        height=4.4,
    )


def _of_pool(draw: Callable[[pl.DataFrame, Axes], Axes], frame: pl.DataFrame, pool: str) -> Figure:
    return on_axes(lambda axes: _name(draw(frame, axes), pool), height=4.2)


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


def _races(drawing: Drawing) -> dict[str, Draw]:
    return _race_drawings(drawing.frames["races"])


def _importance(drawing: Drawing) -> dict[str, Draw]:
    table = drawing.frames["importance"]
    draw = partial(on_axes, lambda axes: draw_importances(table, axes), height=1.6 + 0.3 * len(table))
    return {"importance": draw} if len(table) else {}


def _parameters(drawing: Drawing) -> dict[str, Draw]:
    effects, trials = drawing.frames["effects"], drawing.frames["trials"]
    moved = [
        name
        for name in drawing.parameters
        if name in effects.get_column("parameter") or trials.get_column(f"param.{name}").n_unique() > 1
    ]

    def draw(name: str) -> Figure:
        return on_axes(lambda axes: draw_parameter(name, effects, trials, axes, drawing.judge, drawing.ends))

    return {f"parameter_{name}": partial(draw, name) for name in moved}


def _marginals(drawing: Drawing) -> dict[str, Draw]:
    table = drawing.frames["marginals"]
    return {"marginals": partial(_draw_marginals, table, drawing.judge)} if len(table) else {}


def _draw_marginals(table: pl.DataFrame, judge: str) -> Figure:
    names = table.get_column("parameter").unique(maintain_order=True).to_list()
    lines = -(-len(names) // 2)
    with new_grid(lines, 2, width=8.0, height=2.5 * lines) as (figure, axes):
        for place, name in zip(axes, names, strict=False):
            draw_marginal(name, table, place, judge)
        for spare in axes[len(names) :]:
            spare.set_visible(False)
        queries = table.get_column("queries")[0]
        figure.suptitle(
            f"Score along each parameter, averaged over the others ({queries} queries, 95 % bands)", size=11
        )
    return figure


def _heat_map(drawing: Drawing) -> dict[str, Draw]:
    table = drawing.frames["pairs"]
    draw = partial(on_axes, lambda axes: draw_heat_map(table, *HEAT_MAP, axes, drawing.judge), width=8.0, height=4.6)
    return {"temperature_by_repetition_penalty": draw} if len(table) else {}


def _components(drawing: Drawing) -> dict[str, Draw]:
    values = drawing.frames["shapley"]
    if values.is_empty():
        return {}
    bars = partial(on_axes, lambda axes: draw_shapley(values, axes), height=1.4 + 0.45 * len(values))
    bare = values.get_column("bare")[0]
    waterfall = partial(on_axes, lambda axes: draw_waterfall(values, bare, axes, drawing.judge), height=4.2)
    return {"shapley": bars, "waterfall": waterfall}


def _demonstrations(drawing: Drawing) -> dict[str, Draw]:
    curve = drawing.frames["curve"]
    means = dict(drawing.frames["trials"].select("trial", "mean").iter_rows())
    zero = means.get(drawing.baseline)
    draw = partial(on_axes, lambda axes: draw_curve(curve, zero, axes, drawing.judge), height=4.2)
    return {"demonstrations": draw} if len(curve) else {}


def _categories(drawing: Drawing) -> dict[str, Draw]:
    scores = drawing.frames["scores"]
    groups = [name for name in scores.get_column("group").unique() if not name.startswith("turn ") and name != AVERAGE]
    changes = dict(drawing.frames["trials"].select("trial", "change").iter_rows())
    names = {trial: changes[trial] for trial in scores.get_column("trial").unique(maintain_order=True)}
    if drawing.best in names and drawing.best != drawing.baseline:
        names[drawing.best] = f"best: {names[drawing.best]}"
    height = 1.8 + 0.34 * len(groups)
    draw = partial(on_axes, lambda axes: draw_categories(scores, names, axes, drawing.judge), height=height)
    return {"categories": draw} if groups else {}


def _turns(drawing: Drawing) -> dict[str, Draw]:
    table = drawing.frames["turns"]
    draw = partial(on_axes, lambda axes: draw_turns(table, axes, drawing.judge), height=4.6)
    return {"turns": draw} if len(table) else {}


def _costs(drawing: Drawing) -> dict[str, Draw]:
    table = drawing.frames["costs"]
    length = partial(on_axes, lambda axes: draw_length(table, axes, drawing.judge), height=4.2)
    cost = partial(on_axes, lambda axes: draw_cost(table, axes, drawing.judge), height=4.2)
    return {"length": length, "cost": cost} if len(table) else {}


def _texts(drawing: Drawing) -> dict[str, Draw]:
    table = drawing.frames["texts"]
    return {"answers": partial(_draw_texts, table)} if len(table) else {}


def _draw_texts(table: pl.DataFrame) -> Figure:
    shown = table.head(MOST_LISTED)
    with new_grid(1, len(TEXT_MEASURES), width=10.0, height=1.4 + 0.24 * len(shown)) as (figure, axes):
        for at, (place, measure) in enumerate(zip(axes, TEXT_MEASURES, strict=True)):
            draw_text_measure(measure, shown, place, named=at == 0)
        what = f"the first {len(shown)} of {len(table)} conditions" if len(shown) < len(table) else "all conditions"
        figure.suptitle(f"Answers by condition ({what}, {table.get_column('n')[0]} queries, 95 % intervals)", size=11)
    return figure


_DRAWN: tuple[Callable[[Drawing], dict[str, Draw]], ...] = (
    _changes,
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
