"""What racing costs, and how often it finds the winner of a full evaluation, on replays of a real table of scores.

The table is one round of a greedy search that ran with `--no-racing`. A replay shuffles its queries by a seed and
races the candidates on it; nothing is generated.
"""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import polars as pl

from ablations.demonstrations.racing import Scores, race
from ablations.search_plan import race_settings

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
    order = random.Random(seed).sample(range(len(current)), len(current))

    async def score(candidate: int, positions: Sequence[int]) -> Scores:
        return [table[candidate][order[position]] for position in positions]

    shuffled = [current[position] for position in order]
    found = asyncio.run(race(len(table), shuffled, score, race_settings(len(table), len(current), True)))
    means = [fmean(value for value in row if value is not None) for row in table]
    best = max(range(len(table)), key=lambda one: means[one])
    winner = best if found.winner is None else found.winner
    return winner == best, found.share, means[best] - means[winner]


async def measure(path: Path = TABLE) -> dict[str, float]:
    """Return how often replays find the winner, what they cost, and what a lost winner costs in points."""
    table, current = score_table(path)
    found = await asyncio.to_thread(lambda: [replay(table, current, seed) for seed in range(REPLAYS)])
    means = [fmean(value for value in row if value is not None) for row in table]
    return {
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
