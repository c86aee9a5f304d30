"""Racing: many candidates on the same queries, a few queries at a time; the hopeless ones stop early.

Knows numbers alone, neither prompts nor judges.

Two rules stop a candidate after a block of queries:

1. it is clearly behind the leader, the best of those still in (F-Race: Birattari et al. 2002, GECCO; Maron and Moore
   1997, Artificial Intelligence Review 11), or
2. the evaluations that are left have no place for it. Places fall after every block, by the same factor a query, as
   in successive halving (Karnin, Koren and Somekh 2013, ICML; Jamieson and Talwalkar 2016, AISTATS) but in smaller
   steps. They are worked out afresh from what is left, so what rule 1 saves goes to the others.

Rule 2 bounds the cost whatever the scores are, and at a share of 1/3 it does nearly all the stopping. Rule 1 counts
where the share is large or many candidates are far behind.

Queries differ much in how far they tell candidates apart: where all answers fail alike, they tell nothing. Those on
which complete rows of scores differ most are seen first, since they decide most of every mean. Such rows come from
the rounds before; in a first round of many candidates a few pilots see all queries.

The test is a one-sided Student-t test of the difference to the leader over shared queries, which removes how hard a
query is. Its variance is that of the residuals of all candidates still in, after a query's and a candidate's term: one
candidate's own few differences are often alike by chance. The question is who is best on exactly these queries, so the
error shrinks as fewer of them are left. The level is shared out equally over the tests and over the other candidates
(Bonferroni): the leader is the luckiest of many, and the best candidate must survive whichever of them that is.

How often the winner is that of a full evaluation, in 300 simulated tables of scores 0, 0.5 and 1 each, where true means
spread by 0, 0.2 and 0.5 of a residual's deviation: of 20 candidates on 8 queries, at a third of the cost, 59, 58 and
62 % in a first round and 70, 71 and 72 % in a later one; of 12 on 32 queries, at half of it, 82, 87 and 94 % and later
91, 93 and 98 %. On average the winner is 0.05 (later 0.03) and 0.005 (0.002) worse than the full evaluation's. The
tests stopped the best candidate in at most 1.3 % of the benchmark's races (`make bench ARGS=racing`).
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev
from typing import Any, Literal

import numpy as np

from ablations.core.concurrency import together
from ablations.core.errors import UsageError
from ablations.core.statistics import LEAST_PAIRS, best_first, blocks, filled

FINALISTS = 2
"""Where the decline of places ends."""
PILOTS = 2
"""Candidates that see all queries at first where no other prompt has, if the cost has room for them."""
WORTH_PILOTS = 30
"""Candidates from which on pilots pay: of fewer, they take more of the cost than their order of the queries saves."""
GROWTH = 0.25
"""Size of a block as a share of the queries before it. One query a block finds the winner no more often, 0.5 a little
less often."""
MIN_SCORED = 0.5
"""Below this share of scored queries a candidate cannot win while others can."""

Why = Literal["behind the leader", "outside the places left"]
Scores = Sequence[float | None]
"""One score a query, None where it has none."""
ScoreBlock = Callable[[int, Sequence[int]], Coroutine[Any, Any, Scores]]
"""Candidate, positions of queries -> its scores on them, in their order."""
_Seen = Mapping[int, float | None]
_NO_SPREAD = 1e-9
"""Residuals that are all alike stop nobody: they do not say how far the next one may lie from them."""


@dataclass(frozen=True)
class RaceSettings:
    """How a race is run.

    Attributes:
        least: queries that every candidate sees before the first one stops, at least 1. On 8 queries, 1 finds the
            winner more often than 2, because less of the share is gone by then; from 16 queries on it hardly matters.
        level: chance, 0 to 0.5, both excluded, that the tests stop the best candidate.
        share: evaluations at most, as a share of all candidates on all queries, above 0, up to 1. It is exceeded
            only where `least` queries for all and the rest for two finalists cost more: never with 20 candidates or
            more on 8 queries or more at the default settings.
        enabled: False runs every candidate to the end.
    """

    least: int = 2
    level: float = 0.05
    share: float = 1 / 3
    enabled: bool = True

    def __post_init__(self) -> None:
        if self.least < 1:
            raise UsageError(f"a race's least number of queries is {self.least!r}; give 1 or more")
        if not 0 < self.level < 0.5:
            raise UsageError(f"a race's level is {self.level!r}; give a number between 0 and 0.5, such as 0.05")
        if not 0 < self.share <= 1:
            raise UsageError(f"a race's share is {self.share!r}; give a number above 0, up to 1, such as 0.333")


@dataclass(frozen=True)
class Stopped:
    """A candidate that was stopped after so many queries, and why."""

    candidate: int
    after: int
    why: Why


@dataclass(frozen=True)
class RaceResult:
    """Result of a race.

    Attributes:
        winner: the best of the finished candidates (`best_first`), the lower one of equals; None if there is no score
            at all.
        queries: that each candidate could see.
        scores: candidate -> position of a query -> score, for what was evaluated.
        stopped: in the order in which they were.
    """

    winner: int | None
    queries: int
    scores: dict[int, dict[int, float | None]]
    stopped: tuple[Stopped, ...]

    @property
    def finished(self) -> tuple[int, ...]:
        """The candidates that saw all queries."""
        return tuple(candidate for candidate, seen in self.scores.items() if len(seen) == self.queries)

    @property
    def runner_up(self) -> int | None:
        """The best of the other candidates that saw all queries, or None if none of them has a score."""
        others = [one for one in self.finished if one != self.winner]
        return _first(_ranked(others, self.scores), self.scores)

    def row(self, candidate: int) -> list[float | None]:
        """Return a finished candidate's score on every query, in their order."""
        return [self.scores[candidate][at] for at in range(self.queries)]

    @property
    def evaluations(self) -> int:
        """Pairs of a candidate and a query that were evaluated."""
        return sum(len(seen) for seen in self.scores.values())

    @property
    def share(self) -> float:
        """Evaluations as a share of all candidates on all queries, 0 to 1."""
        return self.evaluations / (len(self.scores) * self.queries)


