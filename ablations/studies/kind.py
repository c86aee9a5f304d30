"""What differs between kinds of studies: the results that a kind reads, and the findings that it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from ablations.core.jsonl import JsonObject
from analysis.report.page import About, Report


@dataclass(frozen=True)
class Results:
    """What a study left.

    Attributes:
        name: of the study.
        frame: its results of record.
        notes: what the store keeps of it by kind; {} without a store.
        parent: results of the study that this one confirms.
        confirmation: results of this study's confirmation, for its page.
        tables: its further tables, by name.
    """

    name: str
    frame: pl.DataFrame
    notes: Mapping[str, JsonObject] = field(default_factory=dict)
    parent: pl.DataFrame | None = None
    confirmation: pl.DataFrame | None = None
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    def table(self, name: str) -> pl.DataFrame | None:
        """Return a further table of the study, such as "losses", or None."""
        return self.tables.get(name)


class Findings(Protocol):
    """What a study found."""

    @property
    def headline(self) -> str:
        """The answer to the study's own question, in one sentence."""
        ...

    def metrics(self) -> Mapping[str, float | None]:
        """Return the numbers for the study's page, by documented name."""
        ...

    def tables(self) -> Mapping[str, pl.DataFrame]:
        """Return the tables by name; empty ones are left out."""
        ...

    def report(self, about: About) -> Report:
        """Return all sections; those marked brief are what a terminal shows."""
        ...
