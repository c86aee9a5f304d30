"""A page: headline, facts and sections with statements, figures, tables and answers.

Knows what a page is made of, neither how that is found nor how it is written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from analysis.report.tables import Table

if TYPE_CHECKING:  # a page is planned before anything is drawn
    from matplotlib.figure import Figure

    from analysis.examples import Example


class Figures(Mapping[str, "Figure"]):
    """Figures by file name without ending, each drawn when it is first asked for.

    >>> Figures({"one": lambda: print("drawn")})
    Figures('one')
    """

    def __init__(self, drawings: "Mapping[str, Callable[[], Figure]] | None" = None) -> None:
        self._drawings = dict(drawings or {})
        self._drawn: dict[str, Figure] = {}

    def __getitem__(self, name: str) -> "Figure":
        if name not in self._drawn:
            self._drawn[name] = self._drawings[name]()
        return self._drawn[name]

    def __contains__(self, name: object) -> bool:
        return name in self._drawings

    def __iter__(self) -> Iterator[str]:
        return iter(self._drawings)

    def __len__(self) -> int:
        return len(self._drawings)

    def __repr__(self) -> str:
        return f"Figures({', '.join(map(repr, self))})"

    def some(self, *begins: str) -> "Figures":
        """Return the figures whose names begin so, in this order, drawn at most once together with these."""
        names = (name for begin in begins for name in self if name.startswith(begin))
        return Figures({name: partial(self.__getitem__, name) for name in names})


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: its heading.
        text: how it is read, one paragraph an entry; for a page, which has the room.
        statements: what is said in numbers, a sentence an entry; a terminal shows them too.
        figures: by file name without ending.
        tables: below the figures.
        examples: answers side by side.
        brief: whether a terminal shows it; of its tables it shows the rows and columns marked so.
    """

    title: str
    text: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    figures: "Mapping[str, Figure]" = field(default_factory=Figures, compare=False)
    tables: tuple[Table, ...] = ()
    examples: "tuple[Example, ...]" = ()
    brief: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it beside how it would be read."""
        return not (self.statements or self.figures or self.tables or self.examples)


@dataclass(frozen=True)
class About:
    """Provenance of a study: model, data, judge, and the judge's newest audit.

    Attributes:
        name: of the study.
        facts: pairs of name and text, such as ("model", "gemma-3-270m").
        audit: the table of its judge's newest audit, as columns; None where there is none.
        judging: what judging took and whether the judge has been audited, a sentence an entry.
        description: what the study file says that it studies.
    """

    name: str
    facts: tuple[tuple[str, str], ...] = ()
    audit: Mapping[str, Sequence[object]] | None = None
    judging: tuple[str, ...] = ()
    description: str = ""

    def having(self, **facts: str) -> "About":
        """Return the same with further facts, in place of those of the same name; an empty text removes one."""
        named = dict(self.facts) | {name.replace("_", " "): text for name, text in facts.items()}
        return replace(self, facts=tuple((name, text) for name, text in named.items() if text))


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        about: what was studied.
        headline: its one sentence.
        sections: in the order of the page.
        reading: trials whose answers are worth reading, by number, with the reason, such as "best".
    """

    about: About
    headline: str
    sections: tuple[Section, ...]
    reading: Mapping[int, str] = field(default_factory=dict)

    def __getitem__(self, title: str) -> Section:
        """Return the section with this title; an empty one where the study has nothing to say there."""
        return next((section for section in self.sections if section.title == title), Section(title))

    @property
    def figures(self) -> Figures:
        """The figures of all sections by name, each drawn when it is first asked for."""
        sections = [section.figures for section in self.sections]
        return Figures({name: partial(own.__getitem__, name) for own in sections for name in own})

    @property
    def brief(self) -> tuple[Section, ...]:
        """The sections that a terminal shows."""
        return tuple(section for section in self.sections if section.brief)
