"""The Judge protocol: reads a completion and returns a judgment.

Knows neither conditions nor studies. A judge never sees how an answer was made.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ablations.records import Completion, Judgment, Query


class Judge(Protocol):
    """Scores completions; calls may overlap freely.

    Attributes:
        name: as in `--judge`.
        scale: lowest and highest possible score.
    """

    name: str
    scale: tuple[float, float]

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

    async def close(self) -> None:
        """Give everything back."""
        ...
