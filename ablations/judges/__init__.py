"""Judges: what scores the completions of a study."""

from collections.abc import Callable

from ablations.errors import UsageError, nearest
from ablations.judges.base import Judge
from ablations.judges.reference import ReferenceJudge

JUDGES: dict[str, Callable[[], Judge]] = {
    ReferenceJudge.name: ReferenceJudge,
}
DEFAULT_JUDGE = ReferenceJudge.name


def make_judge(name: str) -> Judge:
    """Return the judge called `name`; raise `UsageError` for an unknown one."""
    if name not in JUDGES:
        raise UsageError(f"--judge {name!r} is not a known judge; {nearest(name, JUDGES)}")
    return JUDGES[name]()


__all__ = ["DEFAULT_JUDGE", "JUDGES", "Judge", "make_judge"]
