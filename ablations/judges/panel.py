"""Panels: several judges of one study, of which the first decides and the others score the same answers beside it.

Their scales are never averaged. Knows judges by their protocol.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ablations.core.records import Completion, Judgment, PaidReply, Query, Usage
from ablations.core.statistics import Scale
from ablations.judges.base import ALSO, FlooredJudge, FreeJudge, Judge
from ablations.judges.prices import Budget


class Panel:
    """Judges of one study, as one whose score is the first one's.

    Args:
        judges: two or more, each of another name, with one budget for all of those that ask a server.
    """

    def __init__(self, judges: Sequence[Judge]) -> None:
        self.members = tuple(judges)
        self._first = self.members[0]
        self.name, self.scale = self._first.name, self._first.scale
        self.max_turns = min(one.max_turns for one in self.members)

    @property
    def budget(self) -> Budget:
        """Money spent by the judges that ask a server; these share one budget."""
        return next((one.budget for one in self.members if not isinstance(one, FreeJudge)), self._first.budget)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The first judge's, with those of the others."""
        return {**self._first.identity, ALSO: [dict(one.identity) for one in self.members[1:]]}

    def check(self, queries: Sequence[Query]) -> None:
        """Raise `UserError` if one of the judges cannot judge these queries."""
        for one in self.members:
            one.check(queries)

    async def start(self) -> None:
        """Load what the judges need, one after the other."""
        for one in self.members:
            await one.start()

    def against(self, query: Query) -> Sequence[str]:
        """Return what the first judge compares answers with."""
        return self._first.against(query)

    def keep_replies(self, keep: Callable[[PaidReply], None]) -> None:
        """Call `keep` with every reply of every judge."""
        for one in self.members:
            one.keep_replies(keep)

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the first judge's judgment of the last completion."""
        return await self._first.judge(query, completions)

    def expected_usage(self, query: Query, turn: int, answer_tokens: float) -> Usage:
        """Return what all judges take together."""
        return sum((one.expected_usage(query, turn, answer_tokens) for one in self.members), Usage())

    async def close(self) -> None:
        """Give everything back."""
        for one in self.members:
            await one.close()


def members(judge: Judge) -> tuple[Judge, ...]:
    """Return the judges that a study's judge stands for, the one that decides first."""
    return judge.members if isinstance(judge, Panel) else (judge,)


def scales(judge: Judge, queries: Sequence[Query], negligible: float | None = None) -> dict[str, Scale]:
    """Return what the scores of each judge on these queries are read against, the one that decides first.

    `negligible` is in points of that one.
    """
    found = {}
    for at, one in enumerate(members(judge)):
        floor = one.floor(queries) if isinstance(one, FlooredJudge) else None
        scale = Scale(*one.scale, negligible=None if at else negligible)
        if floor is not None:
            scale = replace(scale, floor=floor.best, constant=floor.answer, empty=floor.empty, chooses=floor.chooses)
        found[one.name] = scale
    return found
