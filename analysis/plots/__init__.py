"""Plots: frames -> axes. They load nothing, compute no statistic and show nothing."""

from analysis.plots.components import draw_shapley, draw_waterfall
from analysis.plots.demonstrations import draw_curve, draw_races, draw_rounds
from analysis.plots.icl_vs_ift import draw_costs, draw_losses, draw_size_curve, draw_size_differences, resampled
from analysis.plots.models import draw_alignment, draw_audit, draw_confirmation, draw_contrasts
from analysis.plots.parameters import draw_changes, draw_heat_map, draw_importances, draw_marginal, draw_parameter
from analysis.plots.scores import TEXT_MEASURES, draw_categories, draw_cost, draw_length, draw_text_measure, draw_turns
from analysis.plots.style import legend_below, new_figure, new_grid, short

__all__ = [
    "TEXT_MEASURES",
    "draw_alignment",
    "draw_audit",
    "draw_categories",
    "draw_changes",
    "draw_confirmation",
    "draw_contrasts",
    "draw_cost",
    "draw_costs",
    "draw_curve",
    "draw_heat_map",
    "draw_importances",
    "draw_length",
    "draw_losses",
    "draw_marginal",
    "draw_parameter",
    "draw_races",
    "draw_rounds",
    "draw_shapley",
    "draw_size_curve",
    "draw_size_differences",
    "draw_text_measure",
    "draw_turns",
    "draw_waterfall",
    "legend_below",
    "new_figure",
    "new_grid",
    "resampled",
    "short",
]
