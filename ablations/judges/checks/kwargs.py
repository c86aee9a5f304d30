"""Arguments of checks: the validated dataclass that holds them, and what several of them are made of."""

from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as validated

_STRICT = ConfigDict(extra="forbid", str_min_length=1, allow_inf_nan=False)
K = TypeVar("K")


@dataclass_transform(frozen_default=True)
def arguments(kind: type[K]) -> type[K]:
    """Return a class as the frozen dataclass of a check's arguments, which refuses unknown names and empty texts."""
    return validated(frozen=True, config=_STRICT)(kind)  # type: ignore[return-value]


def in_order(least: str, most: str) -> Any:
    """Return a validator, for the body of such a class, that refuses the argument `most` where it is below `least`."""

    def check(self: K) -> K:
        low, high = getattr(self, least), getattr(self, most)
        if high < low:
            raise ValueError(f"{most} = {high} is below {least} = {low}")
        return self

    return model_validator(mode="after")(check)


def _number(value: object) -> object:
    """Return a number as it is, and refuse texts and truth values, which would be taken for numbers."""
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_number), Field(ge=0)]
"""A whole number of 0 or more; tables hold it as 3.0 too."""
Count = Annotated[int, BeforeValidator(_number), Field(ge=1)]
"""A whole number of 1 or more."""
Texts = Annotated[tuple[str, ...], Field(min_length=1)]
"""One text or more."""
Relation = Literal["less than", "at least"]
"""How a count must compare to a threshold, in IFEval's words."""


@arguments
class Request:
    """The request that is to be repeated."""

    prompt_to_repeat: str


def compares(count: int, relation: Relation, threshold: int) -> bool:
    """Whether a count is as a relation to the threshold asks.

    >>> compares(2, "less than", 3), compares(3, "less than", 3), compares(3, "at least", 3)
    (True, False, True)
    """
    return count < threshold if relation == "less than" else count >= threshold
