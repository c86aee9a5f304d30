"""The Judge protocol: reads a completion and returns a judgment.

Knows neither conditions nor studies. A judge never sees how an answer was made.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ablations.conditions import content_hash
from ablations.judges.prices import Budget
from ablations.records import Completion, Judgment, Query, Usage

NO_REPLY = "no reply from the judge's server"
"""The one reason for a missing score that says nothing of the answer; a stored one is asked again."""


def audit_key(identity: Mapping[str, Any]) -> str:
    """Return the key of a judge's audit: its model and prompts, not the answers that it happens to compare with."""
    return content_hash({name: value for name, value in identity.items() if name != "compared with"}, length=32)


class Judge(Protocol):
    """Scores completions; calls may overlap freely.

    Attributes:
        name: as in `--judge`.
        scale: lowest and highest possible score.
    """

    name: str
    scale: tuple[float, float]

    @property
    def budget(self) -> Budget:
        """What is spent, what may be, and the price of a token where it is known."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides a judgment beside query and answers: name, version, models, prompts."""
        ...

    def check(self, queries: Sequence[Query]) -> None:
        """Raise `UserError` if the judge cannot judge these queries, before anything is generated."""
        ...

    async def start(self) -> None:
        """Load what the judge needs; raise `JudgeError` or `UserError` where that fails."""
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
