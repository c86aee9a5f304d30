"""Racing: many candidates on the same queries, a few queries at a time; the hopeless ones stop early.

Knows numbers alone, neither prompts nor judges.

Three rules stop a candidate after a block of queries:

1. it is clearly behind the current prompt, or
2. clearly behind the leader, the best of those still in (F-Race: Birattari et al. 2002, GECCO; Maron and Moore 1997,
   Artificial Intelligence Review 11), or
3. the evaluations that are left have no place for it. Places fall after every block, by the same factor a query, as
   in successive halving (Karnin, Koren and Somekh 2013, ICML; Jamieson and Talwalkar 2016, AISTATS) but in smaller
   steps. They are worked out afresh from what is left, so what rules 1 and 2 save goes to the others.

Before that, a few pilots see all queries. Queries differ much in how far they tell candidates apart: where all answers
fail alike, they tell nothing. So the others see first the queries on which the pilots differ most,
which decide most of every mean.

Rule 3 bounds the cost whatever the scores are, and at a share of 1/3 it does nearly all the stopping. Rules 1 and 2
count where the share is large or most candidates are far behind.

The tests are one-sided Student-t tests on the differences over shared queries, which removes how hard a query is. The
level is shared out equally over the tests (Bonferroni), so testing often does not stop more by accident. Against the
leader it is shared out over the other candidates too: the leader is the luckiest of many, and the best candidate must
survive the comparison with whichever of them that is. Against the current prompt it is not: that is one comparison a
candidate, and the level promises that a candidate as good as the current prompt is seldom stopped.

How often the winner is that of a full evaluation at a third of its cost, in 2,500 simulated tables of 50 candidates
on 24 queries, for true means that spread by 0, 0.3 and 0.6 points around residuals of 1.2: 69, 86 and 97 %. Halving
in equal rounds: 65, 81 and 94 %; one cut after four queries: 55, 70 and 89 %. Below 20 candidates a third buys less:
of 10, the winner is found in 76 % at 0.6 points; give a larger share there.
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

from ablations.core.concurrency import together
from ablations.core.errors import UsageError
from ablations.core.statistics import blocks, clearly_negative

FINALISTS = 2
"""Where the decline of places ends."""
PILOTS = 3
"""Pilots at most: two below 30 candidates, and none where the cost has no room for them."""
GROWTH = 0.25
"""Size of a block as a share of the queries before it. One query a block finds the winner no more often, 0.5 a little
less often."""
MIN_SCORED = 0.5
"""Below this share of scored queries a candidate cannot win while others can."""

Why = Literal["behind the current prompt", "behind the leader", "outside the places left"]
Scores = Sequence[float | None]
"""One score a query, None where it has none."""
ScoreBlock = Callable[[int, Sequence[int]], Coroutine[Any, Any, Scores]]
"""Candidate, positions of queries -> its scores on them, in their order."""
_Seen = Mapping[int, float | None]


@dataclass(frozen=True)
class RaceSettings:
    """How a race is run.

    Attributes:
        least: queries that every candidate sees before the first one stops, at least 1. On 8 queries, 1 finds the
            winner of 50 more often than 2 (76 % against 65 %), because less of the share is gone by then; from 16
            queries on it hardly matters.
        level: chance, 0 to 0.5, both excluded, that a test stops a candidate which is as good as what it is tested
            against, over all tests.
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
        winner: the finished candidate with the best mean difference to the current prompt, the lower one of equals;
            None if there is no score at all.
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
    def evaluations(self) -> int:
        """Pairs of a candidate and a query that were evaluated."""
        return sum(len(seen) for seen in self.scores.values())

    @property
    def share(self) -> float:
        """Evaluations as a share of all candidates on all queries, 0 to 1."""
        return self.evaluations / (len(self.scores) * self.queries)


