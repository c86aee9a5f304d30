"""The exception tree: every failure that a user can meet, and the exit code it ends in.

Knows nothing of the rest of the package.

    AblationError                 exit 2 unless a subclass says otherwise
    ├── UserError                 exit 2: the user can fix it; nothing was lost
    │   ├── UsageError            a flag or a combination of flags
    │   ├── ConditionError        a decoding parameter or prompt component out of range
    │   ├── SearchSpaceError      a search space file
    │   ├── QueryError            an evaluation set
    │   ├── PromptError           a prompt file, or a prompt longer than the context
    │   ├── PoolError             a pool of demonstrations
    │   ├── ModelError            an unknown, damaged or unloadable model
    │   ├── UnsupportedError      a parameter that the backend does not honour
    │   ├── StudyMismatchError    the same study name with other content
    │   └── StorageError          `mlruns` cannot be read or written
    │       └── MissingStudyError     it holds no such study
    └── PartFailedError           exit 3: a part failed; finished work is stored
        ├── BackendError          the engine or the model's server
        ├── JudgeError            the judge
        ├── BudgetError           the money for judging is used up
        ├── TuningError           fine-tuning
        └── TrackingError         MLflow, in the middle of a study

Each also inherits the standard exception a caller would catch. A message says what is wrong, which
value, where it stands, and what to do.
"""

import difflib
import errno
import re
from collections.abc import Iterable, Sequence


class AblationError(Exception):
    """Base of all errors that end a command with one message and an exit code."""

    exit_code: int = 2


class UserError(AblationError):
    """The input is wrong and the user can fix it."""


class UsageError(UserError, ValueError):
    """A flag, or a combination of flags, makes no sense."""


class ConditionError(UserError, ValueError):
    """A decoding parameter or prompt component has an impossible value."""


class SearchSpaceError(UserError, ValueError):
    """A search space file is malformed or contradicts itself."""


class QueryError(UserError, ValueError):
    """An evaluation set cannot be read."""


class PromptError(UserError, ValueError):
    """A prompt cannot be built, or does not fit the model's context."""


class PoolError(UserError, ValueError):
    """A pool of demonstrations cannot be read, or does not hold what a study needs of it."""


class ModelError(UserError, ValueError):
    """A model is unknown, damaged, or cannot be prepared."""


class UnsupportedError(UserError, ValueError):
    """A backend was asked for something it would not honour."""


class StudyMismatchError(UserError, ValueError):
    """A study of this name exists and was made from another configuration."""


class StorageError(UserError, OSError):
    """The results folder or one of its databases cannot be used."""


class MissingStudyError(StorageError):
    """No study of this name has been run in this folder."""


class PartFailedError(AblationError, RuntimeError):
    """A part that the study depends on failed; all finished work is stored."""

    exit_code = 3


class BackendError(PartFailedError):
    """The engine or the model's server failed."""


class JudgeError(PartFailedError):
    """The judge failed."""


class BudgetError(PartFailedError):
    """The next judgment could cost more than what is left of `--max-cost`."""


class TuningError(PartFailedError):
    """Fine-tuning failed; what was trained before is stored, and its last checkpoint."""


class TrackingError(PartFailedError):
    """MLflow failed in the middle of a study."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the help that goes with an unknown name: the nearest known one and the whole list.

    >>> nearest("temprature", ["temperature", "top_p"])
    'did you mean temperature? known: temperature, top_p'
    >>> nearest("xyz", ["temperature", "top_p"])
    'known: temperature, top_p'
    """
    names = sorted(known)
    close, listing = closest(name, names), f"known: {', '.join(names)}"
    return f"did you mean {close}? {listing}" if close else listing


def closest(name: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """Return the known name that an unknown one is a misspelling of, or None where none is at least as alike (0-1)."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=least)), None)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return names in one phrase, at most some of them.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], most=2)
    ('a, b, c', 'a, b and 1 more')
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def check_choice(key: str, value: str, known: Iterable[str]) -> None:
    """Raise `SearchSpaceError` unless `value` is one of `known`."""
    if value not in (names := tuple(known)):
        raise SearchSpaceError(f"{key} = {value!r} is not known; {nearest(value, names)}")


def reason(error: Exception) -> str:
    """Return what an exception says, without the number and the path that the system's own begin and end with.

    >>> reason(FileNotFoundError(2, "No such file or directory", "queries.jsonl"))
    'No such file or directory'
    >>> reason(ValueError("no number"))
    'no number'
    """
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def first_line(error: BaseException) -> str:
    r"""Return the first line of what an error says, or what it is where it says nothing.

    >>> first_line(ValueError("no number\nat all")), first_line(ValueError())
    ('no number', 'ValueError')
    """
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the disk"
    return str(error).strip().partition("\n")[0] or type(error).__name__


def one_line(error: BaseException) -> str:
    r"""Return what an error says on one line, at most 300 characters of it: some go on for pages.

    >>> one_line(ValueError("no number\n  at all")), one_line(ValueError())
    ('no number at all', 'ValueError')
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"


def redacted(address: str) -> str:
    """Return an address without its password.

    >>> redacted("postgresql://me:secret@host/db"), redacted("sqlite:///mlruns/store.db")
    ('postgresql://me:***@host/db', 'sqlite:///mlruns/store.db')
    """
    # Up to the last @: a password may hold one, and hiding too much is the safe side.
    return re.sub(r"(:(?://)?[^/:@\s]*):.*@", r"\1:***@", address)
