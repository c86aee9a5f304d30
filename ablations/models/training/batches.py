"""Batches: samples in the order in which they are learned -> tensors, and the loss on the answers alone.

Knows torch; neither models nor memory.
"""

import inspect
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import IGNORED, Sample

Batch = dict[str, torch.Tensor]


def ordered(samples: Sequence[Sample], recipe: Recipe) -> list[Sample]:
    """Return the samples of all passes, each in an order of its own that the seed decides."""
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

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Return `input_ids`, `attention_mask`, `labels` and, where the model takes it, `logits_to_keep`."""
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


def answer_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Return the summed cross entropy of the learned tokens over their number in the whole step."""
    wanted = labels[:, 1:]
    logits = outputs.logits[:, : wanted.shape[1]].float()
    total = cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / (num_items_in_batch if num_items_in_batch is not None else (wanted != IGNORED).sum())
