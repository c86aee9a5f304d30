"""Preparing: a pool by name -> what a study can choose from, without what leaks, and what there is to say of it.

Knows pools, queries and how tokens are counted; no study.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.core.errors import PoolError
from ablations.core.prompt import Demonstration
from ablations.core.records import Query
from ablations.datasets.overlap import Overlap, find_overlaps
from ablations.datasets.pools import BUILT_IN, STYLED, Pool, load_pool
from ablations.datasets.selection import Chooser, TokenLimits
from ablations.models.embedding import Encoder, VectorMemory
from ablations.models.registry import DEFAULT_ENCODER
from ablations.prompts.urial_file import read_urial

CHARACTERS_PER_TOKEN = 4
"""Where a server does not count tokens, they are estimated by this many characters each."""

CountTokens = Callable[[str], Awaitable[int | None]]


@dataclass(frozen=True)
class PoolSettings:
    """Settings of a pool, from a study file's `[pool]` and the flags.

    Attributes:
        name: see `load_pool`.
        encoder: a sentence-transformers model.
        max_tokens_each, max_tokens_total: limits on one demonstration and on those of one prompt, or None.
        greedy: the prompt file of a greedy search, or None.
        allow_overlap: whether demonstrations that equal an evaluation query stay.
        whole: whether they are whole conversations.
    """

    name: str = STYLED
    encoder: str = DEFAULT_ENCODER
    max_tokens_each: int | None = None
    max_tokens_total: int | None = None
    greedy: Path | None = None
    allow_overlap: bool = False
    whole: bool = False

    @property
    def limits(self) -> TokenLimits:
        """The limits together."""
        return TokenLimits(self.max_tokens_each, self.max_tokens_total)

    @property
    def limited(self) -> bool:
        """Whether tokens must be counted."""
        return self.limits != TokenLimits()


@dataclass(frozen=True)
class Prepared:
    """A pool made ready.

    Attributes:
        chooser: what chooses from it.
        overlaps: the demonstrations that equal a query; dropped unless `allowed`.
        allowed: whether they stay.
        notes: what there is to say of the pool, in sentences.
    """

    chooser: Chooser
    overlaps: tuple[Overlap, ...]
    allowed: bool
    notes: tuple[str, ...]

    @property
    def identity(self) -> dict[str, object]:
        """Everything that decides the demonstrations of a study, as plain JSON types."""
        return self.chooser.identity | {"allow_overlap": self.allowed}


async def prepare_pool(
    settings: PoolSettings,
    queries: Sequence[Query],
    built_in_queries: bool,
    seed: int,
    count_tokens: CountTokens | None,
    memory: VectorMemory | None,
) -> Prepared:
    """Return the pool without the demonstrations that leak.

    Args:
        settings: which pool, and how it is used.
        queries: the evaluation set.
        built_in_queries: whether they are the project's own: a test has compared these with the built-in pools by
            embeddings, so that texts are compared here alone.
        seed: of random draws.
        count_tokens: counts a text's tokens, or None; used where there are limits.
        memory: where embeddings are stored between runs.

    Raises:
        PoolError: the pool cannot be read, or nothing is left of it.
    """
    pool = load_pool(settings.name, settings.whole)
    encoder = Encoder(settings.encoder, memory)
    searched = read_urial(settings.greedy).demonstrations if settings.greedy else ()
    greedy = tuple(replace(one, id=f"greedy-{one.id}") for one in searched)  # told apart from the pool's own
    known = built_in_queries and pool.name in BUILT_IN and not greedy
    overlaps = find_overlaps((*pool.demonstrations, *greedy), queries, None if known else encoder)
    notes = [*pool.left_out]
    if silent := sum(not one.answer for one in pool.demonstrations):
        notes.append(f"{silent} of {len(pool.demonstrations)} demonstrations have no answer")
    if overlaps and not settings.allow_overlap:
        leaking = {overlap.demonstration for overlap in overlaps}
        pool, greedy = _without(pool, leaking), tuple(one for one in greedy if one.id not in leaking)
        notes.append(f"{len(overlaps)} demonstrations equal or nearly equal an evaluation query and are dropped")
    elif overlaps:
        notes.append(f"{len(overlaps)} demonstrations equal or nearly equal an evaluation query; --allow-overlap")
    notes += [str(overlap) for overlap in overlaps]
    lengths: dict[str, int] = {}
    if settings.limited:
        lengths, estimated = await _lengths(pool, count_tokens)
        notes += ["token counts are estimated from characters: the server does not count"] if estimated else []
    chooser = Chooser(pool, queries, encoder, settings.limits, lengths, greedy, seed)
    if chooser.too_long:
        notes.append(f"{chooser.too_long} demonstrations are longer than {settings.max_tokens_each} tokens: left out")
    total, shortest = settings.max_tokens_total, min(lengths.values(), default=0)
    if total is not None and shortest > total:
        notes.append(f"the shortest demonstration takes {shortest} tokens, and those of one prompt may take {total}")
    if not chooser.most("first") or (total is not None and shortest > total):
        raise PoolError(f"nothing is left of the pool {settings.name!r}: {'; '.join(notes)}; give another pool")
    return Prepared(chooser, tuple(overlaps), settings.allow_overlap, tuple(notes))


def _without(pool: Pool, dropped: set[str]) -> Pool:
    left = tuple(one for one in pool.demonstrations if one.id not in dropped)
    return replace(pool, demonstrations=left)


async def _lengths(pool: Pool, count_tokens: CountTokens | None) -> tuple[dict[str, int], bool]:
    """Return the tokens of each demonstration, query and answer, and whether they are estimated."""
    texts = {one.id: _text(one) for one in pool.demonstrations}
    counted = {name: await count_tokens(text) for name, text in texts.items()} if count_tokens else {}
    known = {name: count for name, count in counted.items() if count is not None}
    estimated = {name: -(-len(text) // CHARACTERS_PER_TOKEN) for name, text in texts.items() if name not in known}
    return known | estimated, bool(estimated)


def _text(one: Demonstration) -> str:
    return "\n".join(text or "" for exchange in one.exchanges for text in exchange)
