"""Families of contrasts: one p-value and one simultaneous interval for each, which cannot contradict each other.

Knows arrays of values by query, neither frames nor what a contrast compares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from ablations.core.statistics import Ends, counted_means
from analysis.effects.intervals import SAME, Floats

_INSIDE = 1 - 1e-9
"""Of the distance to 0: how far a rounded end may lie from it at most where the test has decided otherwise."""


@dataclass(frozen=True)
class Estimate:
    """The mean of a contrast over queries, as one of a family.

    Attributes:
        value: mean over the queries, in points of the scale.
        low, high: interval; those of the whole family hold together with the family's level.
        p_value: of the mean being 0, of this contrast alone.
        p_family: the same, corrected for all contrasts of the family; below 1 − level exactly where the interval
            excludes 0.
        n: queries with a value.

    All but value and n are None below two queries, and where all values are equal and their ends are not known: they
    say nothing of how far the next one may lie from them.
    """

    value: float
    low: float | None
    high: float | None
    p_value: float | None
    p_family: float | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def family(values: Floats, ends: Sequence[Ends], level: float = 0.95, size: int = 0) -> list[Estimate | None]:
    """Return the estimate of each contrast of a family; None for a contrast without a value.

    Args:
        values: each query's value of each contrast, such as a difference of scores, shape (queries, contrasts); NaN
            where a query has none.
        ends: of each contrast's values, length contrasts.
        level: at which all intervals hold together, 0 to 1.
        size: of the family, where more contrasts were looked at than are here, such as those that a search stopped.

    Each contrast is tested by Student's t, in which pseudo queries count (`core.statistics.Ends`). Šidák's correction
    (1967, Journal of the American Statistical Association 62:318) makes m p-values into 1 − (1 − p)^m and gives each
    interval the level level^(1 / m); contrasts that cannot be tested do not count. It is enough for normal contrasts of
    any correlation, and for contrasts of different queries. Critical values from draws of the largest statistic decide
    one to three effects more in a hundred and are wrong in up to 6 % of studies of equal conditions; from sign flips
    of the values themselves they decide more still, and their intervals cover too rarely.

    Raises:
        ValueError: there are not as many ends as contrasts, or the level is not between 0 and 1.

    >>> values = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, -1.0]])
    >>> found = family(values, [Ends(-1.0, 1.0, (-1.0, 1.0), 0.5)] * 2)
    >>> [one and (one.value, one.excludes_zero) for one in found]
    [(0.75, False), (-0.25, False)]
    """
    if values.ndim != 2 or values.shape[1] != len(ends):
        raise ValueError(f"values of the shape {values.shape} have one pair of ends a contrast, and not {len(ends)}")
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, and this is {level}")
    known = [column[~np.isnan(column)] for column in values.T]
    number = max(sum(_testable(own, one) for own, one in zip(known, ends, strict=True)), size)
    return [_estimate(own, one, level, number) for own, one in zip(known, ends, strict=True)]


def _testable(values: Floats, ends: Ends) -> bool:
    """Return whether these values, without NaN, say how far the next one may lie from them."""
    return len(values) > 1 and bool(ends.pseudo or np.ptp(values) > SAME)


def _estimate(values: Floats, ends: Ends, level: float, number: int) -> Estimate | None:
    """Return the estimate of one of so many contrasts; its values are without NaN."""
    if len(values) == 0:
        return None
    mean = float(values.mean())
    if not _testable(values, ends):
        return Estimate(mean, None, None, None, None, len(values))
    (middle,), (error,), freedom = counted_means(values[:, None], ends)
    p_value = 2 * float(stdtr(freedom, -abs(middle) / error))
    p_family = max(p_value, -float(np.expm1(number * np.log1p(-min(p_value, _INSIDE)))))
    critical = -float(np.expm1(np.log(level) / number))
    half, away = -float(stdtrit(freedom, critical / 2)) * error, abs(middle)
    # test and interval have the same critical value: the bounds only undo the rounding of a mean that lies on it
    half = min(half, away * _INSIDE) if p_family < 1 - level else max(half, away)
    low, high = ends.clip(float(middle - half), float(middle + half))
    return Estimate(mean, low, high, p_value, p_family, len(values))
