"""The findings of a study of conditions: numbers, a headline, tables and a report.

Puts the modules of `analysis` together; knows neither the terminal nor MLflow. The best condition's lead
counts as clear only where its interval corrected for the choice excludes 0 (see `paired.lead_of_best`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from ablations.core.statistics import ENDLESS, Ends
from ablations.judges.registry import PROGRAMS
from ablations.studies.conditions.confirmation_findings import ConfirmationFindings
from ablations.studies.kind import Findings, Results
from analysis.demonstrations.curves import demonstration_curve, scaling_slopes, source_contrasts
from analysis.effects.designs import NUISANCES
from analysis.effects.importance import FANOVA, Importances, importances
from analysis.effects.interactions import interaction_effects
from analysis.effects.intervals import Interval
from analysis.effects.length_control import length_controlled_effects
from analysis.effects.marginals import marginal_curves, pair_means
from analysis.effects.paired import (
    baseline_trial,
    best_trial,
    condition_effects,
    lead_of_best,
    noise_floor,
    one_factor_effects,
    paired_difference,
    rivals,
    shares_queries,
    worst_trial,
)
from analysis.effects.shapley import shapley_values
from analysis.examples import Example, read_examples, reasons, telling_conditions
from analysis.figures import HEAT_MAP, Drawing, study_figures
from analysis.frames import ends_of, judge_name, trial_table, varied_parameters
from analysis.outputs import cost_table, text_table, turn_table
from analysis.planning import PLAN_SCHEMA, Spread, needed_queries, observed_spread, planned_effects
from analysis.report.effects import (
    components_section,
    demonstrations_section,
    effects_section,
    importance_section,
    length_section,
    planning_section,
)
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
        best_against_baseline: paired difference of the best condition, None without both.
        judge: what gave the scores.
        parameters: those that the study varied.
        baseline, best, worst: their trials' numbers, or None.
        importances: from `importance.importances`.
        spread: from `planning.observed_spread`, or None.
        frames: the tables by name, each with the columns that the function behind it documents: `trials`, `effects`
            (one factor at a time), `conditions` (each against the baseline), `noise_floor`, `importance`,
            `interactions`, `shapley`, `marginals`, `pairs`, `length_controlled`, `scores`, `turns`, `comparisons`,
            `unscored`, `races`, `costs`, `texts`, `curve`, `scaling`, `contrasts`, `planning`.
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
    spread: Spread | None
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
        for row in self.importances.of(FANOVA).iter_rows(named=True):
            metrics[f"importance/{row['parameter']}"] = row["importance"]
            metrics[f"importance_low/{row['parameter']}"] = row["low"]
            metrics[f"importance_high/{row['parameter']}"] = row["high"]
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
            planning_section(frames["planning"], self.spread),
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
        against = None
        if baseline is not None and best is not None and shares_queries(results, baseline):
            against = paired_difference(results, best, baseline)
        conditions = condition_effects(results)
        judge = judge_name(results)
        found, spread = importances(results), observed_spread(results)
        telling = telling_conditions(results)
        shown = list(dict.fromkeys(trial for trial in (baseline, best) if trial is not None))
        frames = {
            "trials": trials,
            "effects": one_factor_effects(results),
            "conditions": conditions,
            "noise_floor": noise_floor(results),
            "importance": found.table,
            "interactions": interaction_effects(results),
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
            "planning": pl.DataFrame(schema=PLAN_SCHEMA)
            if spread is None
            else needed_queries(spread, planned_effects(results)),
        }
        return cls(
            headline=_headline(results, best, baseline, trials, judge),
            best_against_baseline=against,
            judge=judge,
            parameters=tuple(name for name in varied_parameters(results) if name not in NUISANCES),
            baseline=baseline,
            best=best,
            worst=worst_trial(results),
            importances=found,
            spread=spread,
            frames=frames,
            examples=tuple(read_examples(results, telling)) if len(telling) > 1 else (),
            confirmation=None if confirmed is None else ConfirmationFindings.of(results, confirmed),
            ends=ends_of(results),
        )


def _headline(results: pl.DataFrame, best: int | None, baseline: int | None, trials: pl.DataFrame, judge: str) -> str:
    lead, others = lead_of_best(results), rivals(results)
    if best is None or baseline is None or others < 1:
        return "No headline: the baseline or every other condition lacks enough scores."
    rows = {row["trial"]: row for row in trials.iter_rows(named=True)}
    baseline_label = rows[baseline]["label"]
    if lead is None and (best != baseline or not shares_queries(results, baseline)):
        return "No headline: no query was scored under both the best condition and the baseline."
    if lead is None:
        return f"None of {others} other conditions scored above the baseline ({baseline_label}), by the {judge} judge."
    against, corrected = lead
    verdict = "a clear difference" if corrected.excludes_zero else "no clear difference"
    wide = (
        "" if corrected.low is None else f" (corrected for the choice: {corrected.low:+.2f} to {corrected.high:+.2f})"
    )
    return (
        f"The best of {others} conditions ({rows[best]['change']}) scores {against} points against the baseline "
        f"({baseline_label}), paired over {against.n} queries{wide}: {verdict} by the {judge} judge. "
        "Picked as the best of many, its lead is subject to selection bias all the same: confirm it on other queries "
        "(--confirm)."
    )


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
