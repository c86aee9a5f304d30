"""The findings of a study of conditions: numbers, a headline, tables and a report.

Puts the modules of `analysis` together; knows neither the terminal nor MLflow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from ablations.core.statistics import ENDLESS, Ends
from ablations.judges.registry import PROGRAMS
from ablations.studies.conditions.confirmation_findings import ConfirmationFindings
from ablations.studies.kind import Findings, Results
from analysis.demonstrations.curves import demonstration_curve, scaling_slopes, source_contrasts
from analysis.effects.intervals import Interval
from analysis.effects.joint import joint_effects
from analysis.effects.length_control import length_controlled_effects
from analysis.effects.paired import (
    baseline_trial,
    best_trial,
    condition_effects,
    largest_effects,
    lead_of_best,
    noise_floor,
    one_factor_effects,
    worst_trial,
)
from analysis.examples import Example, read_examples, reasons, telling_conditions
from analysis.figures import HEAT_MAP, Drawing, study_figures
from analysis.frames import ends_of, judge_name, scale_of, trial_table, varied_parameters
from analysis.outputs import cost_table, text_table, turn_table
from analysis.parameters.designs import NUISANCES
from analysis.parameters.importance import FANOVA, Importances, importances
from analysis.parameters.marginals import marginal_curves, pair_means
from analysis.parameters.shapley import shapley_values
from analysis.planning import Level, needed_queries, observed_contrasts
from analysis.report.effects import (
    components_section,
    demonstrations_section,
    effects_section,
    importance_section,
    length_section,
    planning_section,
)
from analysis.report.headline import headline
from analysis.report.page import About, Report
from analysis.report.scores import (
    coverage_section,
    examples_section,
    judge_section,
    method_section,
    races_section,
    scores_sections,
)
from analysis.scores import comparison_table, races, score_groups, unscored_reasons


@dataclass(frozen=True)
class ConditionFindings:
    """Findings of a study of conditions.

    Attributes:
        headline: one sentence with its interval, or why there is none.
        best_against_baseline: the best condition less the baseline, None without both, or where they are one.
        judge: what gave the scores.
        parameters: those that the study varied.
        baseline, best, worst: their trials' numbers, or None.
        importances: from `importance.importances`.
        frames: the tables by name, each with the columns that the function behind it documents: `trials`, `effects`
            (one factor at a time), `largest` (of each parameter), `joint` (two parameters together), `conditions`
            (each against the baseline), `noise_floor`, `importance`, `shapley`, `marginals`, `pairs`,
            `length_controlled`, `scores`, `turns`, `comparisons`, `unscored`, `races`, `costs`, `texts`, `curve`,
            `scaling`, `contrasts`, `planning`.
        examples: answers of the baseline, the best and the worst condition to the same queries.
        confirmation: what evaluating the best conditions again found, or None.
        ends: of the scores, where they are known.
    """

    headline: str
    best_against_baseline: Interval | None
    judge: str
    parameters: tuple[str, ...]
    baseline: int | None
    best: int | None
    worst: int | None
    importances: Importances
    frames: Mapping[str, pl.DataFrame] = field(compare=False)
    examples: tuple[Example, ...] = ()
    confirmation: ConfirmationFindings | None = None
    ends: Ends = ENDLESS

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
        for index, row in enumerate(self.frames["noise_floor"].iter_rows(named=True)):
            metrics[f"noise_floor/{index}"] = row["difference"]
        for row in self.frames["largest"].iter_rows(named=True):
            metrics[f"largest_effect/{row['parameter']}"] = row["difference"]
            metrics[f"moves_at_least/{row['parameter']}"] = row["at_least"]
        for row in self.importances.of(FANOVA).iter_rows(named=True):
            metrics[f"importance/{row['parameter']}"] = row["importance"]
            metrics[f"importance_null/{row['parameter']}"] = row["null"]
        return metrics

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables by name; empty ones are left out."""
        return {name: frame for name, frame in self.frames.items() if len(frame)}

    @property
    def reading(self) -> dict[int, str]:
        """The trials whose answers are worth reading, and why."""
        return reasons({"baseline": self.baseline, "best": self.best, "worst": self.worst})

    def report(self, about: About) -> Report:
        """Return the study's page: effects, importances, components, scores, costs, answers."""
        frames = self.frames
        figures = study_figures(Drawing(frames, self.judge, self.parameters, self.baseline, self.best, self.ends))
        sections = [
            effects_section(frames, figures),
            *([] if self.confirmation is None else [self.confirmation.section()]),
            importance_section(frames, self.importances, figures),
            components_section(frames, figures),
            demonstrations_section(frames, figures),
            *scores_sections(frames, self.baseline, self.best, figures),
            length_section(frames, self.best, figures),
            races_section(frames["races"]),
            planning_section(frames["planning"]),
            coverage_section(frames["trials"], frames["unscored"]),
            judge_section(about, self.judge),
            examples_section(self.examples),
        ]
        shown = [
            section for section in sections if not section.empty or (section.text and section.title == "Importance")
        ]
        headline = self.headline if self.confirmation is None else self.confirmation.headline
        told = about.having(trials=_counted(frames["trials"]))
        return Report(told, headline, (*shown, method_section()), self.reading)

    @classmethod
    def of(cls, results: pl.DataFrame, confirmed: pl.DataFrame | None = None) -> "ConditionFindings":
        """Return the findings from a study's results, and from those of its confirmation, if it has one."""
        trials = trial_table(results)
        baseline, best = baseline_trial(results), best_trial(results)
        conditions, effects = condition_effects(results), one_factor_effects(results)
        judge = judge_name(results)
        found = importances(results)
        telling = telling_conditions(results)
        shown = list(dict.fromkeys(trial for trial in (baseline, best) if trial is not None))
        frames = {
            "trials": trials,
            "effects": effects,
            "largest": largest_effects(effects),
            "joint": joint_effects(results),
            "conditions": conditions,
            "noise_floor": noise_floor(results),
            "importance": found.table,
            "shapley": shapley_values(results),
            "marginals": marginal_curves(results),
            "pairs": pair_means(results, *HEAT_MAP),
            # A program does not like long answers, and what it asks for may itself be a matter of length.
            "length_controlled": length_controlled_effects(results.clear() if judge in PROGRAMS else results),
            "scores": score_groups(results, shown),
            "turns": turn_table(results),
            "comparisons": comparison_table(results),
            "unscored": unscored_reasons(results),
            "races": races(results),
            "costs": cost_table(results),
            "texts": text_table(results),
            "curve": demonstration_curve(results),
            "scaling": scaling_slopes(results),
            "contrasts": source_contrasts(results),
            "planning": _needed(results, effects, conditions),
        }
        return cls(
            headline=headline(results, frames, judge),
            best_against_baseline=lead_of_best(results),
            judge=judge,
            parameters=tuple(name for name in varied_parameters(results) if name not in NUISANCES),
            baseline=baseline,
            best=best,
            worst=worst_trial(results),
            importances=found,
            frames=frames,
            examples=tuple(read_examples(results, telling)) if len(telling) > 1 else (),
            confirmation=None if confirmed is None else ConfirmationFindings.of(results, confirmed),
            ends=ends_of(results),
        )


def _needed(results: pl.DataFrame, effects: pl.DataFrame, conditions: pl.DataFrame) -> pl.DataFrame:
    """Return how many queries would show a difference that just matters, and twice that."""
    scale = scale_of(results)
    margin = 1.0 if scale is None else scale.margin
    level = Level(len(effects) or len(conditions), ends_of(results).differences())
    return needed_queries(observed_contrasts(results), (margin, 2 * margin), level)


def _counted(trials: pl.DataFrame) -> str:
    """Say how many trials there are of each sort."""
    replicates, failed = len(trials.filter(pl.col("replicate") > 0)), len(trials.filter(pl.col("state") == "failed"))
    again = f" and {replicates} A/A replicate{'s' * (replicates > 1)}" if replicates else ""
    without = f", {failed} failed" if failed else ""
    return f"{len(trials)}: {len(trials) - replicates} conditions{again}{without}"


def summarise(results: Results) -> Findings:
    """Return the findings of a study of conditions, or of the confirmation of one; its frame must not be empty."""
    if results.parent is not None:
        return ConfirmationFindings.of(results.parent, results.frame)
    return ConditionFindings.of(results.frame, results.confirmation)
