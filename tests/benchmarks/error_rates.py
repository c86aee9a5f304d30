"""How often intervals miss and tests err: on simulated scores, and on stored ones whose queries are drawn anew.

A stored table of scores, shape (queries, trials), is a population: a study draws queries from it, and the truth is the
table's own mean. Equal conditions draw each query's scores from all of its trials. "Before" is what reports had: for
scores from 0 to 1 Student's t with a whole pseudo query at each end of a difference, for others a bootstrap, and Holm's
correction of plain t tests.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr
from scipy.stats import beta

from ablations.core.errors import StorageError
from ablations.core.statistics import ENDLESS, Ends, Scale
from analysis.effects.families import family
from analysis.effects.intervals import Floats, mean_intervals
from analysis.frames import Scores, deciding, load_results, outcome_frames, trial_scores

RESULTS = Path(__file__).parents[1] / "fixtures" / "mlruns" / "results"
SIZES = (8, 16, 40, 80)
"""Queries of a study."""
STUDIES, FAMILIES = 2_000, 200
"""Simulated studies of a figure: for one interval, and for a family of contrasts."""
LEAST_QUERIES = 16
"""A stored table with fewer makes no families: its resamples repeat one another."""
LEAST_PAIRS = 10
"""Pairs of trials of which the worst tenth is worth a figure."""
SHARES, RATED = Ends.of(Scale(0.0, 1.0)), Ends.of(Scale(1.0, 10.0))
Bools = NDArray[np.bool_]
Figures = dict[str, float]
Draw = Callable[[np.random.Generator, tuple[int, int], Floats], Floats]
"""Takes a generator, (queries, studies) and which conditions are changed; gives scores with a last axis of these."""


@dataclass(frozen=True)
class Kind:
    """A kind of simulated scores: what they are between, and how they come about."""

    ends: Ends
    draw: Draw


def rated(level: float, between: float, within: float, shift: float = 0.0, collapsed: float = 0.0) -> Kind:
    """Return whole scores from 1 to 10; a change shifts them all, or makes a share of them collapse to 1."""

    def draw(generator: np.random.Generator, shape: tuple[int, int], changed: Floats) -> Floats:
        difficulty = generator.normal(level, between, (*shape, 1))
        scores = difficulty + shift * changed + generator.normal(0, within, (*shape, len(changed)))
        falls = generator.random(scores.shape) < collapsed * changed
        return np.where(falls, 1.0, np.clip(np.round(scores), 1, 10))

    return Kind(RATED, draw)


def binary(before: float, after: float, alike: float, answers: int = 1) -> Kind:
    """Return means of answers that are right or not: by a difficulty of the query's in a share of cases, else alone."""

    def draw(generator: np.random.Generator, shape: tuple[int, int], changed: Floats) -> Floats:
        size = (answers, *shape, len(changed))
        common = generator.random((answers, *shape, 1))
        hard = np.where(generator.random(size) < alike, common, generator.random(size))
        right: Floats = (hard < before + (after - before) * changed).mean(axis=0)
        return right

    return Kind(SHARES, draw)


def preferences(before: float, after: float) -> Kind:
    """Return scores from 0 to 1 with these means and most of their mass at both ends, as annotators' preferences."""
    grid = np.linspace(0, 1, 4_001)
    quantiles = [beta.ppf(grid, mean / 4, (1 - mean) / 4) for mean in (before, after)]

    def draw(generator: np.random.Generator, shape: tuple[int, int], changed: Floats) -> Floats:
        normal = generator.normal(size=(*shape, 1)) + generator.normal(size=(*shape, len(changed)))
        first, second = (np.interp(ndtr(normal / np.sqrt(2)), grid, values) for values in quantiles)
        return np.where(changed, second, first)

    return Kind(SHARES, draw)


KINDS: Mapping[str, Kind] = {
    "rated, 1 lower": rated(6.5, 2.0, 1.2, shift=-1.0),
    "rated, 4 lower": rated(6.5, 2.0, 1.2, shift=-4.0),
    "rated, at the ceiling, 1 lower": rated(11.0, 1.5, 1.0, shift=-1.0),
    "rated, 5 % collapse": rated(8.0, 1.0, 0.5, collapsed=0.05),
    "rated, 15 % collapse": rated(8.0, 1.0, 0.5, collapsed=0.15),
    "rated, 30 % collapse": rated(8.0, 1.0, 0.5, collapsed=0.3),
    "binary, .4 and .1": binary(0.4, 0.1, 0.8),
    "binary, .4 and .35, alike": binary(0.4, 0.35, 0.95),
    "binary, .95 and .99": binary(0.95, 0.99, 0.8),
    "half points, .4 and .1": binary(0.4, 0.1, 0.8, answers=2),
    "half points, .4 and .35, alike": binary(0.4, 0.35, 0.95, answers=2),
    "preferences, .5 and .35": preferences(0.5, 0.35),
    "preferences, .1 and .05": preferences(0.1, 0.05),
}
OF_POWER = ("rated, 1 lower", "rated, 15 % collapse", "binary, .4 and .1", "half points, .4 and .1")
OF_FAMILIES = (*OF_POWER, "preferences, .5 and .35", "preferences, .1 and .05")
CONTRASTS, CHANGED = (13, 50), 3
"""Contrasts of the families of equal conditions; of the first one, changed conditions where power is asked for."""


