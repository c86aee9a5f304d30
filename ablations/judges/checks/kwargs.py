"""What arguments of checks are made of: counts, and relations to them."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field


def _number(value: object) -> object:
    """Return a number as it is, and refuse texts and truth values, which would be taken for numbers."""
    if isinstance(value, bool | str):
        raise ValueError("must be a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_number), Field(ge=0)]
"""A whole number of 0 or more; tables hold it as 3.0 too."""
Count = Annotated[int, BeforeValidator(_number), Field(ge=1)]
"""A whole number of 1 or more."""
Relation = Literal["less than", "at least"]
"""How a count must compare to a threshold, in IFEval's words."""


def compares(count: int, relation: Relation, threshold: int) -> bool:
    """Whether a count is as a relation to the threshold asks.

    >>> compares(2, "less than", 3), compares(3, "less than", 3), compares(3, "at least", 3)
    (True, False, True)
    """
    return count < threshold if relation == "less than" else count >= threshold
