"""Simulated studies of ICL against IFT with a known truth: how often intervals hold it (figures: pytest -s)."""

from collections.abc import Sequence

import numpy as np
import pytest

from analysis.demonstrations.crossed import crossed_interval
from analysis.demonstrations.crossover import crossing_interval, crossover
from analysis.demonstrations.sizes import size_differences
from tests.support.coverage import check
from tests.support.simulated import Floats
from tests.support.simulated_sizes import both_ways, differences, sized

STUDIES = 300
TRUTH = 0.5
SIZES = (2, 4, 8, 16, 32)
CROSSING = np.log2(6.0)


def held(studies: Sequence[Floats], truth: float = TRUTH) -> int:
    """Return in how many studies the interval holds the truth; each is (queries, draws)."""
    found = [crossed_interval(values) for values in studies]
    return sum(one is not None and (one.low or 0) <= truth <= (one.high or 0) for one in found)


@pytest.mark.parametrize("queries", [8, 30, 80])
def test_with_one_draw_differences_cover_the_truth_of_these_examples(queries: int) -> None:
    generator = np.random.default_rng(queries)
    studies = [differences(generator, [TRUTH], queries, 1, (1.0, 0.0, 1.0))[:, :, 0] for _ in range(STUDIES)]
    check(f"IFT minus ICL, {queries} queries, 1 draw", held(studies), STUDIES, 0.92, 0.98)


def test_one_draw_says_too_little_of_other_examples() -> None:
    """A limit that the headline states: draws that differ by 0.3 points are not seen in one of them."""
    generator = np.random.default_rng(1)
    studies = [differences(generator, [TRUTH], 80, 1)[:, :, 0] for _ in range(STUDIES)]
    check("IFT minus ICL of other examples, 80 queries, 1 draw", held(studies), STUDIES, 0.55, 0.85)


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("queries", [8, 30, 80])
def test_with_three_draws_differences_cover_the_truth_of_the_pool(queries: int, spread: float) -> None:
    """The pigeonhole bootstrap is rather too wide where draws hardly differ, never much too narrow."""
    generator = np.random.default_rng(queries)
    studies = [differences(generator, [TRUTH], queries, 3, (1.0, spread, 1.0))[:, :, 0] for _ in range(STUDIES)]
    what = f"IFT minus ICL, {queries} queries, 3 draws that differ by {spread} points"
    check(what, held(studies), STUDIES, 0.91, 1.0)
    of_means = sum(_holds(values.mean(axis=1, keepdims=True)) for values in studies) / STUDIES
    print(f"coverage | the same with draws averaged and queries resampled alone | {of_means:.1%} of {STUDIES}")


def _holds(values: Floats) -> bool:
    return held([values]) == 1


@pytest.mark.parametrize("draws", [1, 3])
def test_differences_through_the_frame_are_those_of_the_arrays_in_40_studies(draws: int) -> None:
    generator, covered = np.random.default_rng(draws), 0
    arms = both_ways((8,), draws)
    for _ in range(40):
        own = differences(generator, [TRUTH], 30, draws, (1.0, 0.3 * (draws > 1), 1.0))[:, :, 0]
        row = size_differences(sized(np.hstack([np.zeros_like(own), own]), arms)).to_dicts()[0]
        expected = crossed_interval(own)
        assert expected is not None
        assert (row["difference"], row["low"], row["high"]) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )
        covered += row["low"] <= TRUTH <= row["high"]
    check(f"IFT minus ICL, 30 queries, {draws} draw{'s' * (draws > 1)}, through the frame", covered, 40, 0.85, 1.0)


def truth_of(slope: float, crossing: float = CROSSING) -> list[float]:
    """Differences that rise by so many points a doubling and are 0 at the crossing."""
    return [slope * (doubling - crossing) for doubling in np.log2(SIZES)]


@pytest.mark.parametrize("slope", [0.2, 0.6])
@pytest.mark.parametrize(("queries", "draws"), [(8, 1), (30, 1), (80, 1), (30, 3), (80, 3)])
def test_a_crossovers_interval_holds_the_true_crossing(queries: int, draws: int, slope: float) -> None:
    generator, covered, decided, widths = np.random.default_rng(queries), 0, 0, []
    for _ in range(STUDIES // 2):
        values = differences(generator, truth_of(slope), queries, draws, (1.0, 0.3 * (draws > 1), 1.0))
        (_, low, high), _ = crossing_interval(values, SIZES)
        covered += low <= CROSSING <= high
        decided += bool(np.isfinite(low) or np.isfinite(high))
        widths += [high - low] if np.isfinite(high - low) else []
    what = f"crossover, {queries} queries, {draws} draw{'s' * (draws > 1)}, {slope} points a doubling"
    check(what, covered, STUDIES // 2, 0.9, 1.0)
    wide = f"{np.median(widths):.1f} doublings where both ends are" if widths else "no interval has both ends"
    print(f"coverage | {what}: bounded on a side at least | {decided / (STUDIES // 2):.1%}; {wide}")


@pytest.mark.parametrize(("crossing", "where"), [(np.log2(1.0), "below"), (np.log2(128.0), "above")])
def test_a_crossing_outside_the_sizes_is_not_bounded_on_its_side(crossing: float, where: str) -> None:
    generator, covered = np.random.default_rng(9), 0
    for _ in range(STUDIES // 2):
        values = differences(generator, truth_of(0.4, crossing), 30, 3)
        (_, low, high), _ = crossing_interval(values, SIZES)
        covered += (
            min(low, np.log2(SIZES[-1])) <= crossing <= max(high, np.log2(SIZES[0]))
        )  # infinite: beyond the sizes
    check(f"crossover {where} all sizes, 30 queries, 3 draws", covered, STUDIES // 2, 0.93, 1.0)


def test_crossovers_through_the_frame_are_those_of_the_arrays() -> None:
    generator = np.random.default_rng(4)
    values = differences(generator, truth_of(0.6), 30, 3)
    flat = values.transpose(0, 2, 1).reshape(30, -1)  # as the arms are: sizes, then draws
    row = crossover(sized(np.hstack([np.zeros_like(flat), flat]), both_ways(SIZES, 3))).to_dicts()[0]
    ends, (below, above) = crossing_interval(values, SIZES)
    assert (row["value"], row["low"], row["high"]) == pytest.approx([2.0**end for end in ends])
    assert (row["below"], row["above"]) == (below, above)
