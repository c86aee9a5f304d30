"""Crossed: means over queries and draws of examples, both of which are resampled.

Knows arrays, neither frames nor figures.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from ablations.core.statistics import ENDLESS, Ends
from analysis.effects.intervals import DRAWS, Floats, Interval, mean_intervals, resampled_counts

UPPER = 0.975


def crossed_interval(values: Floats, seed: int = 0, resamples: int = DRAWS, ends: Ends = ENDLESS) -> Interval | None:
    """Return the mean of scores, or of differences, of several draws of examples with its 95 % interval.

    Args:
        values: points, shape (queries, draws); NaN where there is none.
        seed: of the generator.
        resamples: how many.
        ends: of the values, where they are known; pseudo queries are counted (`pseudo_resamples`).

    Of one draw the interval is over queries alone (`intervals.mean_intervals`), of several it is over queries and
    draws (`crossed_resamples`). None without a value; no ends below two queries.
    """
    known = ~np.isnan(values)
    drawn = np.flatnonzero(known.any(axis=0))
    if len(drawn) < 2:
        return mean_intervals(values[:, drawn], seed, resamples, ends=ends)[0] if len(drawn) else None
    own, mean = values[np.ix_(known.any(axis=1), drawn)], float(values[known].mean())
    if len(own) < 2:
        return Interval(mean, None, None, len(own))
    means = pseudo_resamples(crossed_resamples(own[:, :, None], seed, resamples), mean, len(own), ends, seed)[:, 0]
    low, high = np.quantile(means, [1 - UPPER, UPPER])
    return Interval(mean, *ends.clip(float(low), float(high)), len(own))


def crossed_resamples(values: Floats, seed: int = 0, resamples: int = DRAWS) -> Floats:
    """Return resampled means of each column, shape (resamples, columns): plain percentiles are its interval's ends.

    Args:
        values: such as differences by size, shape (queries, draws, columns); NaN where there is none, but at least one
            value a column, and two queries in all.
        seed: of the generator; all columns share the resampled queries and draws.
        resamples: how many.

    Queries and draws are resampled independently, and a cell counts as often as both together (the pigeonhole
    bootstrap of Owen 2007, Annals of Applied Statistics 1:2, which is rather too wide where draws differ query by
    query). Each resample takes one fewer than there are, so that it varies as much as the mean does (Rao and Wu 1988,
    Journal of the American Statistical Association 83:401); draws are few. For the same reason its distance to the mean
    is stretched by Student's t over the normal quantile, with Satterthwaite's degrees of freedom (1946, Biometrics
    Bulletin 2:6). One draw is not resampled. A column that has none of the resampled draws keeps all of its own.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    n, draws, columns = values.shape
    taken = resampled_counts(n, resamples, seed, n - 1)
    counted = np.ones((resamples, 1)) if draws < 2 else resampled_counts(draws, resamples, seed + 1, draws - 1)
    sums, weights, whole, of_whole = (np.zeros((resamples, columns)) for _ in range(4))
    for draw in range(draws):
        points, scored = taken @ filled[:, draw], taken @ known[:, draw]
        sums, weights = sums + counted[:, [draw]] * points, weights + counted[:, [draw]] * scored
        whole, of_whole = whole + points, of_whole + scored
    means = filled.sum(axis=(0, 1)) / known.sum(axis=(0, 1))
    found = np.where(weights > 0, sums, np.where(of_whole > 0, whole, means))
    found /= np.where(weights > 0, weights, np.where(of_whole > 0, of_whole, 1.0))
    stretched: Floats = means + (found - means) * [_stretch(values[:, :, at]) for at in range(columns)]
    return stretched


def pseudo_resamples(means: Floats, mean: Floats | float, queries: int, ends: Ends, seed: int = 0) -> Floats:
    """Return resampled means, shape (resamples, columns), with pseudo queries counted by their weight.

    Args:
        means: of the real queries.
        mean: of each column's values, shape (columns,) or one number.
        queries: how many there are.
        ends: of the values; a pseudo query has its value in every column and draw.
        seed: of the generator.

    Their part of the variance is that of `core.statistics.counted_means`: each pseudo query's distance to the middle
    has a random sign, times the root of its weight, since a part of a query cannot be drawn.
    """
    pseudo, counted = np.array(ends.pseudo)[:, None], queries + ends.counted
    total = ends.weight * pseudo.sum()
    away = pseudo - (queries * np.atleast_1d(mean) + total) / counted
    signs = np.random.default_rng([seed, queries]).choice([-1.0, 1.0], (len(means), len(pseudo)))
    drawn: Floats = (queries * means + total + np.sqrt(ends.weight) * signs @ away) / counted
    return drawn


def _stretch(values: Floats) -> float:
    """Return by how much Student's t is wider than the normal quantile for a mean of (queries, draws)."""
    known = ~np.isnan(values)
    own = values[np.ix_(known.any(axis=1), known.any(axis=0))]
    parts = [_spread_of_means(own, axis) for axis in (0, 1)]
    shares = sum(part**2 / freedom for part, freedom in parts if freedom)
    if not shares:
        return 1.0
    freedom = sum(part for part, _ in parts) ** 2 / shares
    return float(stdtrit(freedom, UPPER) / ndtri(UPPER))


def _spread_of_means(values: Floats, axis: int) -> tuple[float, int]:
    """Return the squared standard error of the mean of an axis's units, and its degrees of freedom."""
    units = values.shape[axis]
    if units < 2:
        return 0.0, 0
    means: NDArray[np.float64] = np.nanmean(values, axis=1 - axis)
    return float(means.var(ddof=1) / units), units - 1
