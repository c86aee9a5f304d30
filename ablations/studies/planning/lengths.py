"""Lengths: whether prompts and answers fit the model's context, checked before anything is generated.

Knows backends, conditions and queries; generates nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ablations.core.condition import Condition, content_hash
from ablations.core.errors import PromptError
from ablations.core.records import Query
from ablations.models.base import Backend
from ablations.prompts.render import render_prompt


@dataclass(frozen=True)
class Need:
    """Tokens that the longest prompt of a condition needs.

    Attributes:
        query, turn: which one it is.
        prompt: its tokens, the earlier turns' queries included.
        answers: tokens that all answers may take up to and with this turn.
    """

    query: str
    turn: int
    prompt: int
    answers: int

    @property
    def tokens(self) -> int:
        """Prompt and answers together."""
        return self.prompt + self.answers


async def longest_need(backend: Backend, condition: Condition, queries: Sequence[Query]) -> Need | None:
    """Return what the longest prompt of these queries needs, or None where the backend does not count tokens.

    A turn is taken at its longest: every earlier one was answered with `max_tokens` tokens.
    """
    needs = []
    for query in queries:
        for turn in range(1, len(query.turns) + 1):
            prompt = render_prompt(query, condition.prompt, [""] * (turn - 1), backend.chat_template)
            tokens = await backend.count_tokens(prompt.text, prompt.templated)
            if tokens is None:
                return None
            needs.append(Need(query.id, turn, tokens, turn * condition.decoding.max_tokens))
    return max(needs, key=lambda need: need.tokens, default=None)


async def check_prompt_lengths(backend: Backend, conditions: Sequence[Condition], queries: Sequence[Query]) -> None:
    """Raise `PromptError` if a prompt and its answer may not fit the context."""
    length = backend.context_length
    if length is None:
        return
    longest: dict[str, Condition] = {}  # of conditions with one prompt the one with the longest answers decides
    for condition in conditions:
        key = content_hash(condition.prompt.content())
        if key not in longest or condition.decoding.max_tokens > longest[key].decoding.max_tokens:
            longest[key] = condition
    for condition in longest.values():
        need = await longest_need(backend, condition, queries)
        if need is not None and need.tokens > length:
            limit = condition.decoding.max_tokens
            raise PromptError(
                f"query {need.query!r} turn {need.turn}: the prompt takes {need.tokens - limit} tokens and "
                f"the answer up to {limit}, but the context holds {length}; at most "
                f"{(length - need.prompt) // need.turn} tokens a turn would fit: lower max_tokens, "
                "use fewer demonstrations, or raise "
                "--engine max_model_len if the model allows"
            )


async def largest_fitting(
    backend: Backend,
    conditions: Callable[[int], Iterable[Condition]],
    queries: Sequence[Query],
    numbers: Sequence[int],
    most: int,
) -> tuple[int, int] | None:
    """Return how many demonstrations fit the context, and what the first number that does not fit needs.

    Args:
        backend: counts tokens and knows the context.
        conditions: all conditions with a number of demonstrations.
        queries: the evaluation set.
        numbers: the numbers asked for, ascending.
        most: the largest number there is.

    Returns None where all numbers fit, or nothing can be known. The first is -1 where not even the lowest fits.
    """
    length = backend.context_length
    if length is None:
        return None

    async def needed(number: int) -> int:
        needs = [await longest_need(backend, condition, queries) for condition in conditions(number)]
        return max((need.tokens for need in needs if need is not None), default=0)

    fits = -1
    for number in numbers:
        if (tokens := await needed(number)) <= length:
            fits = number
            continue
        too_many = min(number, most + 1)
        while fits + 1 < too_many:  # between the last that fits and the first that does not
            middle = (fits + too_many) // 2
            if await needed(middle) <= length:
                fits = middle
            else:
                too_many = middle
        return fits, tokens
    return None
