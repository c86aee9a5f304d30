"""The floor of an evaluation set with checks: what an answer gets that is the same for every query.

A pass rate says little where a constant passes as often: with IFEval's official code the answer "1" passes 17.7 % of
its 541 prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ablations.core.records import Query
from ablations.judges.base import CHECKS_SCORES
from ablations.judges.checks.base import Answer, Bound
from ablations.judges.checks.judge import scores
from ablations.judges.checks.registry import bind

CONSTANTS = ("1", "12", "No.", "no", "yes", "A", "I don't know.", "GREEN", "P.S. My answer is yes.", '"No."', "{}")
"""Constants that pass checks of many sorts; the references of the set itself are tried too."""
MOST_REFERENCES = 200


@dataclass(frozen=True)
class Floor:
    """What a constant answer scores on a set of queries, by each way to make a score of checks, 0 to 1.

    Attributes:
        empty: of an answer without text.
        best: of the best constant.
        answer: the best constant.
    """

    empty: float
    best: float
    answer: str


def floors(queries: Sequence[Query]) -> Mapping[str, Floor]:
    """Return the floor by each of `CHECKS_SCORES`, over the turns with checks, of answers that end by themselves.

    Raises:
        ValueError: no turn has checks.
    """
    turns = [
        (query.turns[at], [bind(check) for check in checks])
        for query in queries
        for at, checks in enumerate(query.checks)
        if checks
    ]
    if not turns:
        raise ValueError("no turn has checks")
    own = dict.fromkeys(text for query in queries for text in query.references if text)
    tried = list(dict.fromkeys((*CONSTANTS, *list(own)[:MOST_REFERENCES])))
    means = {text: _means(text, turns) for text in ("", *tried)}
    best = {way: max(tried, key=lambda text: means[text][way]) for way in CHECKS_SCORES}
    return {way: Floor(means[""][way], means[text][way], text) for way, text in best.items()}


def _means(text: str, turns: Sequence[tuple[str, Sequence[Bound]]]) -> dict[str, float]:
    """Return the mean of each score of one answer to all turns."""
    found = [scores(checks, Answer(text, query=query)) for query, checks in turns]
    return {way: fmean(one[way] for one in found) for way in CHECKS_SCORES}