async def race(
    candidates: int,
    queries: int,
    score: ScoreBlock,
    settings: RaceSettings | None = None,
    before: Sequence[Scores] = (),
) -> RaceResult:
    """Return who wins among the candidates 0 to `candidates` - 1, and what each of them scored.

    Args:
        candidates: their number, at least 1.
        queries: their number, at least 1. Where nothing tells them apart they are seen in their order, so it must not
            be sorted by anything: shuffle them before.
        score: evaluates one candidate on some queries; all that are still in are asked at once.
        settings: the default ones where None.
        before: other prompts' scores on all queries, such as those of the rounds before.

    The same scores always give the same race. An error of `score` cancels the others and is raised.
    """
    settings = settings or RaceSettings()
    if candidates < 1 or queries < 1:
        raise UsageError(f"{candidates} candidates on {queries} queries are no race; give at least one of each")
    left = _blocks(queries, settings)
    budget = _budget(candidates, queries, settings)
    level = settings.level / max((len(left) - 1) * (candidates - 1), 1)
    scores: dict[int, dict[int, float | None]] = {candidate: {} for candidate in range(candidates)}
    pilots = range(0 if len(before) >= PILOTS else _pilots(candidates, queries, settings))
    everything = range(queries)
    for one, values in zip(pilots, await together(score(one, everything) for one in pilots), strict=True):
        scores[one].update(zip(everything, values, strict=True))
    budget -= len(pilots) * queries
    order = _telling_first([*before, *(list(scores[one].values()) for one in pilots)], queries)
    still, stopped = list(range(len(pilots), candidates)), list[Stopped]()
    while left:
        size = left.pop(0)
        if len(still) == 1:
            size, left = size + sum(left), []
        first = len(scores[still[0]])
        positions = order[first : first + size]
        for candidate, values in zip(still, await together(score(one, positions) for one in still), strict=True):
            scores[candidate].update(zip(positions, values, strict=True))
        budget -= size * len(still)
        if not left:
            break
        ranked = _ranked(still, scores)
        why: dict[int, Why] = dict.fromkeys(_behind(ranked, scores, queries, level), "behind the leader")
        ranked = [one for one in ranked if one not in why]
        why.update((one, "outside the places left") for one in ranked[_places(len(ranked), left, budget) :])
        stopped.extend(Stopped(one, first + size, reason) for one, reason in sorted(why.items()))
        still = [one for one in still if one not in why]
    return RaceResult(_first(_ranked([*pilots, *still], scores), scores), queries, scores, tuple(stopped))


