"""The `aspects` judge: an LLM rates six aspects of each answer from 1 to 5, each with a reason.

Knows neither conditions nor studies. The score is the mean of the six; each one is among the details. Where the
server supports JSON schemas the reply must follow one, elsewhere the prompt alone asks for the form.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ablations.core.errors import UsageError
from ablations.core.records import Completion, Judgment, Query, Score
from ablations.judges.llm.asking import JudgeSettings, ask
from ablations.judges.llm.client import Reply
from ablations.judges.llm.judge import PromptedJudge
from ablations.judges.llm.parsing import check_whole, parse_aspects

ASPECTS = ("helpfulness", "clarity", "factuality", "depth", "engagement", "safety")
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


class AspectsJudge(PromptedJudge):
    """Asks for six ratings as one JSON object."""

    name = "aspects"
    scale = (1.0, 5.0)
    typical_reply_tokens = 250

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__(settings, "aspects")
        self.form = {"schema": SCHEMA}

    async def start(self) -> None:
        """Ask the server for the model, and whether it takes a JSON schema."""
        try:
            await super().start()
        except UsageError:
            self.form = {}
            await super().start()

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion."""
        messages = self.question(query, completions)
        answered = await ask(self.client, messages, self._read, max_tokens=self.reply_tokens, **self.form)
        ratings = answered.value or {}
        score = Score(sum(ratings.values()) / len(ratings)) if ratings else Score(None, answered.reason)
        return Judgment(self.name, score, answered.replies, ratings, answered.usage)

    def _read(self, reply: Reply) -> dict[str, float]:
        check_whole(reply.text, reply.finish_reason)
        return parse_aspects(reply.text, ASPECTS, *map(int, self.scale))
