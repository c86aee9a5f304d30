"""The findings of a study whose arms are models: what each scored in each way, and the gaps between them.

Puts `analysis.alignment` together as numbers, a headline, tables and a report; knows neither the terminal nor MLflow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from ablations.studies.kind import Findings, Results
from analysis.alignment import alignment_gaps, alignment_table
from analysis.demonstrations.ways import ARM_MODEL, ARM_WAY
from analysis.examples import reading_arms
from analysis.figures import alignment_figures
from analysis.frames import judge_name, trial_table
from analysis.report.page import About, Report, Section
from analysis.report.scores import coverage_section, judge_section, method_section, scored
from analysis.report.tables import difference_interval, filled, mean_interval, side_by_side
from analysis.scores import failed_trials, unscored_reasons

_READING = (
    "Each model answers the same queries zero-shot, with demonstrations in context and, where it has a chat "
    "template, as an aligned model. Gaps are paired over queries."
)


@dataclass(frozen=True)
class AlignmentFindings:
    """Findings of a comparison of models.

    Attributes:
        headline: the gaps whose interval excludes 0.
        judge: what gave the scores.
        table: the frame of `alignment.alignment_table`.
        gaps: the frame of `alignment.alignment_gaps`.
        missing: the ways that have no row because their trial failed, each with its reason.
        models: their names.
        reading: the baseline, the best and the worst arm, by number, and which is which.
        trials: the frame of `frames.trial_table`.
        unscored: the frame of `scores.unscored_reasons`.
    """

    headline: str
    judge: str
    table: pl.DataFrame = field(compare=False)
    gaps: pl.DataFrame = field(compare=False)
    missing: Sequence[str]
    models: Sequence[str]
    reading: Mapping[int, str]
    trials: pl.DataFrame = field(compare=False)
    unscored: pl.DataFrame = field(compare=False)

    @classmethod
    def of(cls, results: pl.DataFrame) -> "AlignmentFindings":
        """Return what a study found, from its results."""
        gaps = alignment_gaps(results)
        return cls(
            headline=_headline(gaps),
            judge=judge_name(results),
            table=alignment_table(results),
            gaps=gaps,
            missing=failed_trials(results, (ARM_MODEL, ARM_WAY)),
            models=results.get_column(ARM_MODEL).unique(maintain_order=True).to_list(),
            reading=reading_arms(results),
            trials=trial_table(results),
            unscored=unscored_reasons(results),
        )

    def metrics(self) -> dict[str, float | None]:
        """Return the numbers for the study's page, by documented name."""
        return {
            f"gap/{better} minus {worse}/{group}": difference
            for better, worse, group, difference in self.gaps.select(
                "better", "worse", "group", "difference"
            ).iter_rows()
        }

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the tables by name; empty ones are left out."""
        return {name: frame for name, frame in {"models": self.table, "gaps": self.gaps}.items() if len(frame)}

    def report(self, about: About) -> Report:
        """Return the study's page: models side by side, and the gaps between them."""
        lacking = " ".join(f"Not in the table: {text}." for text in self.missing)
        tables = filled(
            side_by_side(
                "Scores",
                self.table,
                {"model": "model", "asked": "way"},
                "group",
                mean_interval,
                {"scored": scored},
                lacking,
            ),
            side_by_side(
                "Gaps, paired over queries",
                self.gaps,
                {"": "better", "minus": "worse"},
                "group",
                difference_interval,
                {"queries": "n"},
            ),
        )
        body = Section("Models side by side", (_READING,), (), alignment_figures(self.table), tables, brief=True)
        sections = (body, coverage_section(self.trials, self.unscored), judge_section(about, self.judge))
        told = about.having(
            model=", ".join(self.models), trials=f"{len(self.trials)} arms", varied="the model, and how it is asked"
        )
        shown = (section for section in sections if not section.empty)
        return Report(told, self.headline, (*shown, method_section()), self.reading)


def _headline(gaps: pl.DataFrame) -> str:
    clear = [
        f"{row['better']} minus {row['worse']}, {row['group']}: {difference_interval(row)}"
        for row in gaps.iter_rows(named=True)
        if row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    ]
    return f"Gaps whose interval excludes 0: {'; '.join(clear) or 'none'}."


def summarise(results: Results) -> Findings:
    """Return the findings of a study whose arms are models."""
    return AlignmentFindings.of(results.frame)
