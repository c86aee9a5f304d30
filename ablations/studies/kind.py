"""Kinds of studies: what differs between them, and what the runner hands to each.

Knows no kind by its name; `registry` lists them. A new kind is a package with a subclass of `StudyKind`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

import polars as pl

from ablations.core.condition import Condition
from ablations.core.jsonl import JsonObject
from ablations.core.records import TrialRecord
from ablations.judges.base import Judge
from ablations.models.base import Backend
from ablations.studies.config.config import KindConfig
from ablations.studies.config.space import SearchSpace
from ablations.studies.engine.run import Run
from ablations.studies.planning.inputs import Inputs
from ablations.studies.reporter import Reporter
from ablations.studies.spec import StudySpec, check_same_study
from analysis.report.page import About, Report


class Findings(Protocol):
    """Findings of a study: numbers, and how they are shown."""

    @property
    def headline(self) -> str:
        """One sentence that answers the study's own question."""
        ...

    def metrics(self) -> Mapping[str, float | None]:
        """Return the numbers for MLflow, by documented name."""
        ...

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Return the tables by name."""
        ...

    def report(self, about: About) -> Report:
        """Return all sections; those marked brief are what the terminal shows."""
        ...


@dataclass(frozen=True)
class Results:
    """Results of a study that has just ended or is read from its folder.

    Attributes:
        name: of the study.
        frame: its results of record, with the score that decides.
        records: its finished trials by number; empty where there is no store.
        notes: what the store keeps of it beside its trials, by kind; empty where there is no store.
        tables: further tables that it wrote, such as "losses", by name.
        parent: results of the study that this one confirms, or None.
        confirmation: results of the study that confirms this one, for its page, or None.
        outcomes: the same results once more for each outcome beside the score that decides, by its name; what a kind
            finds by another outcome is `kind.summarise(replace(results, frame=results.outcomes[NAME]))`.
    """

    name: str
    frame: pl.DataFrame
    records: Mapping[int, TrialRecord] = field(default_factory=dict)
    notes: Mapping[str, JsonObject] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    parent: pl.DataFrame | None = None
    confirmation: pl.DataFrame | None = None
    outcomes: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def table(self, name: str) -> pl.DataFrame | None:
        """Return a further table of the study, or None where it wrote none."""
        return self.tables.get(name)


@dataclass(frozen=True)
class Plan(ABC):
    """Plan of a study. A kind derives from this class its own, with more than the specification.

    Attributes:
        spec: what is evaluated, on which queries.
    """

    spec: StudySpec

    @property
    def backend(self) -> Backend | None:
        """The model that stands for the study, where that is not the one that its configuration names."""
        return None

    @property
    def trials(self) -> int | None:
        """How many trials the study has when it is done; None where that depends on what is found."""
        return None

    @property
    def space(self) -> SearchSpace | None:
        """The varied parameters where Optuna can show the trials, else None."""
        return None

    @abstractmethod
    def overview(self, judge: Judge) -> Report:
        """Return what is shown before anything runs; sections that are not brief are shown by a dry run."""

    @property
    def conditions(self) -> Sequence[Condition]:
        """Conditions that show what all trials need of the study's own model."""
        return ()

    def identity(self, backend: JsonObject, judge: Mapping[str, object]) -> JsonObject:
        """Return what may not change under the study's name, as plain JSON types."""
        return self.spec.identity(backend, judge)

    def check_same(self, stored: JsonObject, current: JsonObject) -> None:
        """Raise `StudyMismatchError` where the stored study, by its identity, cannot be continued."""
        check_same_study(self.spec.name, stored, current)

    def gives_way(self, stored: JsonObject, current: JsonObject) -> bool:
        """Whether the stored study, by its identity, is forgotten for this one."""
        del stored, current
        return False

    @property
    def trains_first(self) -> bool:
        """Whether training has the memory first, so that no engine may be loaded before it."""
        return False

    @property
    def follows_up(self) -> bool:
        """Whether a study follows that confirms this one's findings."""
        return False

    def check_follow_up(
        self, stored: JsonObject, backend: JsonObject, judge: Mapping[str, object], fresh: bool
    ) -> None:
        """Raise `StudyMismatchError` where what is stored under its follow-up's name cannot continue or give way."""
        del stored, backend, judge, fresh

    def check_finished(self, records: Mapping[int, TrialRecord]) -> None:
        """Raise `StudyMismatchError` where the finished trials of the study are not this plan's."""
        del records

    async def check(self, backend: Backend) -> None:
        """Raise `UserError` for what can be seen to fail before anything is loaded, beside `conditions`."""
        del backend


P = TypeVar("P", bound=Plan)


class StudyKind(ABC, Generic[P]):
    """Behaviour that differs between kinds of studies."""

    modes: ClassVar[Mapping[str, type[KindConfig]]]
    """Names of the kind in a study file, each with its own table there."""

    @abstractmethod
    async def plan(self, inputs: Inputs) -> P:
        """Return what a study will do; nothing is written.

        Raises:
            UserError: something the user gave cannot be.
        """

    @abstractmethod
    async def run(self, plan: P, run: Run) -> None:
        """Do what the plan says and is not finished yet."""

    @abstractmethod
    def summarise(self, results: Results) -> Findings:
        """Return what a study of this kind found."""

    def contrasts(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what a study of this kind compares, by the score of this frame; each outcome is asked for its own.

        Columns: change (in words, each once), difference, low, high, n and, where they are known, the other numbers of
        `analysis.effects.paired.EFFECT_SCHEMA`. Here: each single change, or each condition against the baseline.
        """
        from analysis.outcomes import contrasts  # statistics take a second to import

        return contrasts(frame)

    def follow_up(self, plan: P, results: Results, reporter: Reporter) -> P | None:
        """Return the plan of a study that confirms this one's findings, run with the same engines, or None; say so."""
        del plan, results, reporter
        return None
