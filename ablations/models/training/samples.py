"""Samples: examples -> tokens that a training reads and learns -> tensors, and the loss on the answers alone.

Each answer is one sample. What stands before it is, to the token, the prompt that an evaluation sends; only the
answer, what closes it and the end-of-text token are learned. Knows prompts and tokens; neither models nor memory.
"""

import inspect
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablations.core.errors import PoolError, PromptError
from ablations.core.prompt import Demonstration, PromptParts
from ablations.models.tokenizer import Tokens
from ablations.models.training.recipe import Recipe
from ablations.prompts.render import answer_after_opening, opened_answer

if TYPE_CHECKING:
    import torch

    Batch = dict[str, torch.Tensor]

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
        PromptError: the template is a chat template.
    """
    if parts.template.chat:
        raise PromptError("template = 'chat' lays out no text to learn from; choose another template for the study")
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


def ordered(samples: Sequence[Sample], recipe: Recipe) -> list[Sample]:
    """Return the samples of all epochs, each in an order of its own that the seed decides."""
    return [
        sample
        for epoch in range(recipe.epochs)
        for sample in random.Random(f"{recipe.seed}|{epoch}").sample(samples, len(samples))
    ]


def keeps_places(model: Any) -> bool:
    """Whether a model computes logits at chosen places alone, which spares the output layer most of its work."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters


@dataclass(frozen=True)
class Collator:
    """Samples -> one padded batch.

    `labels`, shape (answers, 1 + places): the token that follows each place where some answer of the batch has one to
    learn, `IGNORED` where this one has none; the first column is empty, as for a label that nothing predicts. Where
    the model does not take `logits_to_keep`, every place counts.
    """

    keeps: bool

    def __call__(self, samples: Sequence[Sample]) -> "Batch":
        """Return `input_ids`, `attention_mask`, `labels` and, where the model takes it, `logits_to_keep`."""
        import torch  # here, because planning makes samples too

        length = max(len(one.tokens) for one in samples)
        ids = torch.zeros((len(samples), length), dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
        for row, one in enumerate(samples):
            size = len(one.tokens)
            ids[row, :size] = torch.tensor(one.tokens)
            mask[row, :size] = 1
            labels[row, :size] = torch.tensor(one.labels)
        following = labels[:, 1:]
        places = (following != IGNORED).any(dim=0).nonzero().squeeze(1) if self.keeps else torch.arange(length - 1)
        none = torch.full((len(samples), 1), IGNORED)
        batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.cat([none, following[:, places]], dim=1)}
        return batch | ({"logits_to_keep": places} if self.keeps else {})


def answer_loss(outputs: Any, labels: "torch.Tensor", num_items_in_batch: Any = None) -> "torch.Tensor":
    """Return the summed cross entropy of the learned tokens over their number in the whole step."""
    from torch.nn.functional import cross_entropy  # here, because planning makes samples too

    wanted = labels[:, 1:]
    logits = outputs.logits[:, : wanted.shape[1]].float()
    total = cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / (num_items_in_batch if num_items_in_batch is not None else (wanted != IGNORED).sum())
