"""Jobs: what one training is made from, what it says while it runs, and what comes out of it.

Knows how these are stored and sent between processes; neither torch nor how training goes.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ablations.core.condition import content_hash
from ablations.core.jsonl import Record
from ablations.models.resolve import ResolvedModel
from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import Sample

JOB, CHECKPOINT, RESULT, MERGED = "job.json", "checkpoint.safetensors", "result", "merged"
"""In a job's folder: what to do, how far it has come, the weights, and an adapter's merged into the model's."""
CHECKPOINT_SECONDS = 20.0
"""Between the checkpoints of a training, at the least."""
VERSION = 2
"""Part of a job's key: raise it when the same job gives other weights."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        model: what is tuned.
        recipe: how.
        samples: what is learned.
        held_out: samples whose loss is measured at the end and nothing is learned from.
        trusted: whether the model may run Python code of its own.
    """

    model: ResolvedModel
    recipe: Recipe
    samples: tuple[Sample, ...]
    held_out: tuple[Sample, ...] = ()
    trusted: bool = False

    @cached_property
    def key(self) -> str:
        """A hash of the model's content, the tokens to learn, the recipe and its seed."""
        learned, measured = ([[one.prompt, one.target] for one in some] for some in (self.samples, self.held_out))
        return content_hash([VERSION, self.model.identity, self.recipe.to_dict(), learned, measured], length=32)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "model": asdict(self.model),
            "recipe": self.recipe.to_dict(),
            "samples": [asdict(sample) for sample in self.samples],
            "held_out": [asdict(sample) for sample in self.held_out],
            "trusted": self.trusted,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Job":
        """Build the job from what `to_dict` returned, also after a way through JSON."""
        return cls(
            model=ResolvedModel(**fields["model"]),
            recipe=Recipe.from_dict(fields["recipe"]),
            samples=_samples(fields["samples"]),
            held_out=_samples(fields["held_out"]),
            trusted=fields["trusted"],
        )


def _samples(rows: Sequence[dict[str, Any]]) -> tuple[Sample, ...]:
    return tuple(Sample(one["example"], one["turn"], tuple(one["prompt"]), tuple(one["target"])) for one in rows)


@dataclass(frozen=True)
class StepSeen(Record):
    """One step of the optimiser.

    Attributes:
        step, steps: which one, from 1, of how many.
        loss: mean over the learned tokens of the step, in nats.
        learning_rate: of the step.
        tokens: read since the beginning, prompts included.
        seconds: of training until now, all attempts together.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Outcome(Record):
    """Outcome of a training.

    Attributes:
        weights: a hash of the files that were written.
        tokens: read in all epochs, prompts included.
        learned: tokens of answers among them.
        seconds: of training alone, all processes of a resumed one together.
        trainable, parameters: numbers that could move, and all of them.
        peak_bytes: the most memory that training took.
        losses: one row a step: step, loss, learning rate, tokens.
        held_out_loss: mean over the tokens of the held-out samples, in nats; None where there are none.
    """

    weights: str
    tokens: int
    learned: int
    seconds: float
    trainable: int
    parameters: int
    peak_bytes: int
    losses: tuple[tuple[int, float, float, int], ...]
    held_out_loss: float | None = None

    @property
    def learned_something(self) -> bool:
        """Whether the last third of the steps had a lower loss than the first step."""
        last = [loss for _, loss, _, _ in self.losses[-max(len(self.losses) // 3, 1) :]]
        return len(self.losses) < 2 or sum(last) / len(last) < self.losses[0][1]

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Outcome":
        """Build the outcome from what `to_dict` returned, also after a way through JSON."""
        return cls(**(fields | {"losses": tuple(tuple(row) for row in fields["losses"])}))


@dataclass(frozen=True)
class Failure(Record):
    """Why a training gave no weights; `kind` is one of `loss`, `memory`, `modules`, `disk`."""

    kind: str
    reason: str
