"""The `aspects` judge: an LLM rates six aspects of each answer from 1 to 5, each with a reason.

Knows neither conditions nor studies. The score is the mean of the six; each one is among the details. Where the
server supports JSON schemas the reply must follow one, elsewhere the prompt alone asks for the form.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ablations.judges.asking import JudgeSettings, ask
from ablations.judges.client import CallFailedError, Reply
from ablations.judges.parsing import check_whole, parse_aspects
from ablations.judges.prices import Budget
from ablations.judges.templates import Questions, answer_fields
from ablations.records import Completion, Judgment, Query, Score, Usage

ASPECTS = ("helpfulness", "clarity", "factuality", "depth", "engagement", "safety")
TYPICAL_REPLY_TOKENS = 250
_RATED = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "rating": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["reason", "rating"],
    "additionalProperties": False,
}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": dict.fromkeys(ASPECTS, _RATED),
    "required": list(ASPECTS),
    "additionalProperties": False,
}


class AspectsJudge:
    """Asks for six ratings as one JSON object."""

    name = "aspects"
    scale = (1.0, 5.0)

    def __init__(self, settings: JudgeSettings) -> None:
        self.client = settings.make_client(self.name)
        self.questions = Questions(settings.prompts, "aspects")
        self._reply_tokens = settings.reply_tokens
        self._schema: Mapping[str, Any] | None = SCHEMA

    @property
    def budget(self) -> Budget:
        """What is spent, and what may be."""
        return self.client.budget

    @property
    def identity(self) -> Mapping[str, Any]:
        """The judge's version, model and prompts."""
        asked = {"model": self.client.model, "reply_tokens": self._reply_tokens, **self.questions.identity}
        return {"judge": self.name, "version": 1, **asked}

    def check(self, queries: Sequence[Query]) -> None:
        """Any query will do."""

    async def start(self) -> None:
        """Ask the server for the model, and whether it takes a JSON schema."""
        await self.client.probe()
        question = [{"role": "user", "content": "Rate the answer 4 to the question 2+2, as JSON."}]
        try:
            await self.client.chat(question, max_tokens=8, schema=SCHEMA)
        except CallFailedError:
            self._schema = None

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion."""
        fields = answer_fields([completion.answer for completion in completions])
        messages = self.questions.messages(query, len(completions), fields)
        answered = await ask(self.client, messages, self._read, max_tokens=self._reply_tokens, schema=self._schema)
        ratings = answered.value or {}
        score = Score(sum(ratings.values()) / len(ratings)) if ratings else Score(None, answered.reason)
        return Judgment(self.name, score, answered.replies, ratings, answered.usage)

    def _read(self, reply: Reply) -> dict[str, float]:
        check_whole(reply.text, reply.finish_reason)
        return parse_aspects(reply.text, ASPECTS, *map(int, self.scale))

    def expected_usage(self, query: Query, turn: int, answer_tokens: float) -> Usage:
        """Return what one judgment takes, roughly."""
        return self.questions.expected_usage(query, turn, answer_tokens, TYPICAL_REPLY_TOKENS)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()
