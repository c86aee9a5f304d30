"""All checks by id, with their arguments validated, and what becomes of those that an evaluation set asks for."""

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ablations.core.errors import QueryError, closest
from ablations.core.records import Check
from ablations.judges.checks import answers  # noqa: F401  # defines checks
from ablations.judges.checks.base import KNOWN, Bound
from ablations.judges.checks.ifbench import NOT_CHECKED, counts, custom  # noqa: F401  # define checks
from ablations.judges.checks.ifbench import forms as bench_forms  # noqa: F401
from ablations.judges.checks.ifbench import words as bench_words  # noqa: F401
from ablations.judges.checks.ifeval import forms, words  # noqa: F401


@cache
def _arguments(name: str) -> TypeAdapter[Any]:
    """Return what validates the arguments of a known check; making it takes longer than the check."""
    return TypeAdapter(KNOWN[name].arguments)


def bind(check: Check) -> Bound:
    """Return a known check with its arguments validated.

    Raises:
        KeyError: the id is not known.
        ValueError: the arguments are not those that the check takes, with what is wrong.
    """
    definition = KNOWN[check.id]
    try:
        return Bound(definition, _arguments(check.id).validate_python(dict(check.kwargs)))
    except ValidationError as error:
        raise ValueError("; ".join(_said(one) for one in error.errors())) from error


def _said(error: Mapping[str, Any]) -> str:
    """Return one error of validation: which argument, its value, and what is wrong with it."""
    where = ".".join(map(str, error["loc"]))
    if error["type"].startswith("missing"):
        return f"{where} is missing"
    return f"{where} = {error['input']!r}: {error['msg']}" if where else str(error["msg"])


class Accepted:
    """Decides about each check that an evaluation set asks for; see `datasets.queries.load_queries`.

    Args:
        skip_unknown: whether a check that is not known, or not checked, is left out and counted, instead of refused.

    Attributes:
        skipped: how many were left out, by id.
    """

    def __init__(self, skip_unknown: bool = False) -> None:
        self._skip_unknown = skip_unknown
        self.skipped: Counter[str] = Counter()

    def __call__(self, check: Check, where: str) -> bool:
        """Whether a check is kept.

        Raises:
            QueryError: the id is not known, or not checked, and may not be skipped; or the arguments are not its own.
        """
        if check.id not in KNOWN:
            if not self._skip_unknown:
                raise QueryError(f"{where}: {_unknown(check.id)}; leave such checks out with --skip-unknown-checks")
            self.skipped[check.id] += 1
            return False
        try:
            bind(check)
        except ValueError as error:
            raise QueryError(f"{where}: kwargs of the check {check.id!r}: {error}; correct the row") from error
        return True


def _unknown(name: str) -> str:
    """Return why there is no check of an id."""
    if name in NOT_CHECKED:
        return f"the check {name!r} is known, and not checked: {NOT_CHECKED[name]}"
    near = closest(name, KNOWN)
    meant = f"did you mean {near}? " if near else ""
    return f"the check {name!r} is not known; {meant}search_spaces/README.md lists all"
