"""Chooses the reference judge's weights on planted controls and short answers, on one half of the built-in queries.

Run `python -m ablations.judges.audit.calibration`; the audit reports on the other half, and so do the last lines of
what it prints, of short answers. Knows no study.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ablations.core.records import Query
from ablations.datasets.queries import DEFAULT_QUERIES, load_queries, second_answers, short_answers
from ablations.judges.audit.audit import Planted, plant_controls
from ablations.judges.reference.judge import Features, ReferenceJudge, Weights, rate
from ablations.judges.reference.task import task

GRID = {
    "similarity_power": (1.0, 1.5, 2.0),
    "full_similarity": (0.75, 0.85),
    "expected_novelty": (0.3, 0.5, 0.7),
    "fullness_power": (0.5, 1.0),
    "expected_share": (0.4, 0.6, 0.8),
    "coverage_weight": (0.6, 0.8),
    "numbers_weight": (0.5, 0.7, 0.9),
    "polarity_weight": (0.5, 0.7, 0.9),
    "unclosed_factor": (0.8, 0.9),
}
SHORT, SENTENCE, ALSO = "the reference", "The answer is {}.", "other right answers"
"""Right short answers that are compared with wrong ones."""

HIGH = 9
"""A score that says of a short answer that it is right."""

Pairs = Mapping[str, Sequence[tuple[Features, Features]]]
"""The better answer's features and the worse one's, by what was planted."""


@dataclass(frozen=True)
class Choice:
    """A setting and what it reaches: win rates, the lowest and on average, and the lowest mean margin (points)."""

    worst_share: float
    mean_share: float
    margin: float
    weights: Weights


@dataclass(frozen=True)
class Short:
    """A turn with a reference of a few words and wrong answers to it.

    Attributes:
        queries: those up to the turn.
        reference: the right answer.
        also: right answers in other words.
        wrong: answers that are not right.
    """

    queries: tuple[str, ...]
    reference: str
    also: tuple[str, ...]
    wrong: tuple[str, ...]


def halves() -> tuple[tuple[Query, ...], tuple[Query, ...]]:
    """Return the built-in queries for calibration and for reporting: every other one of each category."""
    queries = load_queries(DEFAULT_QUERIES)
    return queries[0::2], queries[1::2]


def short_halves() -> tuple[list[Short], list[Short]]:
    """Return the turns of the built-in set of short answers, for calibration and for reporting: every other query's."""
    also, wrong = short_answers("also"), short_answers("wrong")
    queries = [query for query in load_queries("short") if wrong[query.id]]
    first, second = (
        [
            Short(query.turns[: turn + 1], reference, right or (), false)
            for query in half
            for turn, (reference, right, false) in enumerate(
                itertools.zip_longest(query.references, also[query.id], wrong[query.id])
            )
            if reference and false
        ]
        for half in (queries[0::2], queries[1::2])
    )
    return first, second


def calibrate(planted: Sequence[Planted], short: Sequence[Short]) -> Choice:
    """Return the best setting of the grid: highest worst win rate, then mean win rate, then widest worst margin."""
    pairs = planted_pairs(planted) | short_pairs(short)
    settings = (Weights(**dict(zip(GRID, point, strict=True))) for point in itertools.product(*GRID.values()))
    return max((reach(weights, pairs) for weights in settings), key=lambda c: (c.worst_share, c.mean_share, c.margin))


def planted_pairs(planted: Sequence[Planted]) -> dict[str, list[tuple[Features, Features]]]:
    """Return good answers beside each control that is planted in their place."""
    judge = ReferenceJudge()
    pairs: dict[str, list[tuple[Features, Features]]] = {}
    for item in planted:
        reference = item.query.references[item.turn - 1]
        if reference is None:
            raise ValueError(f"query {item.query.id} turn {item.turn} has no reference answer")
        asked = task(item.query.turns[: item.turn], reference)
        good = judge.features(item.good, asked)
        for name, text in item.controls.items():
            pairs.setdefault(name, []).append((good, judge.features(text, asked)))
    return pairs


def short_pairs(turns: Sequence[Short]) -> dict[str, list[tuple[Features, Features]]]:
    """Return right short answers beside each wrong one: the reference, that in a sentence, and in other words."""
    judge = ReferenceJudge()
    pairs: dict[str, list[tuple[Features, Features]]] = {SHORT: [], SENTENCE: [], ALSO: []}
    for turn in turns:
        asked = task(turn.queries, turn.reference)
        wrong = [judge.features(text, asked) for text in turn.wrong]
        rights = {SHORT: (turn.reference,), SENTENCE: (SENTENCE.format(turn.reference),), ALSO: turn.also}
        for name, texts in rights.items():
            pairs[name] += itertools.product([judge.features(text, asked) for text in texts], wrong)
    return {name: some for name, some in pairs.items() if some}


def reach(weights: Weights, pairs: Pairs) -> Choice:
    """Return what a setting reaches on pairs of a better and a worse answer."""
    margins = {
        name: [rate(better, weights) - rate(worse, weights) for better, worse in some] for name, some in pairs.items()
    }
    shares = [fmean(margin > 0 for margin in some) for some in margins.values()]
    return Choice(round(min(shares), 4), round(fmean(shares), 4), min(map(fmean, margins.values())), weights)


def main() -> None:
    """Print the chosen weights, what they reach on the calibration half, and how short answers fare on the other."""
    short = short_halves()
    choice = calibrate(plant_controls(halves()[0], second_answers()), short[0])
    print(f"calibration half: worst control won in {choice.worst_share:.1%}, by {choice.margin:.2f} points on average")
    print(choice.weights)
    for half, turns in zip(("calibration", "report"), short, strict=True):
        pairs = short_pairs(turns)
        for name, some in pairs.items():
            wins = sum(rate(right) > rate(wrong) for right, wrong in some)
            print(f"{half} half, short answers: {name!r} beats the wrong one in {wins} of {len(some)} pairs")
        high = sum(rate(wrong) >= HIGH for _, wrong in pairs[SHORT])
        print(f"{half} half, short answers: {high} of {len(pairs[SHORT])} wrong ones score {HIGH} or more")


if __name__ == "__main__":
    main()
