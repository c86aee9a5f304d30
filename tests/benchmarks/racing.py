"""Cost of racing, and how often races find the winner of a full evaluation: replays of real and simulated scores.

The real table is one round of a greedy search that ran with `--no-racing`. A replay shuffles its queries and
candidates by a seed and races; nothing is generated.

A simulated table is query + candidate + residual in units of the residual's standard deviation. Rated ones are these
numbers, and their queries tell candidates apart unequally (log-normal factors with a deviation of 0.6). Graded ones are
cut into 0, 0.5 and 1: of five equal candidates all agree on half of the queries, and the residual of a score is 0.29,
which is what a search on 32 short questions with `checks` shows.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr

from ablations.core.records import Query
from ablations.studies.conditions.kind import query_blocks, stop
from ablations.studies.greedy.plan import race_settings
from ablations.studies.greedy.racing import RaceResult, RaceSettings, Scores, race

TABLE = Path(__file__).parents[1] / "fixtures" / "greedy_round.parquet"
"""Candidates, queries and scores of a round: gemma-3-270m, the reference judge."""
HARDNESS, HALF = 2.0, 0.12
"""Of graded scores: the queries' deviation, and how far from the middle the scores begin that are not 0.5."""
MEASURES = (
    "same winner",
    "winner in the truly best tenth",
    "regret",
    "true regret",
    "true gain over a mean candidate",
    "share",
    "best tested out",
)
"""What is measured of a simulated race. Regret is against the best of a full evaluation by its scores, true regret
against the truly best one."""
REPLAYS = 100
SIMULATED = 300
"""Simulated tables of each kind and size."""
SIZES = (
    (20, 8, None),
    (20, 16, None),
    (20, 24, None),
    (50, 24, None),
    (12, 32, None),
    (20, 32, None),
    (10, 16, 53),
    (8, 40, 209),
)
"""Candidates, queries, and evaluations where these are not as many as the race's own settings allow."""
LATER = ((20, 8, None), (12, 32, None))
"""Sizes that are raced as a later round too."""


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


def replay(table: list[list[float | None]], start: Scores, seed: int) -> tuple[bool, float, float]:
    """Race once; return whether the winner is that of a full evaluation, the share of its cost, and the regret."""
    generator, queries = random.Random(seed), len(start)
    order = generator.sample(range(queries), queries)
    names = generator.sample(range(len(table)), len(table))  # the first ones are the pilots
    shuffled = [[table[name][at] for at in order] for name in names]
    found = run_race(shuffled, race_settings(len(table), queries, True), [[start[at] for at in order]])
    means = [fmean(value for value in row if value is not None) for row in table]
    best = max(range(len(table)), key=lambda one: means[one])
    winner = best if found.winner is None else names[found.winner]
    return winner == best, found.share, means[best] - means[winner]


def run_race(
    table: Sequence[Scores], settings: RaceSettings | None = None, before: Sequence[Scores] = ()
) -> RaceResult:
    """Race on a table of one row a candidate."""

    async def score(candidate: int, positions: Sequence[int]) -> Scores:
        return [table[candidate][position] for position in positions]

    return asyncio.run(race(len(table), len(table[0]), score, settings, before))


@dataclass(frozen=True)
class Simulated:
    """A simulated round.

    Attributes:
        table: scores, shape (candidates, queries).
        true: expected score of each candidate on other such queries.
        before: scores of other prompts, shape (3, queries); a first round knows one, the start prompt's.
    """

    table: NDArray[np.float64]
    true: NDArray[np.float64]
    before: NDArray[np.float64]

    @classmethod
    def drawn(cls, graded: bool, candidates: int, queries: int, spread: float, seed: int) -> "Simulated":
        """Draw a round whose candidates' true means have this deviation, in units of the residual's."""
        generator = np.random.default_rng(seed)
        means = generator.normal(0, spread, (candidates + 3, 1))
        residuals = generator.normal(0, 1, (candidates + 3, queries))
        if graded:
            scores = generator.normal(-0.3, HARDNESS, queries) + means + residuals
            table = (np.greater(scores, -HALF).astype(float) + np.greater(scores, HALF)) / 2
            true = sum(ndtr((means - 0.3 + end) / np.hypot(1, HARDNESS)) for end in (-HALF, HALF)) / 2
        else:
            telling = generator.lognormal(0, 0.6, queries)
            table = generator.normal(0, 1.25, queries) + telling / np.sqrt((telling**2).mean()) * (means + residuals)
            true = means
        return cls(table[3:], true[3:, 0], table[:3])

    def raced(self, settings: RaceSettings, later: bool) -> tuple[float, ...]:
        """Race once; return the `MEASURES`."""
        found = run_race(self.table.tolist(), settings, self.before[: 3 if later else 1].tolist())
        assert found.winner is not None
        means, winner = self.table.mean(axis=1), found.winner
        regret = float(means.max() - means[winner])
        tenth = np.sort(self.true)[-max(len(self.true) // 10, 1)]
        best_tested_out = any(
            one.why == "behind the leader" and means[one.candidate] > means.max() - 1e-9 for one in found.stopped
        )
        return (
            regret < 1e-9,
            bool(self.true[winner] >= tenth),
            regret,
            float(self.true.max() - self.true[winner]),
            float(self.true[winner] - self.true.mean()),
            found.share,
            best_tested_out,
        )


def simulate(sizes: Sequence[tuple[int, int, int | None]], later: bool) -> dict[str, float]:
    """Return the `MEASURES` of races on simulated tables of these sizes."""
    figures: dict[str, float] = {}
    for candidates, queries, cost in sizes:
        settings = race_settings(candidates, queries, True)
        if cost is not None:
            settings = replace(settings, share=cost / candidates / queries)
        for graded in (False, True):
            for spread in (0.0, 0.2, 0.5):
                drawn = (Simulated.drawn(graded, candidates, queries, spread, seed) for seed in range(SIMULATED))
                measured = np.mean([one.raced(settings, later) for one in drawn], axis=0)
                name = (
                    f"{candidates} x {queries}{', a later round' if later else ''}, "
                    f"{'graded' if graded else 'rated'}, spread {spread:g}"
                )
                figures |= {f"{name}: {key}": float(value) for key, value in zip(MEASURES, measured, strict=True)}
    return figures


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
    simulated = simulate(SIZES, later=False) | simulate(LATER, later=True)
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
