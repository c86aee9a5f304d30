"""The registry: every kind of study, by the modes that name it in a study file.

A new kind is a line here, or an entry point of the group `ablations.kinds` in another package.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from ablations.core.errors import UsageError, nearest
from ablations.studies.alignment.kind import AlignmentKind
from ablations.studies.conditions.kind import ConditionsKind
from ablations.studies.config.config import KindConfig
from ablations.studies.config.keys import Field, Table, table_fields
from ablations.studies.config.tables import SHARED
from ablations.studies.greedy.kind import GreedyKind
from ablations.studies.icl_vs_ift.kind import IclVsIftKind
from ablations.studies.kind import StudyKind

BUILT_IN: tuple[StudyKind[Any], ...] = (ConditionsKind(), GreedyKind(), IclVsIftKind(), AlignmentKind())
GROUP = "ablations.kinds"


@cache
def kinds() -> Mapping[str, StudyKind[Any]]:
    """Return the kinds by mode, those of installed packages among them."""
    installed = (point.load()() for point in entry_points(group=GROUP))
    return {mode: kind for kind in (*BUILT_IN, *installed) for mode in kind.modes}


def find_kind(mode: str) -> StudyKind[Any]:
    """Return the kind of this mode; raise `UsageError` where there is none."""
    known = kinds()
    if mode not in known:
        raise UsageError(f"{mode!r} is not a known kind of study; {nearest(mode, known)}")
    return known[mode]


def configs() -> Mapping[str, type[KindConfig]]:
    """Return the table of each mode's studies."""
    return {mode: kind.modes[mode] for mode, kind in kinds().items()}


def flagged() -> Iterator[tuple[str, Field]]:
    """Yield every key that has a flag, with its table's name; a flag of several kinds once."""
    known = set[str]()
    tables: list[type[Table]] = [*SHARED.values(), *configs().values()]
    for table in tables:
        for field in table_fields(table).values():
            if field.key.flag and field.key.flag not in known:
                known.add(field.key.flag)
                yield table.table, field