async def measure(results: Sequence[Path] = (RESULTS,), judgments: Path | None = None) -> dict[str, Figures]:
    """Return coverage of single intervals, family-wise error and power, each by queries, now and before.

    Args:
        results: folders in which studies' results.parquet are looked for.
        judgments: ratings in FastChat's format, one JSON object a line.

    Raises:
        StorageError: there are no such results, or no such judgments.
    """
    return await asyncio.to_thread(_measure, results, judgments)


def _measure(results: Sequence[Path], judgments: Path | None) -> dict[str, Figures]:
    tables = {**(_ratings(judgments) if judgments else {}), **dict(_stored(results))}
    figures = {f"coverage | {name}": simulated_coverage(kind) for name, kind in KINDS.items()}
    figures |= stored_coverage(tables)
    for number in CONTRASTS:
        none = np.zeros(number + 1, dtype=bool)
        for name in OF_FAMILIES:
            figures[f"family-wise error, {number} | {name}"] = _rates(*_simulated(KINDS[name], none), none[1:])
    some = np.arange(CONTRASTS[0] + 1) > CONTRASTS[0] - CHANGED
    for name in OF_POWER:
        figures[f"power | {name}"] = _rates(*_simulated(KINDS[name], some), some[1:])
    for name, (table, ends) in _largest(tables).items():
        for number in CONTRASTS:
            shown = f"family-wise error, {number} | {name}"
            figures[shown] = _rates(_equal(table, number), ends, np.zeros(number, dtype=bool))
        moves = np.abs((table[:, 1:] - table[:, :1]).mean(axis=0)) > 0
        figures[f"power | {name}, {len(moves)} contrasts"] = _rates(_resampled(table), ends, moves)
    return figures


def _ratings(path: Path) -> dict[str, tuple[Floats, Ends]]:
    """Return the ratings of a file by turn and over turns, shape (questions, models) each."""
    try:
        frame = pl.DataFrame([json.loads(line) for line in path.read_text().splitlines() if line.strip()])
        frame = frame.filter(pl.col("score") > 0)  # FastChat writes -1 where no rating was found
        found = {"ratings, both turns": frame.group_by("question_id", "model").agg(pl.col("score").mean())}
        found |= {f"ratings, turn {turn}": own for (turn,), own in frame.group_by("turn", maintain_order=True)}
        wide = {
            name: own.pivot("model", index="question_id", values="score").drop_nulls() for name, own in found.items()
        }
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise StorageError(f"judgments {path} cannot be read as FastChat's: {error}") from error
    return {
        name: (own.drop_nulls().drop("question_id").to_numpy().astype(np.float64), RATED) for name, own in wide.items()
    }


def _stored(folders: Sequence[Path]) -> Iterator[tuple[str, tuple[Floats, Ends]]]:
    """Yield the whole tables of scores of each study's outcomes: trials with a score on every query."""
    paths = sorted(path for folder in folders for path in folder.rglob("results.parquet"))
    if not paths:
        raise StorageError(
            f"no results.parquet lies in {', '.join(map(str, folders))}; give folders of studies' results"
        )
    for path in paths:
        results = load_results(path)
        for name, frame in {"score": deciding(results), **outcome_frames(results)}.items():
            scores: Scores = trial_scores(frame)
            whole = scores.values[:, ~np.isnan(scores.values).any(axis=0)]
            if whole.shape[1] > 1 and scores.ends is not ENDLESS:
                yield f"{path.parent.name} {name}", (whole, scores.ends)


def _largest(tables: Mapping[str, tuple[Floats, Ends]]) -> dict[str, tuple[Floats, Ends]]:
    """Return the tables that families are drawn from: those of enough queries and three conditions or more."""
    return {
        name: (table, ends)
        for name, (table, ends) in tables.items()
        if len(table) >= LEAST_QUERIES and (table.shape[1] > 2 or name.startswith("ratings, both"))
    }


# One interval


def _coverage(values: Floats, truth: float, ends: Ends) -> tuple[float, float]:
    """Return the share of intervals that hold the truth, now and before; values have the shape (queries, studies)."""
    of_differences = ends.differences()
    former = replace(of_differences, weight=1.0) if ends == SHARES else ENDLESS
    shares = []
    for own in (of_differences, former):
        found = [one for one in mean_intervals(values, ends=own) if one is not None]
        shares.append(float(np.mean([(one.low or 0.0) - 1e-9 <= truth <= (one.high or 0.0) + 1e-9 for one in found])))
    return shares[0], shares[1]


