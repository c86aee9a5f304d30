"""A page: headline, facts and sections with text, figures, tables and answers.

Knows what a page is made of, neither how it is found nor how it is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from analysis.examples import Example
from analysis.report.tables import Table


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: its heading.
        text: what is seen and how to read it, one paragraph an entry.
        figures: by file name without ending.
        tables: below the figures.
        examples: answers side by side.
    """

    title: str
    text: tuple[str, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict, compare=False)
    tables: tuple[Table, ...] = ()
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class About:
    """What a study was made from.

    Attributes:
        name: of the study.
        facts: pairs of name and text, such as ("model", "gemma-3-270m").
        audit: the table of its judge's newest audit, as columns; None where there is none.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    audit: Mapping[str, Sequence[Any]] | None = None


@dataclass(frozen=True)
class Report:
    """A whole report: `headline` is its one sentence, `about` what was studied."""

    about: About
    headline: str
    sections: tuple[Section, ...]

    def __getitem__(self, title: str) -> Section:
        """Return the section with this title; an empty one where the study has nothing to say there."""
        return next((section for section in self.sections if section.title == title), Section(title))
