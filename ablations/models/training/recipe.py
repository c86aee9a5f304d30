"""Recipes: every number that decides a training, and what they are where nobody says otherwise.

Knows neither models nor examples, only how many of these there are.
"""

from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

from ablations.core.errors import UsageError, check_choice
from ablations.core.jsonl import Record

METHODS = ("lora", "full")
"""Low-rank adapters beside frozen weights (Hu et al. 2021), or all weights (the paper's)."""
LEARNING_RATES = {"lora": 3e-4, "full": 2e-5}
"""Where nothing is said; adapters take larger rates. CHANGELOG has the held-out losses that this and the epochs of few
examples were chosen by."""
LEAST_STEPS = 12
"""Few examples are seen again until the optimiser has made about so many steps."""
LEAST_EPOCHS, MOST_EPOCHS = 2, 6
MOST_RANK = 512
SMALL_BATCH, LARGE_BATCH, LARGE_FROM = 4, 16, 400
"""Answers in a step: the small number for less than `LARGE_FROM` answers in all."""


@dataclass(frozen=True)
class Recipe(Record):
    """How weights are trained.

    Attributes:
        method: one of `METHODS`.
        epochs: how often every example is learned.
        learning_rate: at its highest; a tenth of the steps lead up to it and a half cosine down to 0.
        batch: answers in a step of the optimiser, however many of them fit the memory at once.
        rank, alpha: of adapters; their output is scaled by alpha / rank.
        seed: of the order of the examples and of new adapters.
        target_modules: names of the layers that get adapters; empty for every linear one but the head.

    The optimiser is AdamW without weight decay, its gradients are clipped to a norm of 1, and nothing is dropped out.

    Raises:
        UsageError: a number that cannot be; the message names it as the flags and the study file do.
    """

    method: str
    epochs: int
    learning_rate: float
    batch: int
    rank: int = 16
    alpha: int = 32
    seed: int = 0
    target_modules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("--tuning", self.method, METHODS)
        for name in ("epochs", "batch", "rank", "alpha"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"tuning.{name} = {value!r} is not a whole number from 1 on; give one")
        if self.rank > MOST_RANK:
            raise UsageError(f"tuning.rank = {self.rank} is more than vLLM takes; give {MOST_RANK} or less")
        if not isfinite(self.learning_rate) or not 0 < self.learning_rate <= 1:
            raise UsageError(
                f"tuning.learning_rate = {self.learning_rate:g} is out of range; give a number above 0, up to 1"
            )

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Recipe":
        """Build the recipe from what `to_dict` returned."""
        return cls(**(fields | {"target_modules": tuple(fields["target_modules"])}))

    def steps(self, answers: int) -> int:
        """Return the steps that so many answers take."""
        return ceil(answers * self.epochs / self.batch)


def recipe_for(answers: int, method: str, **given: Any) -> Recipe:
    """Return the recipe for so many answers to learn; what is `given` as None or not at all is chosen by their number.

    >>> [recipe_for(answers, "lora").epochs for answers in (6, 16, 48, 2000)]
    [6, 3, 2, 2]
    """
    check_choice("--tuning", method, METHODS)
    known = {name: value for name, value in given.items() if value is not None}
    batch = known.get("batch", SMALL_BATCH if answers < LARGE_FROM else LARGE_BATCH)
    epochs = min(max(ceil(LEAST_STEPS * batch / answers), LEAST_EPOCHS), MOST_EPOCHS) if answers else LEAST_EPOCHS
    chosen = {"epochs": epochs, "learning_rate": LEARNING_RATES[method], "batch": batch}
    return Recipe(method=method, **(chosen | known))
