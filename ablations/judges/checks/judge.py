"""The `checks` judge: 0 to 1 by whether an answer fulfils what its query's checks ask; no model, no download.

Content and ending are outcomes of their own (`core.records.OUTCOMES`): whether every check of content holds, and
whether the answer ended by itself. Three ways make one score of the two:

    graded   0 unless every check of content holds, 1/2 where all hold, 1 where the answer also ended by itself
    strict   1 where all listed checks hold, else 0 (IFEval's strict accuracy of a prompt)
    share    the share of listed checks that hold (IFEval's accuracy of instructions)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ablations.core.errors import QueryError, listed
from ablations.core.records import MIN_COVERAGE, Completion, Judgment, Query, Score
from ablations.judges.base import Floor, FreeJudge
from ablations.judges.checks.base import Answer
from ablations.judges.checks.registry import bind
from ablations.judges.checks.scores import floors, outcomes
from ablations.judges.llm.asking import JudgeSettings

NO_CHECKS = "no checks"


def unchecked(queries: Sequence[Query]) -> list[str]:
    """Return the turns that have no checks, in words: each query's id, and the turn where a query has two."""
    return [
        f"query {query.id!r}" + (f" turn {turn}" if len(query.turns) > 1 else "")
        for query in queries
        for turn, checks in enumerate(query.checks, 1)
        if not checks
    ]


class ChecksJudge(FreeJudge):
    """Scores an answer by the checks of its query's turn; `checks_score` of the settings says how."""

    name = "checks"
    scale = (0.0, 1.0)
    max_turns = 2

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__()
        self._score = settings.checks_score

    @property
    def identity(self) -> Mapping[str, Any]:
        """The version of the checks, and how they are made one number."""
        return {"judge": self.name, "version": 1, "score": self._score}

    def check(self, queries: Sequence[Query]) -> None:
        """Raise `QueryError` if too few turns have checks for a trial to count."""
        turns, lacking = sum(len(query.turns) for query in queries), unchecked(queries)
        if turns - len(lacking) < MIN_COVERAGE * turns:
            raise QueryError(
                f"the checks judge needs queries with checks: {len(lacking)} of {turns} turns have none "
                f"({listed(lacking)}), and at least {MIN_COVERAGE:.0%} must have some; give --queries with checks "
                "(`short` is built in), or another judge"
            )

    def floor(self, queries: Sequence[Query]) -> Floor | None:
        """Return what constant answers score on these queries, or None where no turn has checks."""
        return floors(queries)[self._score] if any(turn for query in queries for turn in query.checks) else None

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion."""
        turn, last = len(completions) - 1, completions[-1]
        if not query.checks[turn]:
            return Judgment(self.name, Score(None, NO_CHECKS))
        answer = Answer(last.answer, not last.truncated, query.turns[turn])
        details = outcomes([bind(one) for one in query.checks[turn]], answer)
        return Judgment(self.name, Score(details[self._score]), details=details)
