"""The `rubric` judge: an LLM rates each answer from 1 to 10, as MT-Bench's single-answer grading does.

Knows neither conditions nor studies. With FastChat's own prompt file it asks MT-Bench's questions to the letter;
a reply is then read by MT-Bench's rule with bounds added (see `parsing`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ablations.judges.asking import JudgeSettings, ask
from ablations.judges.client import Reply
from ablations.judges.parsing import check_whole, parse_rating
from ablations.judges.prices import Budget
from ablations.judges.templates import Questions, answer_fields
from ablations.records import Completion, Judgment, Query, Score, Usage

TYPICAL_REPLY_TOKENS = 200


class RubricJudge:
    """Asks for reasons and a rating; math, reasoning and coding are judged beside a reference answer."""

    name = "rubric"
    scale = (1.0, 10.0)

    def __init__(self, settings: JudgeSettings) -> None:
        self.client = settings.make_client(self.name)
        self.questions = Questions(settings.prompts, "single")
        self.reply_tokens = settings.reply_tokens

    @property
    def budget(self) -> Budget:
        """What is spent, and what may be."""
        return self.client.budget

    @property
    def identity(self) -> Mapping[str, Any]:
        """The judge's version, model and prompts."""
        asked = {"model": self.client.model, "reply_tokens": self.reply_tokens, **self.questions.identity}
        return {"judge": self.name, "version": 1, **asked}

    def check(self, queries: Sequence[Query]) -> None:
        """Raise `QueryError` where a reference answer is needed and missing."""
        self.questions.check(queries)

    async def start(self) -> None:
        """Ask the server for the model."""
        await self.client.probe()

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion."""
        fields = answer_fields([completion.answer for completion in completions])
        messages = self.questions.messages(query, len(completions), fields)
        answered = await ask(self.client, messages, self._read, max_tokens=self.reply_tokens)
        return Judgment(self.name, Score(answered.value, answered.reason), answered.replies, usage=answered.usage)

    def _read(self, reply: Reply) -> float:
        check_whole(reply.text, reply.finish_reason)
        return parse_rating(reply.text, *self.scale)

    def expected_usage(self, query: Query, turn: int, answer_tokens: float) -> Usage:
        """Return what one judgment takes, roughly."""
        return self.questions.expected_usage(query, turn, answer_tokens, TYPICAL_REPLY_TOKENS)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()
