"""The `checks` judge: 0 to 1 by whether an answer fulfils what its query's checks ask; no model, no download.

Content and ending are outcomes of their own (`core.records.OUTCOMES`): whether every check of content holds, and
whether the answer ended by itself. Three ways make one score of the two:

    graded   0 unless every check of content holds, 1/2 where all hold, 1 where the answer also ended by itself
    strict   1 where all listed checks hold, else 0 (IFEval's strict accuracy of a prompt)
    share    the share of listed checks that hold (IFEval's accuracy of instructions)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ablations.core.errors import QueryError
from ablations.core.records import MIN_COVERAGE, Completion, Judgment, Query, Score
from ablations.judges.base import Floor, FreeJudge
from ablations.judges.checks.base import Answer
from ablations.judges.checks.registry import bind
from ablations.judges.checks.scores import floors, outcomes
from ablations.judges.llm.asking import JudgeSettings

NO_CHECKS = "no checks"


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
        turns = [turn for query in queries for turn in query.checks]
        checked = sum(bool(turn) for turn in turns)
        if checked < MIN_COVERAGE * len(turns):
            raise QueryError(
                f"the checks judge needs queries with checks: {checked} of {len(turns)} turns have some, and at least "
                f"{MIN_COVERAGE:.0%} are needed; give --queries with checks (`short` is built in), or another judge"
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
