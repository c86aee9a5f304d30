"""Pruning: which trials of a search stop before they have seen every query, because they cannot become the best.

Knows numbers alone; `studies.greedy.racing` is for many candidates that begin together.

After every block of queries a trial's scores are compared with those of the best trial so far on the same queries. It
stops where its mean over all queries of the study is clearly below the best one's. That is a question about these very
queries, of which it has seen a random part, so the test is the one of a finite population
(`core.statistics.clearly_negative`). The level is shared out over the tests (Bonferroni).

What that costs and misses is measured by `make bench ARGS=racing`.
"""

import random
from collections.abc import Mapping, Sequence

from ablations.core.records import Query, Stop
from ablations.core.statistics import blocks, clearly_negative

LEAST, GROWTH, LEVEL = 8, 0.5, 0.3
"""Queries before the first test; size of the later blocks as a share of those before; chance, over all tests, that a
trial stops which would score the same as the best one on all queries."""


def query_blocks(queries: Sequence[Query], seed: int) -> list[list[Query]]:
    """Return the queries in the blocks in which a trial sees them, in an order that all trials of a study share."""
    left = random.Random(seed).sample(list(queries), len(queries))
    return [[left.pop() for _ in range(size)] for size in blocks(len(queries), LEAST, GROWTH)]


def stop(own: Mapping[str, float], seen: int, best: Mapping[str, float], behind: int, of: int) -> Stop | None:
    """Return why a trial stops here, or None where it continues.

    Args:
        own: scores by query, so far.
        seen: queries that the trial was asked.
        best: the best trial's scores by query.
        behind: its number.
        of: queries of the study.
    """
    differences = [score - best[query] for query, score in own.items() if query in best]
    tests = max(len(blocks(of, LEAST, GROWTH)) - 1, 1)
    if seen >= of or not clearly_negative(differences, LEVEL / tests, of):
        return None
    mean = sum(best.values()) / len(best)
    return Stop(seen, of, behind, mean + sum(differences) / len(differences))
