"""The registry: every kind of study by its name.

A new kind is a line here, or an entry point of the group `ablations.kinds` in another package.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from ablations.core.errors import UsageError, nearest
from ablations.studies.alignment.kind import AlignmentKind
from ablations.studies.conditions.kind import ConditionsKind
from ablations.studies.greedy.kind import GreedyKind
from ablations.studies.icl_vs_ift.kind import IclVsIftKind
from ablations.studies.kind import Plan, StudyKind

BUILT_IN: tuple[StudyKind[Plan], ...] = (ConditionsKind(), GreedyKind(), IclVsIftKind(), AlignmentKind())
GROUP = "ablations.kinds"


@cache
def kinds() -> Mapping[str, StudyKind[Plan]]:
    """Return the kinds by name, those of installed packages among them."""
    found = {kind.name: kind for kind in BUILT_IN}
    for point in entry_points(group=GROUP):
        kind = point.load()()
        found[kind.name] = kind
    return found


def find_kind(name: str) -> StudyKind[Plan]:
    """Return the kind of this name; raise `UsageError` where there is none."""
    known = kinds()
    if name not in known:
        raise UsageError(f"{name!r} is not a known kind of study; {nearest(name, known)}")
    return known[name]
