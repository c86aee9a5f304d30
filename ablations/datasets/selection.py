"""Choosing: which demonstrations of a pool a condition shows, to all queries or to each its own.

Knows pools, queries and embeddings; neither prompts nor studies. Whatever is random is drawn by the study's seed and
the number of the draw, so that it is the same everywhere.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ablations.core.condition import content_hash
from ablations.core.errors import ConditionError
from ablations.core.prompt import Demonstration
from ablations.core.records import Query
from ablations.datasets.pools import Pool
from ablations.models.embedding import Encoder
from ablations.prompts.components import Chosen, check_component


@dataclass(frozen=True)
class TokenLimits:
    """How long demonstrations may be, in tokens of the model: each of them, and all of one prompt. None is no limit."""

    each: int | None = None
    total: int | None = None


@dataclass
class Chooser:
    """Chooses demonstrations by one of `SOURCES`.

    Attributes:
        pool: to choose from, without what leaks.
        queries: those that retrieval may be asked for.
        encoder: of the embeddings, which diversity and retrieval need.
        limits: on lengths, and
        lengths: the tokens of each demonstration by id; one that is not listed has no length.
        greedy: the demonstrations of a greedy search, in its order; the latest found stands first.
        seed: of all draws.
    """

    pool: Pool
    queries: Sequence[Query] = ()
    encoder: Encoder = field(default_factory=Encoder)
    limits: TokenLimits = TokenLimits()
    lengths: Mapping[str, int] = field(default_factory=dict)
    greedy: tuple[Demonstration, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        each = self.limits.each
        self._short = [one for one in self.pool.demonstrations if each is None or self.lengths.get(one.id, 0) <= each]
        self._known: dict[tuple[str, int, int], Chosen] = {}

    @property
    def everything(self) -> tuple[Demonstration, ...]:
        """The whole pool."""
        return self.pool.demonstrations

    @property
    def styled(self) -> bool:
        """Whether the pool has its demonstrations in several styles."""
        return self.pool.styled

    @property
    def too_long(self) -> int:
        """How many demonstrations of the pool are longer than `limits.each`."""
        return len(self.pool.demonstrations) - len(self._short)

    @property
    def identity(self) -> dict[str, object]:
        """Everything that decides the choice, as plain JSON types."""
        return {
            "pool": self.pool.identity,
            "limits": [self.limits.each, self.limits.total],
            "lengths": content_hash(dict(self.lengths)) if self.limits != TokenLimits() else None,
            "encoder": self.encoder.identity,
            "greedy": content_hash([[one.query, one.answer] for one in self.greedy]) if self.greedy else None,
        }

    def most(self, source: str) -> int:
        """Return the largest number that `source` can be asked for."""
        return len(self.greedy) if source == "greedy" else len(self._short)

    def choose(self, source: str, count: int, draw: int = 0) -> Chosen:
        """Return `count` demonstrations for all queries, or up to `count` for each query.

        Args:
            source: `first` (the pool's order), `random`, `diverse` (the demonstration nearest to the middle of each of
                `count` clusters of embeddings), `greedy` (what the search had found when it had `count`), `retrieved`
                (for each query the nearest, most similar last, up to the limits; Han 2023), or `random-per-query`
                (for each query as many random ones as `retrieved` shows it, whatever they take together).
            count: 0 or more.
            draw: which of several random draws, 0 or more.

        Raises:
            ConditionError: an unknown source, or more than there are.
        """
        check_component("source", source)
        if count > self.most(source):
            of = "prompt of the greedy search" if source == "greedy" else f"pool {self.pool.name!r}"
            raise ConditionError(
                f"shots = {count} is out of range; the {of} has 0 to {self.most(source)}; lower it, or give a "
                "larger pool"
            )
        key = (source, count, draw)
        if key not in self._known:
            self._known[key] = self._choose(source, count, draw) if count else Chosen()
        return self._known[key]

    def sample(self, count: int) -> tuple[Demonstration, ...]:
        """Return a seeded sample of the pool, each within its limit, whatever they take together."""
        return tuple(self._shuffled(0)[:count])

    def _choose(self, source: str, count: int, draw: int) -> Chosen:
        if source == "first":
            return Chosen(self._filled(self._short[:count]))
        if source == "random":
            return Chosen(self._filled(self._shuffled(draw)[:count]))
        if source == "diverse":
            return Chosen(self._filled(self._diverse(count)))
        if source == "greedy":
            return Chosen(self.greedy[-count:])
        if source == "random-per-query":
            nearest = self.choose("retrieved", count).by_query
            return Chosen(by_query=tuple((query, self._others(query, draw, len(of))) for query, of in nearest))
        return Chosen(by_query=tuple(self._nearest(count)))

    def _nearest(self, count: int) -> Iterator[tuple[str, tuple[Demonstration, ...]]]:
        """Yield each query's id with the nearest demonstrations to its first turn, most similar last."""
        vectors = self.encoder.encode([one.query for one in self.pool.demonstrations])
        short = {one.id for one in self._short}
        for query in self.queries:
            cosines = vectors @ self.encoder.encode([query.turns[0]])[0]
            ranked = [self.pool.demonstrations[position] for position in np.argsort(-cosines, kind="stable")[:count]]
            yield query.id, self._filled([one for one in ranked if one.id in short])[::-1]

    def _others(self, query: str, draw: int, count: int) -> tuple[Demonstration, ...]:
        return tuple(random.Random(f"{self.seed}|{draw}|{query}").sample(self._short, count))

    def _shuffled(self, draw: int) -> list[Demonstration]:
        return random.Random(f"{self.seed}|{draw}").sample(self._short, len(self._short))

    def _diverse(self, count: int) -> list[Demonstration]:
        from sklearn.cluster import KMeans

        vectors = self.encoder.encode([one.query for one in self._short])
        clusters = KMeans(n_clusters=count, n_init=10, random_state=self.seed)
        distances = clusters.fit_transform(vectors)  # shape (demonstrations, clusters)
        taken: list[int] = []
        for centre in range(count):  # two centres may lie next to one demonstration
            order = np.argsort(distances[:, centre], kind="stable")
            taken.append(next(int(position) for position in order if int(position) not in taken))
        return [self._short[position] for position in sorted(taken)]

    def _filled(self, ordered: Iterable[Demonstration]) -> tuple[Demonstration, ...]:
        """Return those that fit into the total, one after the other; one that does not fit is passed over."""
        fitting: list[Demonstration] = []
        used = 0
        for one in ordered:
            length = self.lengths.get(one.id, 0)
            if self.limits.total is None or used + length <= self.limits.total:
                fitting.append(one)
                used += length
        return tuple(fitting)
