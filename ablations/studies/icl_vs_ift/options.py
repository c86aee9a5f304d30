"""What is asked of a comparison of prompts with fine-tuning: sizes, draws, pools, and how weights are tuned.

Knows recipes and what decoding parameters may be; neither models nor examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablations.core.condition import DECODING_PARAMETERS, DecodingParams
from ablations.core.errors import ConditionError, UsageError, nearest
from ablations.core.prompt import Value
from ablations.models.training.recipe import Recipe, recipe_for
from analysis.demonstrations.ways import ICL, IFT

TUNED_WAYS = (ICL, IFT)
RECIPE_KEYS = ("epochs", "learning_rate", "batch", "rank", "alpha")
_OF_ADAPTERS = ("rank", "alpha", "target_modules")
HELD_OUT = 16
"""Examples by which the learning rate is looked for."""


@dataclass(frozen=True)
class TuningOptions:
    """What a study file's `[tuning]` and the flags say.

    Attributes:
        method: `lora` or `full`.
        sizes: numbers of examples, ascending.
        draws: seeded draws of each size.
        pools: names of the pools; each is a factor of its own.
        aligned: the model of the reference line with a chat template, or None.
        max_tokens: the longest answer that is learned, in tokens, with what stands before it.
        recipe: what is set of `RECIPE_KEYS`.
        target_modules: names of the layers that get adapters; empty for every linear one.
        decoding: decoding parameters of each way where they are not the baseline's.
        tune_learning_rate: whether the rate is looked for on held-out examples.
        held_out: how many; `HELD_OUT` where None.

    Raises:
        UsageError, ConditionError: a number or name that cannot be.
    """

    method: str = "lora"
    sizes: tuple[int, ...] = (3, 8, 24)
    draws: int = 1
    pools: tuple[str, ...] = ("examples",)
    aligned: str | None = None
    max_tokens: int = 1024
    recipe: Mapping[str, Any] = field(default_factory=dict)
    target_modules: tuple[str, ...] = ()
    decoding: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    tune_learning_rate: bool = False
    held_out: int | None = None

    def __post_init__(self) -> None:
        if not self.sizes or not all(type(size) is int and size > 0 for size in self.sizes):
            raise UsageError(
                f"tuning.sizes (--sizes) = {list(self.sizes)} are no numbers of examples; give some from 1 on"
            )
        if len(set(self.sizes)) < len(self.sizes):
            raise UsageError(f"tuning.sizes (--sizes) = {list(self.sizes)} name a size twice; drop one")
        object.__setattr__(self, "sizes", tuple(sorted(self.sizes)))
        for name, flag in (("draws", " (--draws)"), ("max_tokens", ""), ("held_out", "")):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise UsageError(f"tuning.{name}{flag} = {number} is out of range; give 1 or more")
        if not self.pools or len(set(self.pools)) < len(self.pools) or not all(self.pools):
            raise UsageError(
                f"tuning.pools (--pools) = {','.join(self.pools)!r}: name each pool once, such as good,medium"
            )
        for way, values in self.decoding.items():
            if way not in TUNED_WAYS:
                raise UsageError(f"tuning.{way} is not known; {nearest(way, TUNED_WAYS)}")
            for name in values:
                if name not in DECODING_PARAMETERS:
                    known = nearest(name, DECODING_PARAMETERS)
                    raise ConditionError(f"tuning.{way} takes decoding parameters alone, not {name!r}; {known}")
            try:
                DecodingParams(**values)  # type: ignore[arg-type]
            except ConditionError as error:
                raise ConditionError(f"tuning.{way}: {error}") from error
        self.recipe_for(1)

    @property
    def apart(self) -> int:
        """How many examples no draw learns or shows: none where no learning rate is looked for."""
        return (self.held_out or HELD_OUT) if self.tune_learning_rate else 0

    @property
    def unused(self) -> list[str]:
        """What is set and has no effect, in sentences."""
        given = {**self.recipe, **({"target_modules": self.target_modules} if self.target_modules else {})}
        keys = [key for key in _OF_ADAPTERS if key in given and self.method != "lora"]
        notes = [f"tuning.{key} is of adapters, and of no use here" for key in keys]
        if self.held_out is not None and not self.tune_learning_rate:
            notes.append("tuning.held_out is of no use without --tune-learning-rate")
        return notes

    def recipe_for(self, answers: int, seed: int = 0) -> Recipe:
        """Return the recipe for so many answers."""
        given = {**self.recipe, "target_modules": self.target_modules}
        used = {key: value for key, value in given.items() if self.method == "lora" or key not in _OF_ADAPTERS}
        return recipe_for(answers, self.method, seed=seed, **used)
