"""The registry: every kind of study, by the modes that name it in a study file.

A new kind is a line here, or an entry point of the group `ablations.kinds` in another package.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from ablations.core.errors import UsageError, nearest
from ablations.studies.alignment.kind import AlignmentKind
from ablations.studies.conditions.kind import ConditionsKind
from ablations.studies.config.config import KindConfig
from ablations.studies.greedy.kind import GreedyKind
from ablations.studies.icl_vs_ift.kind import IclVsIftKind
from ablations.studies.kind import Plan, StudyKind

BUILT_IN: tuple[StudyKind[Plan], ...] = (ConditionsKind(), GreedyKind(), IclVsIftKind(), AlignmentKind())
GROUP = "ablations.kinds"


@cache
def kinds() -> Mapping[str, StudyKind[Plan]]:
    """Return the kinds by mode, those of installed packages among them."""
    installed = (point.load()() for point in entry_points(group=GROUP))
    return {mode: kind for kind in (*BUILT_IN, *installed) for mode in kind.modes}


def find_kind(mode: str) -> StudyKind[Plan]:
    """Return the kind of this mode; raise `UsageError` where there is none."""
    known = kinds()
    if mode not in known:
        raise UsageError(f"{mode!r} is not a known kind of study; {nearest(mode, known)}")
    return known[mode]


def configs() -> Mapping[str, type[KindConfig]]:
    """Return the table of each mode's studies."""
    return {mode: kind.modes[mode] for mode, kind in kinds().items()}
