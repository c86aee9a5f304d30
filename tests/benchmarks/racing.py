"""Cost of racing, and how often races find the winner of a full evaluation: replays of real and simulated scores.

The real table is one round of a greedy search that ran with `--no-racing`. A replay shuffles its queries and
candidates by a seed and races; nothing is generated. A simulated table is query + candidate + residual, in points; its
queries tell candidates apart equally much, or unequally (log-normal factors with a deviation of 0.6).
"""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import polars as pl

from ablations.core.records import Query
from ablations.studies.conditions.kind import query_blocks, stop
from ablations.studies.greedy.plan import race_settings
from ablations.studies.greedy.racing import Scores, race

TABLE = Path(__file__).parents[1] / "fixtures" / "greedy_round.parquet"
"""Candidates, queries and scores of a round: gemma-3-270m, the reference judge."""
REPLAYS = 100


def score_table(path: Path) -> tuple[list[list[float | None]], list[float | None]]:
    """Return the scores of each candidate, and the start prompt's, in one order of the queries."""
    frame = pl.read_parquet(path)
    queries = sorted(frame.get_column("query_id").unique())
    scores: dict[int, dict[str, float | None]] = {}
    for trial, query, score in frame.select("trial", "query_id", "score").iter_rows():
        scores.setdefault(trial, {})[query] = score
    start = min(scores)
    table = [[scores[trial].get(query) for query in queries] for trial in sorted(scores) if trial != start]
    return table, [scores[start].get(query) for query in queries]


def replay(table: list[list[float | None]], current: Sequence[float | None], seed: int) -> tuple[bool, float, float]:
    """Race once; return whether the winner is that of a full evaluation, the share of its cost, and the regret."""
    generator = random.Random(seed)
    order = generator.sample(range(len(current)), len(current))
    names = generator.sample(range(len(table)), len(table))  # the first ones are the pilots

    async def score(candidate: int, positions: Sequence[int]) -> Scores:
        return [table[names[candidate]][order[position]] for position in positions]

    shuffled = [current[position] for position in order]
    found = asyncio.run(race(len(table), shuffled, score, race_settings(len(table), len(current), True)))
    means = [fmean(value for value in row if value is not None) for row in table]
    best = max(range(len(table)), key=lambda one: means[one])
    winner = best if found.winner is None else names[found.winner]
    return winner == best, found.share, means[best] - means[winner]


def simulate(spread: float, unequal: bool, seed: int, candidates: int = 50, queries: int = 24) -> bool:
    """Race on one simulated table; return whether the winner is that of a full evaluation."""
    generator = np.random.default_rng(seed)
    telling = generator.lognormal(0, 0.6 if unequal else 0.0, queries)
    telling /= np.sqrt((telling**2).mean())
    query = generator.normal(6.0, 1.5, queries)
    means = generator.normal(0.0, spread, (candidates, 1))
    table = query + telling * (means + generator.normal(0.0, 1.2, (candidates, queries)))
    current = query + telling * generator.normal(0.0, 1.2, queries)
    return replay(table.tolist(), current.tolist(), seed)[0]


def search(table: np.ndarray, seed: int) -> tuple[bool, bool, float]:
    """Replay a search that stops hopeless trials.

    Returns:
        Whether its winner is that of a full evaluation, whether it is that or one whose mean lies within the 95 %
        interval of the difference to it, and the share of the evaluations that were made.
    """
    generator = np.random.default_rng(seed)
    trials, queries = table.shape
    order, names = generator.permutation(trials), [str(query) for query in range(queries)]
    blocks = [[int(query.id) for query in some] for some in query_blocks([_query(name) for name in names], seed)]
    best, evaluated = int(order[0]), queries
    for trial in order[1:]:
        seen: list[int] = []
        for some in blocks:
            seen += some
            theirs = dict(zip(names, table[best].tolist(), strict=True))
            own = {names[query]: float(table[trial, query]) for query in seen}
            if stop(own, len(seen), theirs, best, queries) is not None:
                break
        evaluated += len(seen)
        if len(seen) == queries and table[trial].mean() > table[best].mean():
            best = int(trial)
    winner = int(table.mean(axis=1).argmax())
    behind = table[winner] - table[best]
    within = behind.mean() <= 1.99 * behind.std(ddof=1) / np.sqrt(queries)
    return best == winner, bool(best == winner or within), evaluated / table.size


def _query(name: str) -> Query:
    return Query(id=name, category="", turns=("?",), references=())


def _searches(tables: Sequence[np.ndarray], name: str) -> dict[str, float]:
    found = [search(table, seed) for seed, table in enumerate(tables)]
    return {
        f"{name}: same winner": fmean(one[0] for one in found),
        f"{name}: same, or within its interval": fmean(one[1] for one in found),
        f"{name}: share of the evaluations": fmean(one[2] for one in found),
    }


async def measure(path: Path = TABLE) -> dict[str, float]:
    """Return how often replays find the winner, what they cost, and what a lost winner costs in points."""
    return await asyncio.to_thread(_measure, path)  # every race has an event loop of its own


def _measure(path: Path) -> dict[str, float]:
    table, current = score_table(path)
    found = [replay(table, current, seed) for seed in range(REPLAYS)]
    means = [fmean(value for value in row if value is not None) for row in table]
    simulated = {
        f"simulated, {'unequal' if unequal else 'equal'} queries, spread {spread:g}: same winner": fmean(
            simulate(spread, unequal, seed) for seed in range(REPLAYS)
        )
        for unequal in (False, True)
        for spread in (0.0, 0.3, 0.6)
    }
    generator = np.random.default_rng(0)
    for spread in (0.0, 0.2, 0.4):
        tables = [
            generator.normal(5, 2, 80) + generator.normal(0, spread, (100, 1)) + generator.normal(0, 1.3, (100, 80))
            for _ in range(REPLAYS)
        ]
        simulated |= _searches(tables, f"search, simulated, 100 trials x 80 queries, spread {spread:g}")
    real = np.array([row for row in table if None not in row], dtype=np.float64)
    simulated |= _searches([real] * REPLAYS, f"search, greedy round, {real.shape[0]} trials x {real.shape[1]} queries")
    return simulated | {
        "candidates": len(table),
        "queries": len(current),
        "replays": REPLAYS,
        "same winner": fmean(same for same, _, _ in found),
        "same winner in the first ten": sum(same for same, _, _ in found[:10]),
        "share of full evaluations": fmean(share for _, share, _ in found),
        "largest share": max(share for _, share, _ in found),
        "mean regret, points": fmean(regret for _, _, regret in found),
        "lead of the best over the second, points": sorted(means)[-1] - sorted(means)[-2],
    }
