"""Base of all LLM judges: a client and its budget, and for most of them questions from a prompt file.

Knows neither queries' files nor studies. A subclass says what is asked and how a reply is read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ablations.core.errors import UsageError
from ablations.core.records import Completion, PaidReply, Query, Usage
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import CallFailedError
from ablations.judges.llm.templates import Questions, answer_fields
from ablations.judges.prices import Budget


class LlmJudge:
    """A judge that asks a server; subclasses add `judge` and `expected_usage`.

    Attributes:
        form: how it asks, beside the messages: arguments of `JudgeClient.chat`, of which `start` makes one call.
    """

    name: str
    scale: tuple[float, float]
    max_turns = 2

    def __init__(self, settings: JudgeSettings) -> None:
        self.client = settings.make_client(self.name)
        self.form: Mapping[str, Any] = {}

    @property
    def budget(self) -> Budget:
        """Money spent, and the limit."""
        return self.client.budget

    @property
    def identity(self) -> Mapping[str, Any]:
        """The judge's version and model; subclasses add what else decides a judgment."""
        return {"judge": self.name, "version": 1, "model": self.client.model}

    def check(self, queries: Sequence[Query]) -> None:
        """Any query will do."""

    def against(self, query: Query) -> Sequence[str]:
        """Return nothing: most judges compare with no other answer."""
        del query
        return ()

    def keep_replies(self, keep: Callable[[PaidReply], None]) -> None:
        """Call `keep` with every reply the moment it is paid for."""
        self.client.on_reply = keep

    async def start(self) -> None:
        """Ask the server for the model, and one question in the judge's own form.

        Raises:
            UsageError: the model is not served, or the server refuses the form.
        """
        await self.client.probe()
        question = [{"role": "user", "content": "Reply with the digit 1."}]
        try:
            reply = await self.client.chat(question, **{"max_tokens": 8, **self.form})
        except CallFailedError as error:
            raise UsageError(f"--judge {self.name}: {error} in this judge's form: {error.detail}") from None
        if "top_logprobs" in self.form and not (reply.tokens and reply.tokens[0].alternatives):
            raise UsageError(
                f"--judge {self.name} needs a server that returns {self.form['top_logprobs']} log-probabilities a "
                "token, and this one's reply has none; use --judge rubric"
            )

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


class PromptedJudge(LlmJudge):
    """A judge whose questions come from the project's prompts or a `judge_prompts.jsonl`.

    Attributes:
        typical_reply_tokens: how long a reply usually is, for estimates.
    """

    typical_reply_tokens = 200

    def __init__(self, settings: JudgeSettings, style: str) -> None:
        super().__init__(settings)
        self.questions = Questions(settings.prompts, style)
        self.reply_tokens = settings.reply_tokens

    @property
    def identity(self) -> Mapping[str, Any]:
        """The judge's version, model and prompts, and how long a reply may be."""
        return {**super().identity, "reply_tokens": self.reply_tokens, **self.questions.identity}

    def question(self, query: Query, completions: Sequence[Completion]) -> list[dict[str, str]]:
        """Return the messages about one assistant's answers, the last of which is judged."""
        fields = answer_fields([completion.answer for completion in completions])
        return self.questions.messages(query, len(completions), fields)

    def expected_usage(self, query: Query, turn: int, answer_tokens: float) -> Usage:
        """Return what one question takes, roughly."""
        return self.questions.expected_usage(query, turn, answer_tokens, self.typical_reply_tokens)