def _pilots(candidates: int, queries: int, settings: RaceSettings) -> int:
    """Return how many candidates see all queries at first."""
    if not settings.enabled or candidates < WORTH_PILOTS:
        return 0
    least = min(settings.least, queries)
    room = settings.share * candidates * queries - _least_cost(candidates, queries, settings)
    return PILOTS if room >= PILOTS * (queries - least) > 0 else 0


def _telling_first(rows: Sequence[Scores], queries: int) -> list[int]:
    """Return the queries' positions, those on which the scores of these rows differ most first, else as they stand.

    No candidate is compared with pilots before the end: on queries that stand first because the pilots' scores are
    unusual, that would be unfair.
    """

    def spread(position: int) -> float:
        known = [value for row in rows if (value := row[position]) is not None]
        return stdev(known) if len(known) > 1 else 0.0

    return sorted(range(queries), key=spread, reverse=True)


def _blocks(queries: int, settings: RaceSettings) -> list[int]:
    """Return the sizes of the blocks, all queries together."""
    return blocks(queries, settings.least, GROWTH) if settings.enabled else [queries]


def _budget(candidates: int, queries: int, settings: RaceSettings) -> int:
    """Return the most evaluations that the race may cost."""
    if not settings.enabled:
        return candidates * queries
    return max(int(settings.share * candidates * queries), _least_cost(candidates, queries, settings))


def _least_cost(candidates: int, queries: int, settings: RaceSettings) -> int:
    """Return what the least number of queries for all and the rest for the finalists cost."""
    least = min(settings.least, queries)
    return candidates * least + min(candidates, FINALISTS) * (queries - least)


def _places(still: int, blocks: Sequence[int], budget: int) -> int:
    """Return how many of those still in may continue: the most whose steady decline the evaluations left can pay.

    The decline ends at two, or at half of what is left for each query if that is fewer, so that with little left
    more than two still continue at first. At least one can always be paid: the race's budget has room for it, and no
    decline that was paid for ended below one.
    """
    queries = sum(blocks)
    last = max(1.0, min(FINALISTS, budget / queries / 2))

    def cost(places: int) -> float:
        total, done = 0.0, 0
        for size in blocks:
            total += size * places * min(1.0, last / places) ** (done / queries)
            done += size
        return total

    return next((places for places in range(still, 1, -1) if cost(places) <= budget), 1)


def _behind(ranked: Sequence[int], scores: Mapping[int, _Seen], queries: int, level: float) -> list[int]:
    """Return which candidates the test of one block stops; never the first of those still in, so never all.

    Args:
        ranked: the candidates still in, best first; all saw the same queries.
        scores: of all candidates.
        queries: in all.
        level: of this test.
    """
    scored = [one for one in ranked if _scored(scores[one])]
    if not scored:
        return []
    values = np.array([list(scores[one].values()) for one in scored], dtype=np.float64).T  # None becomes NaN
    values = values[~np.isnan(values).all(axis=1)]
    counts, table = (~np.isnan(values)).sum(axis=0), filled(values)
    means = table.mean(axis=0)
    residuals = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    df = int(counts.sum()) - sum(values.shape) + 1
    if df < LEAST_PAIRS - 1 or (variance := float((residuals**2).sum()) / df) < _NO_SPREAD:
        return []
    from scipy.special import stdtr  # here, because scipy takes long to import

    unseen = 1 - len(scores[scored[0]]) / queries
    errors = np.sqrt(variance * unseen * (1 / counts + 1 / counts[0]))
    chances = stdtr(df, (means - means[0]) / errors)
    return [one for one, chance in zip(scored[1:], chances[1:], strict=True) if chance < level]


def _ranked(candidates: Sequence[int], scores: Mapping[int, _Seen]) -> list[int]:
    """Return the candidates, best first; of equals the lower one, and last those with too few scores."""
    known = {
        one: {str(at): value for at, value in scores[one].items() if value is not None} for one in sorted(candidates)
    }
    ranked = best_first(known)
    return sorted([*ranked, *(one for one in known if not known[one])], key=lambda one: not _enough(scores[one]))


def _first(ranked: Sequence[int], scores: Mapping[int, _Seen]) -> int | None:
    """Return the first of the ranked candidates, or None if it has no score, since those come last."""
    return ranked[0] if ranked and _scored(scores[ranked[0]]) else None


def _scored(seen: _Seen) -> list[float]:
    return [value for value in seen.values() if value is not None]


def _enough(seen: _Seen) -> bool:
    return len(_scored(seen)) >= MIN_SCORED * len(seen)
