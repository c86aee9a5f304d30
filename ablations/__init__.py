"""Ablations of decoding parameters and prompt components for base language models.

What scripts and packages with kinds of their own use; each name is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ablations.studies.kind import Findings, Plan, Results, StudyKind
    from ablations.studies.registry import find_kind
    from ablations.studies.views.sources import open_study

__version__ = "0.1.0"
__all__ = ["Findings", "Plan", "Results", "StudyKind", "__version__", "find_kind", "open_study"]
_KIND = "ablations.studies.kind"
_HOMES = {
    **dict.fromkeys(("Findings", "Plan", "Results", "StudyKind"), _KIND),
    "find_kind": "ablations.studies.registry",
    "open_study": "ablations.studies.views.sources",
}


def __getattr__(name: str) -> object:
    """Return a public name from the module that defines it."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
