"""Looks: how a comparison on the same queries is stopped early, and how often it may be looked at.

Knows numbers alone, neither prompts nor judges.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from scipy.special import stdtr

LEAST_PAIRS = 4
"""Differences that a test needs: with fewer, rounded scores that happen to agree look like certainty."""
_NO_SPREAD = 1e-9


def blocks(queries: int, least: int, growth: float) -> list[int]:
    """Return the sizes of the blocks in which queries are seen, all queries together.

    Args:
        queries: their number, at least 1.
        least: size of the first block, at least 1.
        growth: size of any other as a share of the queries before it, above 0.

    >>> blocks(24, 2, 0.25)
    [2, 1, 1, 1, 1, 2, 2, 2, 3, 4, 5]
    """
    sizes = [min(least, queries)]
    while (seen := sum(sizes)) < queries:
        sizes.append(min(max(1, round(growth * seen)), queries - seen))
    return sizes


def clearly_negative(differences: Sequence[float], level: float, of: int | None = None) -> bool:
    """Return whether the mean is below 0 by a one-sided Student-t test.

    Args:
        differences: one a query that both sides have a score on.
        level: of this look, 0 to 1.
        of: number of queries in all, where the question is not the mean over queries like these but over exactly
            these: the standard error then has the factor sqrt(1 - n / of) of a sample without replacement (Cochran
            1977, Sampling Techniques, section 2.6). None asks for queries like these.

    Differences that are all alike stop nobody: they do not say how far the next one may lie from them.
    """
    n = len(differences)
    if n < LEAST_PAIRS or (spread := stdev(differences)) < _NO_SPREAD:
        return False
    if of is not None:
        if n >= of:
            return fmean(differences) < 0
        spread *= math.sqrt(1 - n / of)
    return float(stdtr(n - 1, fmean(differences) / spread * math.sqrt(n))) < level
