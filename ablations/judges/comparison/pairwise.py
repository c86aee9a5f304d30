"""The `pairwise` judge: is the answer better than another model's? Always asked in both orders.

Knows neither conditions nor studies. A win in both orders scores 1, a loss in both 0; everything else is a draw
and scores 0.5 (MT-Bench's rule for verdicts that change with the order, Zheng et al. 2023), so that a trial's
mean is its win rate with draws counted half. The details hold win, draw, loss, and what the order did.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ablations.core.concurrency import together
from ablations.core.records import Completion, Judgment, Query, Score, Usage
from ablations.judges.comparison.published import SCALE
from ablations.judges.comparison.reference_outputs import ReferenceOutputs
from ablations.judges.llm.asking import Answered, JudgeSettings, ask
from ablations.judges.llm.client import Reply
from ablations.judges.llm.judge import PromptedJudge
from ablations.judges.llm.parsing import FIRST, SECOND, TIE, check_whole, parse_two_scores, parse_verdict
from ablations.judges.llm.templates import answer_fields


class PairwiseJudge(PromptedJudge):
    """Compares each answer with the reference model's answer to the same turn."""

    name = "pairwise"
    scale = (0.0, 1.0)

    def __init__(self, settings: JudgeSettings) -> None:
        self._outputs = ReferenceOutputs(settings.compare_with, self.name)
        self._two_scores = settings.two_scores
        super().__init__(settings, "two-scores" if settings.two_scores else "pairwise")

    @property
    def identity(self) -> Mapping[str, Any]:
        """The judge's version, model and prompts, and the answers it compares with (after `check`)."""
        return {**super().identity, **self._outputs.identity}

    def check(self, queries: Sequence[Query]) -> None:
        """Read the answers to compare with.

        Raises:
            UsageError: they cannot be read, or one is missing.
            QueryError: a reference answer is needed and missing.
        """
        self._outputs.read(queries)
        self.questions.check(queries)

    def against(self, query: Query) -> Sequence[str]:
        """Return the answers to compare with, all turns'."""
        return self._outputs.to(query, len(query.turns))

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion from both orders."""
        own = [completion.answer for completion in completions]
        return await self.compare(query, own, self._outputs.to(query, len(own)))

    async def compare(self, query: Query, own: Sequence[str], other: Sequence[str]) -> Judgment:
        """Return the judgment of any answers against any others, from both orders."""
        orders = ((own, other), (other, own))
        straight, swapped = await together(self._ask(query, len(own), *order) for order in orders)
        replies, usage = straight.replies + swapped.replies, straight.usage + swapped.usage
        if straight.value is None or swapped.value is None:
            return Judgment(self.name, Score(None, straight.reason or swapped.reason), replies, usage=usage)
        score = {(FIRST, SECOND): 1.0, (SECOND, FIRST): 0.0}.get((straight.value, swapped.value), 0.5)
        details = {
            "win": float(score == 1.0),
            "draw": float(score == 0.5),
            "loss": float(score == 0.0),
            "first_twice": float(straight.value == swapped.value == FIRST),
            "second_twice": float(straight.value == swapped.value == SECOND),
            "tie_twice": float(straight.value == swapped.value == TIE),
        }
        return Judgment(self.name, Score(score), replies, details, usage)

    async def _ask(self, query: Query, turn: int, first: Sequence[str], second: Sequence[str]) -> Answered[str]:
        messages = self.questions.messages(query, turn, answer_fields(first, "a") | answer_fields(second, "b"))
        return await ask(self.client, messages, self._read, max_tokens=self.reply_tokens)

    def _read(self, reply: Reply) -> str:
        check_whole(reply.text, reply.finish_reason)
        return parse_two_scores(reply.text, *SCALE) if self._two_scores else parse_verdict(reply.text)

    def expected_usage(self, query: Query, turn: int, answer_tokens: float) -> Usage:
        """Return what both orders take, roughly."""
        once = super().expected_usage(query, turn, answer_tokens)
        return once + once
