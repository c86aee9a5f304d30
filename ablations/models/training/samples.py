"""Samples: examples -> tokens that a training reads and tokens that it learns.

Each answer is one sample. What stands before it is, to the token, the prompt that an evaluation sends; only the answer,
what closes it and the end-of-text token are learned. Knows prompts and tokens; nothing of training.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ablations.core.errors import PoolError, PromptError
from ablations.core.prompt import Demonstration, PromptParts
from ablations.models.tokenizer import Tokens
from ablations.prompts.render import answer_after_opening, opened_answer

IGNORED = -100
"""The label of a token that is not learned, as torch's cross entropy has it."""


@dataclass(frozen=True)
class Sample:
    """One answer to learn.

    Attributes:
        example: the id of the example it belongs to.
        turn: from 1.
        prompt: tokens that are read.
        target: tokens that are learned.
    """

    example: str
    turn: int
    prompt: tuple[int, ...]
    target: tuple[int, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """The whole sequence."""
        return self.prompt + self.target

    @property
    def labels(self) -> tuple[int, ...]:
        """The tokens to learn at their places, `IGNORED` elsewhere; as long as `tokens`."""
        return (IGNORED,) * len(self.prompt) + self.target


def make_samples(examples: Iterable[Demonstration], parts: PromptParts, tokens: Tokens) -> list[Sample]:
    """Return a sample for each answer of the examples, in their order.

    Args:
        examples: whole conversations; each query needs an answer.
        parts: the prompt without demonstrations in which the tuned model will be asked.
        tokens: of the model.

    Raises:
        PoolError: an example has a query without an answer.
        PromptError: the headings are those of a chat template.
    """
    if parts.template.chat:
        raise PromptError("template = 'chat' lay out no text to learn from; choose other headings for the study")
    return [sample for example in examples for sample in _samples(example, parts, tokens)]


def _samples(example: Demonstration, parts: PromptParts, tokens: Tokens) -> Iterable[Sample]:
    said = example.exchanges
    for turn, (query, answer) in enumerate(said, start=1):
        if not answer or not answer.strip():
            raise PoolError(
                f"example {example.id!r} has no answer to its turn {turn}, so that nothing can be learned from it; "
                "give a pool whose examples have answers"
            )
        prompt = opened_answer(parts, [*said[: turn - 1], (query, None)])
        target = tokens.answer_ids(prompt, answer_after_opening(parts, answer))
        yield Sample(example.id, turn, tuple(tokens.ids(prompt)), tuple(target))


def longest(samples: Sequence[Sample]) -> int:
    """Return the length of the longest sample in tokens, 0 where there is none."""
    return max((len(sample.tokens) for sample in samples), default=0)
