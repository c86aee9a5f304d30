"""The `expected-rating` judge: the rubric's question, scored by the expectation over the rating's probabilities.

Knows neither conditions nor studies. Instead of the one rating that was written, every rating counts by the
probability that the server gave it in that place (the weighting of G-Eval, Liu et al. 2023), which makes scores
finer. Only ratings among the server's listed alternatives count; their share of the probability is kept.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ablations.core.records import Completion, Judgment, Query, Score
from ablations.judges.llm.asking import JudgeSettings, ask
from ablations.judges.llm.client import Reply
from ablations.judges.llm.parsing import NO_LOGPROBS, UnscoredError, check_whole, parse_rating, rating_match
from ablations.judges.llm.rubric import RubricJudge

TOP_LOGPROBS = 20
MIN_MASS = 0.5
THIN = "ratings hold too little probability"


class ExpectedRatingJudge(RubricJudge):
    """Asks as `rubric` does and reads log-probabilities."""

    name = "expected-rating"

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__(settings)
        self.form = {"max_tokens": 1, "top_logprobs": TOP_LOGPROBS}

    @property
    def identity(self) -> Mapping[str, Any]:
        """The rubric's, with the number of alternatives."""
        return {**super().identity, "top_logprobs": TOP_LOGPROBS, "min_mass": MIN_MASS}

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        """Return the judgment of the last completion; the rating as written is among its details."""
        messages = self.question(query, completions)
        answered = await ask(
            self.client, messages, self._expect, max_tokens=self.reply_tokens, top_logprobs=TOP_LOGPROBS
        )
        if answered.value is None:
            return Judgment(self.name, Score(None, answered.reason), answered.replies, usage=answered.usage)
        expected, details = answered.value
        return Judgment(self.name, Score(expected), answered.replies, details, answered.usage)

    def _expect(self, reply: Reply) -> tuple[float, dict[str, float]]:
        check_whole(reply.text, reply.finish_reason)
        written = parse_rating(reply.text, *self.scale)
        probabilities = rating_probabilities(reply, *map(int, self.scale))
        mass = sum(probabilities.values())
        if mass < MIN_MASS:
            raise UnscoredError(THIN)
        expected = sum(rating * share for rating, share in probabilities.items()) / mass
        return expected, {"written": written, "rating_mass": min(mass, 1.0)}


def rating_probabilities(reply: Reply, low: int, high: int) -> dict[int, float]:
    """Return the probability of each whole rating in the place where the reply has its rating.

    A tokenizer that writes 10 as 1 and 0 shows the second digit only where the first one was written: there the
    probability of 1 is divided by what followed; elsewhere it counts as 1.

    Raises:
        UnscoredError: the reply has no log-probabilities there.
    """
    match = rating_match(reply.text)
    position = None if match is None else _token_at(reply, len(reply.text[: match.start(1)].encode()))
    if match is None or position is None:
        raise UnscoredError(NO_LOGPROBS)
    token = reply.tokens[position]
    if not _digits(match[1]).startswith(_digits(token.text)):
        raise UnscoredError(NO_LOGPROBS)
    before, _, after = token.text.partition(_digits(token.text))
    found: dict[int, float] = {}
    for text, logprob in token.alternatives.items():
        inner = text.removeprefix(before).removesuffix(after) if after else text.removeprefix(before)
        if inner.isascii() and inner.isdigit() and low <= int(inner) <= high:
            found[int(inner)] = found.get(int(inner), 0.0) + math.exp(logprob)
    following = reply.tokens[position + 1] if position + 1 < len(reply.tokens) else None
    if _digits(token.text) == "1" and following is not None and not after and high >= 10:
        zero = sum(math.exp(logprob) for text, logprob in following.alternatives.items() if _digits(text) == "0")
        share = min(zero, 1.0)
        found[10] = found.get(10, 0.0) + found.get(1, 0.0) * share
        found[1] = found.get(1, 0.0) * (1 - share)
    return found


def _token_at(reply: Reply, offset: int) -> int | None:
    """Return the index of the token that holds the byte at `offset` of the reply and begins its digits, or None.

    None too where the tokens do not make up the reply, so that no place in it is known.
    """
    if b"".join(token.data for token in reply.tokens) != reply.text.encode():
        return None
    end = 0
    for index, token in enumerate(reply.tokens):
        end += len(token.data)
        if offset < end:
            return index if _digits(token.text) else None
    return None


def _digits(text: str) -> str:
    """Return the first run of digits in a token."""
    start = next((index for index, letter in enumerate(text) if letter in "0123456789"), len(text))
    end = next((i for i in range(start, len(text)) if text[i] not in "0123456789"), len(text))
    return text[start:end]