async def race(candidates: int, current: Scores, score: ScoreBlock, settings: RaceSettings | None = None) -> RaceResult:
    """Return who wins among the candidates 0 to `candidates` - 1, and what each of them scored.

    Args:
        candidates: their number, at least 1.
        current: the current prompt's score on every query, at least one query. Without pilots queries are seen in
            this order, so it must not be sorted by anything: shuffle them before.
        score: evaluates one candidate on some queries; all that are still in are asked at once.
        settings: the default ones where None.

    The same scores always give the same race. An error of `score` cancels the others and is raised.
    """
    settings = settings or RaceSettings()
    if candidates < 1 or not current:
        raise UsageError(f"{candidates} candidates on {len(current)} queries are no race; give at least one of each")
    left = _blocks(len(current), settings)
    budget = _budget(candidates, len(current), settings)
    tests = len(left) - 1
    scores: dict[int, dict[int, float | None]] = {candidate: {} for candidate in range(candidates)}
    pilots = range(_pilots(candidates, len(current), settings))
    everything = range(len(current))
    for one, values in zip(pilots, await together(score(one, everything) for one in pilots), strict=True):
        scores[one].update(zip(everything, values, strict=True))
    budget -= len(pilots) * len(current)
    order = _telling_first([[scores[one][at] for at in everything] for one in pilots]) if pilots else list(everything)
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
        ranked = _ranked(still, scores, current)
        level = settings.level / tests
        why = _behind(ranked, scores, current, level, level / (candidates - 1))
        ranked = [one for one in ranked if one not in why]
        why.update((one, "outside the places left") for one in ranked[_places(len(ranked), left, budget) :])
        stopped.extend(Stopped(one, first + size, reason) for one, reason in sorted(why.items()))
        still = [one for one in still if one not in why]
    return RaceResult(_winner([*pilots, *still], scores, current), len(current), scores, tuple(stopped))


def _pilots(candidates: int, queries: int, settings: RaceSettings) -> int:
    """Return how many candidates see all queries at first: as many as the cost has room for, or none if that is one."""
    if not settings.enabled:
        return 0
    least = min(settings.least, queries)
    room = settings.share * candidates * queries - _least_cost(candidates, queries, settings)
    affordable = int(room / (queries - least)) if queries > least else 0
    wanted = min(PILOTS, max(2, candidates // 10), candidates - 1, affordable)
    return wanted if wanted >= 2 else 0


def _telling_first(rows: Sequence[Scores]) -> list[int]:
    """Return the queries' positions, those on which the scores of these rows differ most first, else as they stand.

    Args:
        rows: of the pilots. The current prompt is left out, and pilots are no leaders: on queries that stand first
            because these scores are unusual, a comparison with them would be unfair.
    """

    def spread(position: int) -> float:
        known = [value for row in rows if (value := row[position]) is not None]
        return stdev(known) if len(known) > 1 else 0.0

    return sorted(range(len(rows[0])), key=spread, reverse=True)


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


def _behind(
    ranked: Sequence[int], scores: Mapping[int, _Seen], current: Scores, level: float, leader_level: float
) -> dict[int, Why]:
    """Return which candidates the tests of one block stop, and why; never the first of those still in, so never all.

    Args:
        ranked: the candidates still in, best first.
        scores: of all candidates.
        current: the current prompt's scores.
        level: of this test, against the current prompt.
        leader_level: of this test, against the leader.
    """
    leader, *others = ranked
    why: dict[int, Why] = {}
    for one in others:
        if clearly_negative(_differences(scores[one], current), level):
            why[one] = "behind the current prompt"
        elif clearly_negative(_differences(scores[one], scores[leader]), leader_level):
            why[one] = "behind the leader"
    return why


def _ranked(candidates: Sequence[int], scores: Mapping[int, _Seen], current: Scores) -> list[int]:
    """Return the candidates, best first: mean difference to the current prompt, then mean, then the lower index.

    The difference does not favour a candidate whose hard queries are the unscored ones. Those with too few scores
    come last.
    """

    def worth(candidate: int) -> tuple[bool, float, float]:
        seen = scores[candidate]
        return _enough(seen), _mean(_differences(seen, current)), _mean(_scored(seen))

    return sorted(candidates, key=worth, reverse=True)


def _winner(candidates: Sequence[int], scores: Mapping[int, _Seen], current: Scores) -> int | None:
    """Return the best candidate by `_ranked`, the lower one of equals; None without any score."""
    scored = [candidate for candidate in sorted(candidates) if _scored(scores[candidate])]
    return next(iter(_ranked(scored, scores, current)), None)


def _differences(first: _Seen, second: _Seen | Scores) -> list[float]:
    """Return first - second on the queries where both have a score."""
    return [
        value - other
        for position, value in first.items()
        if value is not None and (other := second[position]) is not None
    ]


def _scored(seen: _Seen) -> list[float]:
    return [value for value in seen.values() if value is not None]


def _enough(seen: _Seen) -> bool:
    return len(_scored(seen)) >= MIN_SCORED * len(seen)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else float("-inf")
