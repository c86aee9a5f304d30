"""Chooses the reference judge's weights on planted controls, on one half of the built-in queries.

Run `python -m ablations.judges.audit.calibration`; the audit reports on the other half. Knows no study.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ablations.core.records import Query
from ablations.datasets.queries import DEFAULT_QUERIES, load_queries, second_answers
from ablations.judges.audit.audit import Planted, plant_controls
from ablations.judges.audit.controls import CONTROLS
from ablations.judges.reference.judge import Features, ReferenceJudge, Weights, rate

GRID = {
    "document_weight": (0.1, 0.3, 0.5, 0.7),
    "similarity_power": (1.0, 1.5, 2.0),
    "fullness_power": (0.5, 1.0),
    "expected_share": (0.4, 0.6),
    "freshness_power": (1.0, 2.0),
    "own_power": (1.0, 2.0),
    "unclosed_factor": (0.8, 0.9),
}


@dataclass(frozen=True)
class Choice:
    """A setting and what it reaches: the lowest win rate and the lowest mean margin (points) over the controls."""

    worst_share: float
    margin: float
    weights: Weights


def halves() -> tuple[tuple[Query, ...], tuple[Query, ...]]:
    """Return the built-in queries for calibration and for reporting: every other one of each category."""
    queries = load_queries(DEFAULT_QUERIES)
    return queries[0::2], queries[1::2]


def calibrate(planted: Sequence[Planted]) -> Choice:
    """Return the best setting of the grid: highest worst win rate, then the widest worst margin."""
    judge = ReferenceJudge()
    goods = [_features(judge, item, item.good) for item in planted]
    controls = {name: [_features(judge, item, item.controls[name]) for item in planted] for name in CONTROLS}
    settings = (Weights(**dict(zip(GRID, point, strict=True))) for point in itertools.product(*GRID.values()))
    return max((_reach(weights, goods, controls) for weights in settings), key=lambda c: (c.worst_share, c.margin))


def _features(judge: ReferenceJudge, item: Planted, text: str) -> Features:
    reference = item.query.references[item.turn - 1]
    if reference is None:
        raise ValueError(f"query {item.query.id} turn {item.turn} has no reference answer")
    return judge.features(text, reference)


def _reach(weights: Weights, goods: Sequence[Features], controls: dict[str, list[Features]]) -> Choice:
    own = [rate(features, weights) for features in goods]
    margins = {
        name: [good - rate(features, weights) for good, features in zip(own, planted, strict=True)]
        for name, planted in controls.items()
    }
    worst = min(fmean(margin > 0 for margin in values) for values in margins.values())
    return Choice(round(worst, 4), min(map(fmean, margins.values())), weights)


def main() -> None:
    """Print the chosen weights and what they reach on the calibration half."""
    choice = calibrate(plant_controls(halves()[0], second_answers()))
    print(f"calibration half: worst control won in {choice.worst_share:.1%}, by {choice.margin:.2f} points")
    print(choice.weights)


if __name__ == "__main__":
    main()
