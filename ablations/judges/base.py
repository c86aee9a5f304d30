"""The Judge protocol: reads a completion and returns a judgment.

Knows neither conditions nor studies. A judge never sees how an answer was made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ablations.core.condition import content_hash
from ablations.core.records import Completion, Judgment, PaidReply, Price, Query, Usage
from ablations.judges.prices import Budget

NO_REPLY = "no reply from the judge's server"
"""A reason for a missing score that says nothing of the answer: a stored one is asked again, and a trial that lacks
coverage for it stops the study instead of failing."""
REFUSED_REQUEST = "the judge's server refused the request"
"""Begins a reason that may say something of the answer (too long for the judge) or of the server; asked again too."""


GRADED, STRICT, SHARE = "graded", "strict", "share"
CHECKS_SCORES = (GRADED, STRICT, SHARE)
"""How the checks judge makes one score of what holds; see its module."""
COMPARED = "compared with"
"""Key of a judge's identity: a hash of all answers that it compares with."""
ALSO = "also"
"""Key of a study's judge: the identities of the judges that score the same answers beside it."""


def worth_asking_again(reason: str | None) -> bool:
    """Whether a stored judgment without a score for this reason may get one from the same judge later."""
    return reason is not None and reason.startswith((NO_REPLY, REFUSED_REQUEST))


def audit_key(identity: Mapping[str, Any]) -> str:
    """Return the key of a judge's audit: its model and prompts, not what it compares with and in which order."""
    return content_hash({name: identity[name] for name in identity if name not in (COMPARED, ALSO, "seed")}, length=32)


def judgment_identity(identity: Mapping[str, Any]) -> str:
    """Return a hash of what decides every judgment of a judge; `Judge.against` tells what decides one more."""
    return content_hash({name: value for name, value in identity.items() if name != COMPARED})


class Judge(Protocol):
    """Scores completions; calls may overlap freely.

    Attributes:
        name: as in `--judge`.
        scale: lowest and highest possible score.
        max_turns: the longest conversation that it judges.
    """

    name: str
    scale: tuple[float, float]
    max_turns: int

    @property
    def budget(self) -> Budget:
        """Money spent, the limit, and the price of a token where it is known."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides a judgment beside query and answers: name, version, models, prompts."""
        ...

    def check(self, queries: Sequence[Query]) -> None:
        """Raise `UserError` if the judge cannot judge these queries, before anything is generated."""
        ...

    async def start(self) -> None:
        """Load what the judge needs; raise `JudgeError` or `UserError` where that fails."""
        ...

    def against(self, query: Query) -> Sequence[str]:
        """Return the answers that a judgment of this query compares with; empty for a judge that compares nothing."""
        ...

    def keep_replies(self, keep: Callable[[PaidReply], None]) -> None:
        """Call `keep` with every reply the moment it is paid for."""
        ...

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion; the earlier ones are the turns before it.

        Raises:
            JudgeError: the judge itself failed. An answer that cannot be scored is no error but a
                judgment whose score is None with a reason.
        """
        ...

    def expected_usage(self, query: Query, turn: int, answer_tokens: float) -> Usage:
        """Return what judging an answer of so many tokens takes, roughly; for a plan before anything runs."""
        ...

    async def close(self) -> None:
        """Give everything back."""
        ...


class FreeJudge:
    """Base of judges that ask no server: nothing is paid for, and an answer is compared with no other one."""

    def __init__(self) -> None:
        self.budget = Budget(Price(0.0, 0.0))

    def against(self, query: Query) -> Sequence[str]:
        """Return nothing: what such a judge looks for belongs to the query."""
        del query
        return ()

    def keep_replies(self, keep: Callable[[PaidReply], None]) -> None:
        """Nothing is paid for."""

    async def start(self) -> None:
        """Nothing is loaded."""

    def expected_usage(self, query: Query, turn: int, answer_tokens: float) -> Usage:
        """Nothing is asked of a server."""
        del query, turn, answer_tokens
        return Usage()

    async def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Floor:
    """What answers score that know nothing of a query, on average over queries.

    Attributes:
        empty: of an answer without text.
        best: of the best constant.
        answer: the best constant.
        chooses: whether a best condition may be chosen by these scores.
    """

    empty: float
    best: float
    answer: str
    chooses: bool = True


@runtime_checkable
class FlooredJudge(Protocol):
    """A judge of which can be said what a constant answer scores."""

    def floor(self, queries: Sequence[Query]) -> Floor | None:
        """Return the floor of its scores on these queries, or None where nothing of them is judged."""
        ...


EVEN = 0.5
"""The score of a comparison that neither answer wins."""


@runtime_checkable
class ComparingJudge(Protocol):
    """A judge that can compare any two answers, not only with those that it was given."""

    async def compare(self, query: Query, own: Sequence[str], other: Sequence[str]) -> Judgment:
        """Return the judgment of `own`, all turns' answers, against `other`: 1 better, 0 worse, 0.5 neither."""
        ...
