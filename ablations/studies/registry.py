"""The registry: every kind of study, by the modes that name it in a study file.

A new kind is a line here, or an entry point of the group `ablations.kinds` in another package. What flags and study
files need is a kind's `config`; its `kind` is imported when a study of it is run, shown or rebuilt, and takes seconds.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from ablations.core.errors import UsageError, nearest, one_line
from ablations.studies.config.config import KindConfig
from ablations.studies.config.keys import Field, Table, table_fields
from ablations.studies.config.tables import SHARED

if TYPE_CHECKING:
    from ablations.studies.kind import StudyKind

BUILT_IN = {
    "conditions": "ConditionsKind",
    "greedy": "GreedyKind",
    "icl_vs_ift": "IclVsIftKind",
    "alignment": "AlignmentKind",
}
"""The packages of kinds beside this module, each with the class in its module `kind`; the first mode is the default."""
GROUP = "ablations.kinds"


@cache
def _installed() -> "tuple[StudyKind[Any], ...]":
    """Return the kinds of other packages.

    Raises:
        UsageError: one of them cannot be imported, or brings a mode that another kind has.
    """
    found, owners = [], {mode: "ablations" for package in BUILT_IN for mode in _modes(package)}
    for point in entry_points(group=GROUP):
        try:
            kind: StudyKind[Any] = point.load()()
        except Exception as error:  # whatever another package's import raises
            raise UsageError(
                f"the kind of study {_shown(point)} cannot be loaded: {one_line(error)}; fix or uninstall its package"
            ) from error
        for mode in kind.modes:
            if mode in owners:
                raise UsageError(
                    f"the kind of study {_shown(point)} brings the mode {mode!r}, which {owners[mode]} has already; "
                    "uninstall one of the packages"
                )
            owners[mode] = _shown(point)
        found.append(kind)
    return tuple(found)


def _shown(point: EntryPoint) -> str:
    """Return an entry point's name, where it points to, and the distribution that brings it."""
    brought = "" if point.dist is None else f" of {point.dist.name} {point.dist.version}"
    return f"{point.name!r} ({point.value}{brought})"


def find_kind(mode: str) -> "StudyKind[Any]":
    """Return the `StudyKind` of this mode; raise `UsageError` where there is none."""
    for package, name in BUILT_IN.items():
        if mode in _modes(package):
            kind: StudyKind[Any] = getattr(import_module(f"ablations.studies.{package}.kind"), name)()
            return kind
    for installed in _installed():
        if mode in installed.modes:
            return installed
    raise UsageError(f"{mode!r} is not a known kind of study; {nearest(mode, configs())}")


def _modes(package: str) -> Mapping[str, type[KindConfig]]:
    modes: Mapping[str, type[KindConfig]] = import_module(f"ablations.studies.{package}.config").MODES
    return modes


@cache
def configs() -> Mapping[str, type[KindConfig]]:
    """Return the table of each mode's studies."""
    found = {mode: table for package in BUILT_IN for mode, table in _modes(package).items()}
    return found | {mode: table for kind in _installed() for mode, table in kind.modes.items()}


def flagged() -> Iterator[tuple[str, Field]]:
    """Yield every key that has a flag, with its table's name; a flag of several kinds once."""
    known = set[str]()
    tables: list[type[Table]] = [*SHARED.values(), *configs().values()]
    for table in tables:
        for field in table_fields(table).values():
            if field.key.flag and field.key.flag not in known:
                known.add(field.key.flag)
                yield table.table, field