def _by_size(pairs: Mapping[int, tuple[float, float]]) -> Figures:
    return {f"{size}{suffix}": pair[at] for size, pair in pairs.items() for at, suffix in enumerate(("", " before"))}


def simulated_coverage(kind: Kind) -> Figures:
    """Return the coverage of an interval of the difference that a change makes."""
    changed = np.array([0.0, 1.0])
    many = kind.draw(np.random.default_rng(1), (1, 400_000), changed)[0]
    truth, pairs = float((many[:, 1] - many[:, 0]).mean()), {}
    for size in SIZES:
        scores = kind.draw(np.random.default_rng(size), (size, STUDIES), changed)
        pairs[size] = _coverage(scores[:, :, 1] - scores[:, :, 0], truth, kind.ends)
    return _by_size(pairs)


def stored_coverage(tables: Mapping[str, tuple[Floats, Ends]]) -> dict[str, Figures]:
    """Return coverage on stored scores: the mean over pairs of trials, and what nine pairs in ten reach."""
    found: dict[str, list[Mapping[int, tuple[float, float]]]] = {}
    for name, (table, ends) in tables.items():
        kind = name.rsplit(" ", 1)[1] if not name.startswith("ratings") else name
        kind = f"{kind}, 0 to 1" if ends == SHARES else kind
        studies = STUDIES if name.startswith("ratings") else STUDIES // 10
        for other in (table[:, 1:] - table[:, :1]).T:
            if np.ptp(other) > 0:
                drawn = {n: other[np.random.default_rng(n).integers(0, len(other), (n, studies))] for n in SIZES}
                pairs = {n: _coverage(own, float(other.mean()), ends) for n, own in drawn.items()}
                found.setdefault(kind, []).append(pairs)
    figures = {}
    for kind, several in found.items():
        values = np.array([[pairs[size] for size in SIZES] for pairs in several])
        for shown, shares in (("mean", values.mean(axis=0)), ("worst tenth", np.quantile(values, 0.1, axis=0))):
            if shown == "mean" or len(several) >= LEAST_PAIRS:
                title = f"coverage | {kind}, {shown} of {len(several)} pairs"
                figures[title] = _by_size(dict(zip(SIZES, map(tuple, shares.tolist()), strict=True)))
    return figures


# Families

Study = Callable[[np.random.Generator, int], Floats]
"""Takes a generator and a number of queries; gives differences from a baseline, shape (queries, contrasts)."""


def _simulated(kind: Kind, changed: Bools) -> tuple[Study, Ends]:
    def draw(generator: np.random.Generator, size: int) -> Floats:
        scores = kind.draw(generator, (size, 1), changed.astype(np.float64))[:, 0]
        return scores[:, 1:] - scores[:, :1]

    return draw, kind.ends


def _equal(table: Floats, number: int) -> Study:
    def draw(generator: np.random.Generator, size: int) -> Floats:
        rows = generator.integers(0, len(table), (size, 1))
        scores = table[rows, generator.integers(0, table.shape[1], (size, number + 1))]
        return scores[:, 1:] - scores[:, :1]

    return draw


def _resampled(table: Floats) -> Study:
    differences = table[:, 1:] - table[:, :1]
    return lambda generator, size: differences[generator.integers(0, len(table), size)]


def _rates(draw: Study, ends: Ends, asked: Bools) -> Figures:
    """Return how often a contrast that is asked for is decided, or where none is, how often any is; now and before."""
    pairs = {}
    for size in SIZES:
        generator, decided = np.random.default_rng(size), np.zeros((2, FAMILIES))
        for study in range(FAMILIES):
            values = draw(generator, size)
            found = family(values, [ends.differences()] * values.shape[1])
            now = np.array([one is not None and one.excludes_zero for one in found])
            for at, own in enumerate((now, _holm(values))):
                decided[at, study] = own[asked].mean() if asked.any() else own.any()
        pairs[size] = (float(decided[0].mean()), float(decided[1].mean()))
    return _by_size(pairs)


def _holm(values: Floats) -> Bools:
    """Return which contrasts plain t tests with Holm's correction decide at 0.05."""
    means, spread, number = values.mean(axis=0), values.std(axis=0, ddof=1), values.shape[1]
    t = np.divide(means * np.sqrt(len(values)), spread, out=np.zeros(number), where=spread > 0)
    p_values = 2 * stdtr(len(values) - 1, -np.abs(t))
    p_values[(spread == 0) & (means != 0)] = 2.0 ** (1 - len(values))
    order = np.argsort(p_values)
    small = p_values[order] < 0.05 / np.arange(number, 0, -1)
    decided = np.zeros(number, dtype=bool)
    decided[order] = np.cumprod(small).astype(bool)
    return decided
