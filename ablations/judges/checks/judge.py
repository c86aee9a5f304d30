"""The `checks` judge: 0 to 1 by whether an answer fulfils what its query's checks ask; no model, no download.

Content and ending are outcomes of their own: whether every check of content holds, and whether the answer ended by
itself. Three ways make one score of the two:

    graded   0 unless every check of content holds, 1/2 where all hold, 1 where the answer also ended by itself
    strict   1 where all listed checks hold, else 0 (IFEval's strict accuracy of a prompt)
    share    the share of listed checks that hold (IFEval's accuracy of instructions)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ablations.core.errors import QueryError
from ablations.core.records import MIN_COVERAGE, Completion, Judgment, Query, Score
from ablations.judges.base import GRADED, SHARE, STRICT, FreeJudge
from ablations.judges.checks.base import CONTENT, Answer, Bound
from ablations.judges.checks.registry import bind
from ablations.judges.llm.asking import JudgeSettings

NO_CHECKS = "no checks"
CONTENT_OUTCOME, FINISHED_OUTCOME = "content", "finished"
"""Outcomes of their own, beside the score: details of every judgment, each 0 or 1."""


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

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion."""
        turn, last = len(completions) - 1, completions[-1]
        if not query.checks[turn]:
            return Judgment(self.name, Score(None, NO_CHECKS))
        answer = Answer(last.answer, not last.truncated, query.turns[turn])
        details = outcomes([bind(one) for one in query.checks[turn]], answer)
        return Judgment(self.name, Score(details[self._score]), details=details)


def outcomes(checks: Sequence[Bound], answer: Answer) -> dict[str, float]:
    """Return all that checks say of an answer, each 0 to 1.

    By name: content and finished, the scores graded, strict and share, the loose reading of strict, and under
    "check ID" the share that holds of the checks with this id.
    """
    held = [one.holds(answer) for one in checks]
    rates: dict[str, list[bool]] = {}
    for one, own in zip(checks, held, strict=True):
        rates.setdefault(f"check {one.definition.id}", []).append(own)
    return {
        CONTENT_OUTCOME: float(_is_right(checks, held, answer)),
        FINISHED_OUTCOME: float(answer.finished),
        **_scores(checks, held, answer),
        "loose": float(all(one.holds_loosely(answer) for one in checks)),
        **{name: sum(own) / len(own) for name, own in sorted(rates.items())},
    }


def scores(checks: Sequence[Bound], answer: Answer) -> dict[str, float]:
    """Return what checks give an answer by each of `CHECKS_SCORES`, 0 to 1."""
    return _scores(checks, [one.holds(answer) for one in checks], answer)


def _scores(checks: Sequence[Bound], held: Sequence[bool], answer: Answer) -> dict[str, float]:
    right = _is_right(checks, held, answer)
    return {
        GRADED: (right + right * answer.finished) / 2,
        STRICT: float(all(held)),
        SHARE: sum(held) / len(held),
    }


def _is_right(checks: Sequence[Bound], held: Sequence[bool], answer: Answer) -> bool:
    """Whether there is an answer, and every check of its content holds."""
    of_content = (own for one, own in zip(checks, held, strict=True) if one.definition.about == CONTENT)
    return bool(answer.text) and all(of_content)
