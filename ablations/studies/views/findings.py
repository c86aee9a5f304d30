"""Findings of a study of any kind, with what belongs to all of them: further outcomes, and the floor of its scores.

Knows what a kind's findings are, not what kinds there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import polars as pl

from ablations.core.schema import ARM_PREFIX
from ablations.core.statistics import Scale
from ablations.studies.kind import Findings, Results, StudyKind
from analysis.effects.intervals import Interval, mean_intervals
from analysis.effects.missing import missing_share, sensitivity
from analysis.effects.paired import baseline_trial
from analysis.frames import condition_scores, judge_name, scale_of, trial_scores
from analysis.outcomes import outcome_agreement, outcome_contrasts, outcome_means
from analysis.report.outcomes import (
    floor_sentence,
    floor_verdict,
    missing_sentence,
    outcomes_section,
    outcomes_sentence,
    unscored_sentence,
)
from analysis.report.page import About, Report, Section
from analysis.scores import unscored_reasons

_ENDS = {"difference": "", "low": "_low", "high": "_high"}


@dataclass(frozen=True)
class StudyFindings:
    """Findings of a kind of study, and what every kind has.

    Attributes:
        own: the kind's.
        kind: of the study.
        results: of the study.
    """

    own: Findings
    kind: StudyKind[Any]
    results: Results = field(repr=False, compare=False)

    @property
    def headline(self) -> str:
        """The kind's headline, how much each outcome decides, and where the baseline is not above the floor."""
        return self._completed(self.own.headline)

    def _completed(self, headline: str) -> str:
        counted = outcomes_sentence(self._tables["outcome_contrasts"]) if self._tables else ""
        return " ".join(filter(None, (headline, counted, floor_verdict(self._scale, self._baseline))))

    @property
    def _scale(self) -> Scale | None:
        return scale_of(self.results.frame)

    @cached_property
    def _baseline(self) -> Interval | None:
        """The baseline's mean score with its interval over queries."""
        frame = self.results.frame
        several = any(name.startswith(ARM_PREFIX) for name in frame.columns)  # models or weights of one condition
        number, scores = baseline_trial(frame), (trial_scores if several else condition_scores)(frame)
        return None if number is None else mean_intervals(scores.of([number]), ends=scores.ends)[0]

    @cached_property
    def _frames(self) -> Mapping[str, pl.DataFrame]:
        """Results by outcome, the one that decides first."""
        return {judge_name(self.results.frame): self.results.frame, **self.results.outcomes}

    @cached_property
    def _tables(self) -> Mapping[str, pl.DataFrame]:
        """The frames of `analysis.outcomes`; {} where the score is the only outcome."""
        if not self.results.outcomes:
            return {}
        contrasts = outcome_contrasts(self._frames, self.kind.contrasts)
        return {
            "outcome_contrasts": contrasts,
            "outcome_means": outcome_means(self._frames),
            "outcome_agreement": outcome_agreement(self._frames, contrasts),
        }

    @cached_property
    def _sensitivity(self) -> pl.DataFrame:
        """The frame of `analysis.effects.missing`."""
        return sensitivity(
            self.results.frame, lambda frame: outcome_contrasts({judge_name(frame): frame}, self.kind.contrasts)
        )

    @property
    def _unscored(self) -> Mapping[str, pl.DataFrame]:
        """Why turns lack a value, by further outcome; outcomes that lack none are left out."""
        found = {name: unscored_reasons(frame) for name, frame in self.results.outcomes.items()}
        return {name: reasons for name, reasons in found.items() if len(reasons)}

    def metrics(self) -> Mapping[str, float | None]:
        """Return the kind's numbers, with the floor, each change by each outcome, and how alike these rank all."""
        scale, found = self._scale, dict(self.own.metrics())
        if scale is not None and scale.floor is not None:
            found |= {"floor": scale.floor, "floor_of_empty": scale.empty}
        for row in self._tables.get("outcome_contrasts", pl.DataFrame()).iter_rows(named=True):
            place = f"{row['outcome']}/{row['change']}"
            found |= {f"effect{end}/{place}": row[name] for name, end in _ENDS.items()}
        for row in self._tables.get("outcome_agreement", pl.DataFrame()).iter_rows(named=True):
            found[f"rank_correlation/{row['against']}"] = row["rank_correlation"]
        return found

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Return the kind's tables and those of the outcomes, by name; empty ones are left out."""
        further = {**self._tables, "missing_scores": self._sensitivity}
        return {**self.own.tables(), **{name: frame for name, frame in further.items() if len(frame)}}

    def report(self, about: About) -> Report:
        """Return the kind's page, with a section on outcomes and floor after its first one."""
        report = self.own.report(about)
        floor = floor_sentence(self._scale, self._baseline)
        missing = missing_sentence(self._sensitivity, missing_share(self.results.frame))
        said = [*filter(None, (floor, missing)), *map(unscored_sentence, self._unscored.items())]
        section = outcomes_section(*self._tables.values()) if self._tables else Section("Floor", brief=True)
        section = replace(section, statements=(*section.statements, *said))
        if section.empty:
            return report
        sections = (*report.sections[:1], section, *report.sections[1:])
        return replace(report, headline=self._completed(report.headline), sections=sections)


def findings(kind: StudyKind[Any], results: Results) -> StudyFindings:
    """Return what a study of this kind found."""
    return StudyFindings(kind.summarise(results), kind, results)
