"""Crossover: the number of examples from which tuning on them beats showing them.

Knows differences by size; draws nothing.
"""

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
import polars as pl

from ablations.core.statistics import ENDLESS, Ends
from analysis.demonstrations.crossed import UPPER, crossed_resamples, pseudo_resamples
from analysis.demonstrations.sizes import OVER_BOTH, OVER_QUERIES, paired_groups, size_table
from analysis.effects.intervals import Floats
from analysis.frames import ends_of

CROSSOVER_SCHEMA = {
    **dict.fromkeys(("pool", "group"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    **dict.fromkeys(("sizes", "smallest", "largest"), pl.Int64),
    **dict.fromkeys(("below", "above"), pl.Float64),
    **dict.fromkeys(("sign_changes", "draws", "n"), pl.Int64),
    **dict.fromkeys(("over", "verdict"), pl.String),
}
UNDECIDABLE = "not decidable with this data"
LEAST_QUERIES = 6
"""Fewer are not resampled: most resamples would repeat one another."""


def crossover(results: pl.DataFrame) -> pl.DataFrame:
    """Return at how many examples IFT overtakes ICL, by pool and group.

    Columns: pool, group, value (examples; null where it lies outside the sizes), low, high (95 %; null where the
    interval reaches beyond the sizes), sizes (numbers of examples that both ways have, with two queries
    or more), smallest, largest (of them),
    below, above (share of resamples in which IFT is ahead at every size, and in which it is at none), sign_changes (of
    the differences from size to size), draws, n (queries), over (what is resampled), verdict (a sentence). The rule
    for one set of differences is in `crossings`; the resamples are those of `crossed.crossed_resamples`.
    """
    rows, ends = [], ends_of(results).differences()
    for pool, group, own in paired_groups(results):
        sizes, values = _telling(*size_table(own))
        queries, draws = values.shape[:2]
        differences = np.nanmean(values, axis=(0, 1)) if sizes else np.zeros(0)
        signs = np.sign(differences[differences != 0])
        changes = int((signs[1:] != signs[:-1]).sum())
        counts = (changes, draws, queries, OVER_BOTH if draws > 1 else OVER_QUERIES)
        span = (len(sizes), min(sizes, default=None), max(sizes, default=None))
        if why := _lacking(sizes, differences, queries):
            rows.append((pool, group, None, None, None, *span, None, None, *counts, f"{UNDECIDABLE}: {why}"))
            continue
        (value, low, high), shares = crossing_interval(values, sizes, ends=ends)
        verdict = _verdict(value, low, high, sizes) + _caution(changes)
        found = (_examples(end) for end in (value, low, high))
        rows.append((pool, group, *found, *span, *shares, *counts, verdict))
    return pl.DataFrame(rows, schema=CROSSOVER_SCHEMA, orient="row")


def crossing_interval(
    values: Floats, sizes: Sequence[int], seed: int = 0, ends: Ends = ENDLESS
) -> tuple[tuple[float, float, float], tuple[float, float]]:
    """Return where differences cross 0 with its 95 % interval, and the shares of resamples beyond the sizes.

    Args:
        values: IFT minus ICL, shape (queries, draws, sizes), NaN where there is none; two queries and sizes or more.
        sizes: numbers of examples, ascending.
        seed: of the generator.
        ends: of the differences, where they are known; pseudo queries are counted.

    Returns (value, low, high) in doublings, infinite where they lie outside the sizes, and (below, above).
    """
    doublings = np.log2(np.array(sizes, dtype=np.float64))
    means = np.nanmean(values, axis=(0, 1))
    (value,) = crossings(means[None, :], doublings)
    resampled = pseudo_resamples(crossed_resamples(values, seed), means, len(values), ends, seed)
    drawn = crossings(resampled, doublings)
    low = float(np.quantile(drawn, 1 - UPPER, method="lower"))  # ends are infinite, and not interpolated
    high = float(np.quantile(drawn, UPPER, method="higher"))
    return (float(value), low, high), (float((drawn == -np.inf).mean()), float((drawn == np.inf).mean()))


def crossings(differences: Floats, doublings: Floats) -> Floats:
    """Return where differences turn positive for good, in doublings, shape (resamples,).

    Args:
        differences: IFT minus ICL, shape (resamples, sizes), two sizes or more.
        doublings: log2 of the sizes, ascending.

    IFT's lead is taken to grow with the size: differences that fall are first replaced by the closest ones that do not
    (`isotonic`), so that there is one zero, which is interpolated. −inf where the lead is positive at every size, inf
    where it is at none.

    >>> crossings(np.array([[-1.0, 1.0, 2.0], [1.0, 2.0, 3.0], [-2.0, -1.0, 0.0]]), np.array([1.0, 2.0, 3.0])).tolist()
    [1.5, -inf, inf]
    """
    rising = isotonic(differences)
    behind = (rising <= 0).sum(axis=1)  # sizes at which IFT is not ahead: the first ones
    inside = (behind > 0) & (behind < len(doublings))
    found = np.where(behind == 0, -np.inf, np.inf)
    last = behind[inside] - 1
    own = rising[inside]
    rows = np.arange(len(own))
    start, end = own[rows, last], own[rows, last + 1]
    found[inside] = doublings[last] - start / (end - start) * (doublings[last + 1] - doublings[last])
    return found


def isotonic(values: Floats) -> Floats:
    """Return the rows' closest (least squares) values that never fall from left to right.

    The max-min formula of isotonic regression (Robertson, Wright and Dykstra 1988, Order Restricted Statistical
    Inference, section 1.4): at each place the largest, over starts up to it, of the smallest mean of a stretch from
    there to its own place or further.

    >>> isotonic(np.array([[1.0, 3.0, 2.0, 4.0]])).tolist()
    [[1.0, 2.5, 2.5, 4.0]]
    """
    rows, places = values.shape
    sums = np.concatenate([np.zeros((rows, 1)), values.cumsum(axis=1)], axis=1)
    found = np.full_like(values, -np.inf)
    for start in range(places):
        means = (sums[:, start + 1 :] - sums[:, [start]]) / np.arange(1, places - start + 1)
        smallest = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
        found[:, start:] = np.maximum(found[:, start:], smallest)
    return found


def _telling(sizes: Sequence[int], values: Floats) -> tuple[list[int], Floats]:
    """Return the sizes at which two queries or more were scored both ways, with their differences."""
    queries = (~np.isnan(values)).any(axis=1).sum(axis=0)
    return [size for size, n in zip(sizes, queries, strict=True) if n > 1], values[:, :, queries > 1]


def _lacking(sizes: Sequence[int], differences: Floats, queries: int) -> str:
    """Say what makes a crossover impossible to tell, or nothing."""
    if sizes and queries < LEAST_QUERIES:
        return f"{queries} queries are too few to resample, and it takes {LEAST_QUERIES}"
    if not sizes:
        return "no size has two queries that were scored both ways"
    if len(sizes) < 2:
        return f"both ways have one size in common ({sizes[0]} examples), and it takes two"
    return "both ways scored the same at every size" if not differences.any() else ""


def _verdict(value: float, low: float, high: float, sizes: Sequence[int]) -> str:
    """Say between which numbers of examples IFT overtakes ICL; ends are in doublings."""
    smallest, largest = sizes[0], sizes[-1]
    if low == -np.inf and high == np.inf:
        return (
            f"{UNDECIDABLE}: the 95 % interval reaches from below {smallest} to above {largest} examples, since the "
            "differences are small beside their uncertainty"
        )
    if high == -np.inf:
        return f"IFT overtakes ICL below {smallest} examples, the smallest size: it is ahead at every one"
    if low == np.inf:
        return f"IFT overtakes ICL above {largest} examples, the largest size, if at all: it is ahead at none"
    guess = f" (best guess {_guess(value, smallest, largest)})"
    if low == -np.inf:
        most = ceil(_rounded(high))
        return f"IFT overtakes ICL at most at {most} examples{guess}; the 95 % interval has no lower end"
    if high == np.inf:
        least = floor(_rounded(low))
        return f"IFT overtakes ICL above {least} examples{guess}, if at all; the 95 % interval has no upper end"
    return (
        f"IFT overtakes ICL at about {_said(value)} examples (95 %: {floor(_rounded(low))} to {ceil(_rounded(high))})"
    )


def _guess(value: float, smallest: int, largest: int) -> str:
    if np.isfinite(value):
        return _said(value)
    return f"below {smallest}" if value < 0 else f"above {largest}"


def _caution(changes: int) -> str:
    if changes < 2:
        return "."
    return f". The lead changes sides {changes} times from size to size, which the rule takes for chance."


def _rounded(doublings: float) -> float:
    return round(float(2.0**doublings), 6)  # 2 ** log2(24) is not quite 24


def _said(doublings: float) -> str:
    examples = _rounded(doublings)
    return f"{examples:.0f}" if examples >= 10 else f"{examples:.1f}"


def _examples(doublings: float) -> float | None:
    return float(2.0**doublings) if np.isfinite(doublings) else None
