"""The `rubric` judge: an LLM rates each answer from 1 to 10, as MT-Bench's single-answer grading does.

Knows neither conditions nor studies. With FastChat's own prompt file it asks MT-Bench's questions to the letter;
a reply is then read by MT-Bench's rule with bounds added (see `parsing`).
"""

from collections.abc import Sequence

from ablations.core.records import Completion, Judgment, Query, Score
from ablations.judges.llm.asking import JudgeSettings, ask
from ablations.judges.llm.client import Reply
from ablations.judges.llm.judge import PromptedJudge
from ablations.judges.llm.parsing import check_whole, parse_rating


class RubricJudge(PromptedJudge):
    """Asks for reasons and a rating; math, reasoning and coding are judged beside a reference answer."""

    name = "rubric"
    scale = (1.0, 10.0)

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__(settings, "single")

    def check(self, queries: Sequence[Query]) -> None:
        """Raise `QueryError` where a reference answer is needed and missing."""
        self.questions.check(queries)

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion."""
        messages = self.question(query, completions)
        answered = await ask(self.client, messages, self._read, max_tokens=self.reply_tokens)
        return Judgment(self.name, Score(answered.value, answered.reason), answered.replies, usage=answered.usage)

    def _read(self, reply: Reply) -> float:
        check_whole(reply.text, reply.finish_reason)
        return parse_rating(reply.text, *self.scale)
