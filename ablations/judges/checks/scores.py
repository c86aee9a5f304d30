"""Scores: what checks say of an answer, and their floor: what an answer gets that is the same for every query.

A pass rate says little where a constant passes as often: with IFEval's official code the answer "1" passes 17.7 % of
its 541 prompts.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from ablations.core.records import CONTENT, FINISHED, Query
from ablations.judges.base import CHECKS_SCORES, GRADED, SHARE, STRICT, Floor
from ablations.judges.checks.base import Answer, Bound
from ablations.judges.checks.registry import bind

CONSTANTS = ("1", "12", "No.", "no", "yes", "A", "I don't know.", "GREEN", "P.S. My answer is yes.", '"No."', "{}")
"""Constants that pass checks of many sorts; the references of the set itself are tried too."""
MOST_REFERENCES = 200


def outcomes(checks: Sequence[Bound], answer: Answer) -> dict[str, float]:
    """Return all that checks say of an answer, each 0 to 1.

    By name: content and finished, the scores graded, strict and share, the loose reading of strict, and under
    "check ID" the share that holds of the checks with this id.
    """
    held = [one.holds(answer) for one in checks]
    rates: dict[str, list[bool]] = {}
    for one, own in zip(checks, held, strict=True):
        rates.setdefault(f"check {one.definition.id}", []).append(own)
    return {
        CONTENT: float(_is_right(checks, held, answer)),
        FINISHED: float(answer.finished),
        **_scores(checks, held, answer),
        "loose": float(all(one.holds_loosely(answer) for one in checks)),
        **{name: sum(own) / len(own) for name, own in sorted(rates.items())},
    }


def scores(checks: Sequence[Bound], answer: Answer) -> dict[str, float]:
    """Return what checks give an answer by each of `CHECKS_SCORES`, 0 to 1."""
    return _scores(checks, [one.holds(answer) for one in checks], answer)


def _scores(checks: Sequence[Bound], held: Sequence[bool], answer: Answer) -> dict[str, float]:
    right = _is_right(checks, held, answer)
    return {
        GRADED: (right + right * answer.finished) / 2,
        STRICT: float(all(held)),
        SHARE: sum(held) / len(held),
    }


def _is_right(checks: Sequence[Bound], held: Sequence[bool], answer: Answer) -> bool:
    """Whether there is an answer, and every check of its content holds."""
    of_content = (own for one, own in zip(checks, held, strict=True) if one.definition.about == CONTENT)
    return bool(answer.text) and all(of_content)


def floors(queries: Sequence[Query]) -> Mapping[str, Floor]:
    """Return the floor by each of `CHECKS_SCORES`, of answers that end by themselves.

    As a trial's score it is a mean over queries, of each one's mean over its turns with checks.

    Raises:
        ValueError: no turn has checks.
    """
    checked = [
        [(query.turns[at], [bind(check) for check in checks]) for at, checks in enumerate(query.checks) if checks]
        for query in queries
    ]
    turns = [of_query for of_query in checked if of_query]
    if not turns:
        raise ValueError("no turn has checks")
    own = dict.fromkeys(text for query in queries for text in query.references if text)
    tried = list(dict.fromkeys((*CONSTANTS, *list(own)[:MOST_REFERENCES], "")))
    means = {text: _means(text, turns) for text in tried}
    best = {way: max(tried, key=lambda text: means[text][way]) for way in CHECKS_SCORES}
    return {way: Floor(means[""][way], means[text][way], text, way != SHARE) for way, text in best.items()}


def _means(text: str, turns: Sequence[Sequence[tuple[str, Sequence[Bound]]]]) -> dict[str, float]:
    """Return the mean of each score of one answer to all turns of all queries."""
    found = [[scores(checks, Answer(text, query=query)) for query, checks in of_query] for of_query in turns]
    return {way: fmean(fmean(one[way] for one in of_query) for of_query in found) for way in CHECKS_SCORES}
