"""Checks: what an answer can be tested for without a judge model, by id.

A check is one pure function of an `Answer` and of its arguments, which a validated dataclass holds. Knows no check by
its id; modules beside this one define them with `check`, and `registry` lists these modules.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ablations.core.records import CONTENT
from ablations.judges.checks.kwargs import arguments as _arguments

ENDING = "ending"
"""Beside `CONTENT`, what a check looks at: how the answer ended, not what it says and in which form."""


@dataclass(frozen=True)
class Answer:
    """What a check sees.

    Attributes:
        text: the answer, cleaned and stripped.
        finished: whether the model ended it, by itself or at a stop string, before `max_tokens`.
        query: the user's message that it answers.
    """

    text: str
    finished: bool = True
    query: str = ""


@_arguments
class NoArguments:
    """The arguments of a check that takes none."""


K = TypeVar("K")


@dataclass(frozen=True)
class Definition:
    """A check as it is defined.

    Attributes:
        id: as rows name it.
        arguments: the dataclass of its arguments.
        holds: whether an answer passes.
        about: CONTENT or ENDING.
    """

    id: str
    arguments: type[Any]
    holds: Callable[[Answer, Any], bool]
    about: str = CONTENT


KNOWN: dict[str, Definition] = {}
"""Every defined check by id."""


def check(
    name: str,
    arguments: type[K] = NoArguments,  # type: ignore[assignment]
    about: str = CONTENT,
) -> Callable[[Callable[[Answer, K], bool]], Callable[[Answer, K], bool]]:
    """Define the decorated function as the check called `name`; see `Definition`."""

    def define(holds: Callable[[Answer, K], bool]) -> Callable[[Answer, K], bool]:
        assert name not in KNOWN, f"two checks are called {name}"
        KNOWN[name] = Definition(name, arguments, holds, about)
        return holds

    return define


@dataclass(frozen=True)
class Bound:
    """A check with its arguments, ready to be asked."""

    definition: Definition
    arguments: object

    def holds(self, answer: Answer) -> bool:
        """Whether an answer passes; an empty one passes nothing that is about content, as in IFEval."""
        shows = any(one.isprintable() and not one.isspace() for one in answer.text)
        if self.definition.about == CONTENT and not shows:
            return False
        return self.definition.holds(answer, self.arguments)

    def holds_loosely(self, answer: Answer) -> bool:
        """Whether an answer passes without its first line, its last line, or its asterisks (IFEval's loose reading)."""
        lines = answer.text.split("\n")
        texts = ["\n".join(part).strip() for part in (lines, lines[1:], lines[:-1], lines[1:-1])]
        return any(self.holds(replace(answer, text=one)) for text in texts for one in (text, text.replace("*", "")))
