"""The findings of one finished study: numbers, a headline, tables and figures.

Puts the other modules of `analysis` together; knows neither the terminal nor MLflow. The best condition's lead
counts as clear only where its interval corrected for the choice excludes 0 (see `effects.lead_of_best`).
"""

from dataclasses import dataclass, field
from typing import Any

import polars as pl
from matplotlib.figure import Figure

from analysis.curves import demonstration_curve, source_contrasts
from analysis.effects import (
    baseline_trial,
    best_trial,
    lead_of_best,
    noise_floor,
    one_factor_effects,
    paired_difference,
)
from analysis.frames import trial_table, varied_parameters
from analysis.importance import fanova_importances
from analysis.intervals import Interval
from analysis.length_control import length_controlled_effects
from analysis.plots import draw_curve, draw_importances, draw_parameter, new_figure
from analysis.scores import comparison_table, score_groups, unscored_reasons


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Attributes:
        headline: one sentence with its interval, or why there is none.
        best_against_baseline: paired difference of the best condition, None without both.
        trials, effects, noise, importances: the frames of `frames.trial_table`,
            `effects.one_factor_effects`, `effects.noise_floor` and `importance.fanova_importances`.
        length_controlled: the frame of `length_control.length_controlled_effects`.
        scores: the frame of `scores.score_groups`, of the baseline and the best condition.
        comparisons: the frame of `scores.comparison_table`.
        unscored: the frame of `scores.unscored_reasons`.
        curve, contrasts: the frames of `curves.demonstration_curve` and `curves.source_contrasts`.
        baseline, best: their trials' numbers, or None.
        no_importance: why there are no importances, or None.
        figures: by file name without ending.
    """

    headline: str
    best_against_baseline: Interval | None
    best_label: str | None
    trials: pl.DataFrame
    effects: pl.DataFrame
    noise: pl.DataFrame
    importances: pl.DataFrame
    length_controlled: pl.DataFrame
    scores: pl.DataFrame
    comparisons: pl.DataFrame
    unscored: pl.DataFrame
    curve: pl.DataFrame
    contrasts: pl.DataFrame
    baseline: int | None
    best: int | None
    no_importance: str | None
    figures: dict[str, Figure] = field(compare=False)

    def metrics(self) -> dict[str, float | None]:
        """Return the numbers for the parent run, by documented name."""
        best = self.best_against_baseline
        metrics: dict[str, float | None] = {}
        if best is not None:
            metrics |= {
                "best_minus_baseline": best.value,
                "best_minus_baseline_low": best.low,
                "best_minus_baseline_high": best.high,
            }
        for index, row in enumerate(self.noise.iter_rows(named=True)):
            metrics[f"noise_floor/{index}"] = row["difference"]
        for row in self.importances.iter_rows(named=True):
            metrics[f"importance/{row['parameter']}"] = row["importance"]
            metrics[f"importance_low/{row['parameter']}"] = row["low"]
            metrics[f"importance_high/{row['parameter']}"] = row["high"]
        return metrics

    def tables(self) -> dict[str, dict[str, list[Any]]]:
        """Return the tables as columns, by name; empty ones are left out."""
        named = {
            "trials": self.trials,
            "effects": self.effects,
            "noise_floor": self.noise,
            "importance": self.importances,
            "length_controlled": self.length_controlled,
            "scores": self.scores,
            "comparisons": self.comparisons,
            "unscored": self.unscored,
            "curve": self.curve,
            "contrasts": self.contrasts,
        }
        return {name: frame.to_dict(as_series=False) for name, frame in named.items() if len(frame)}


def find(results: pl.DataFrame) -> Findings:
    """Return the findings of a study from its results frame; the frame must not be empty."""
    trials = trial_table(results)
    baseline, best = baseline_trial(results), best_trial(results)
    against = paired_difference(results, best, baseline) if baseline is not None and best is not None else None
    labels = dict(trials.select("trial", "label").iter_rows())
    rivals = len(trials.filter((pl.col("state") == "complete") & (pl.col("replicate") == 0))) - 1
    effects = one_factor_effects(results)
    importances, no_importance = fanova_importances(results)
    judge = str(results.get_column("judge")[0])
    curve = demonstration_curve(results)
    figures = _figures(results, trials, effects, importances, judge)
    if len(curve):
        means = dict(trials.select("trial", "mean").iter_rows())
        with new_figure(height=4.2) as (figure, axes):
            draw_curve(curve, means.get(baseline), axes, judge)
            figures["demonstrations"] = figure
    return Findings(
        headline=_headline(lead_of_best(results), best, baseline, labels, rivals, judge),
        best_against_baseline=against,
        best_label=None if best is None else labels[best],
        trials=trials,
        effects=effects,
        noise=noise_floor(results),
        importances=importances,
        length_controlled=length_controlled_effects(results),
        scores=score_groups(results, list(dict.fromkeys(trial for trial in (baseline, best) if trial is not None))),
        comparisons=comparison_table(results),
        unscored=unscored_reasons(results),
        curve=curve,
        contrasts=source_contrasts(results),
        baseline=baseline,
        best=best,
        no_importance=no_importance,
        figures=figures,
    )


def _headline(
    lead: tuple[Interval, Interval] | None,
    best: int | None,
    baseline: int | None,
    labels: dict[int, str],
    rivals: int,
    judge: str,
) -> str:
    if best is None or baseline is None:
        return "No headline: the baseline or every other condition lacks enough scores."
    if lead is None:
        return (
            f"None of {rivals} other conditions scored above the baseline ({labels[baseline]}), by the {judge} judge."
        )
    against, corrected = lead
    verdict = "a clear difference" if corrected.excludes_zero else "no clear difference"
    wide = (
        "" if corrected.low is None else f" (corrected for the choice: {corrected.low:+.2f} to {corrected.high:+.2f})"
    )
    return (
        f"The best of {rivals} conditions ({labels[best]}) scores {against} points against the baseline "
        f"({labels[baseline]}), paired over {against.n} queries{wide}: {verdict} by the {judge} judge. "
        "Picked as the best of many, its lead is flattered all the same: confirm it on other queries (--confirm)."
    )


def _figures(
    results: pl.DataFrame, trials: pl.DataFrame, effects: pl.DataFrame, importances: pl.DataFrame, judge: str
) -> dict[str, Figure]:
    figures = {}
    if len(importances):
        n_conditions = len(trials.filter((pl.col("replicate") == 0) & (pl.col("state") == "complete")))
        with new_figure(height=1.4 + 0.4 * len(importances)) as (figure, axes):
            draw_importances(importances, axes, n_conditions, int(trials.get_column("n_queries").max() or 0))  # type: ignore[arg-type]
            figures["importance"] = figure
    for parameter in varied_parameters(results):
        with new_figure() as (figure, axes):
            draw_parameter(parameter, effects, trials, axes, judge)
            figures[f"parameter_{parameter}"] = figure
    return figures
