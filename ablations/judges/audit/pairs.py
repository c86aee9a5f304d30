"""Pairs of answers with a human's or a published preference, and how far a judge agrees with it.

Knows the files' forms and judges by their protocol.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.core.concurrency import together
from ablations.core.errors import QueryError
from ablations.core.jsonl import read_rows
from ablations.core.records import Completion, Query, Usage
from ablations.judges.base import EVEN, ComparingJudge, Judge

FORM = '{"instruction": …, "output_1": …, "output_2": …, "preference": 1 to 2}, as AlpacaEval publishes them'
FIRST, TIE, SECOND = -1, 0, 1


@dataclass(frozen=True)
class Pair:
    """Two answers to one query, and which is preferred: 1 the first, 2 the second, 1.5 neither, or between."""

    query: Query
    first: str
    second: str
    preference: float

    @property
    def preferred(self) -> int:
        """`FIRST`, `SECOND` or `TIE`."""
        return _sign(self.preference - 1.5)


@dataclass(frozen=True)
class Agreement:
    """How far a judge agrees with given preferences.

    Attributes:
        n, unscored: pairs with two scores, and the others.
        share: of pairs with the same preferred answer, ties counting as a preference of their own.
        kappa: Cohen's kappa over first, tie, second; None where it is not defined.
    """

    n: int
    unscored: int
    share: float | None
    kappa: float | None


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a JSON list or JSONL file.

    Raises:
        QueryError: the file cannot be read, or a row is no pair; names file and row.
    """
    pairs = []
    for number, (where, row) in enumerate(read_rows(path, f"--pairs {path}", QueryError), start=1):
        try:
            query = Query(f"pair-{number}", "", (row["instruction"],))
            preference = float(row["preference"])
            if not 1 <= preference <= 2:
                raise ValueError(f"preference {preference:g} is not in 1 to 2")
            pairs.append(Pair(query, str(row["output_1"]), str(row["output_2"]), preference))
        except (KeyError, TypeError, ValueError, QueryError) as error:
            raise QueryError(f"{where}: {error}; a row is {FORM}") from error
    if not pairs:
        raise QueryError(f"--pairs {path} holds no pair; give JSON rows of {FORM}")
    return pairs


async def agreement(judge: Judge, pairs: Sequence[Pair]) -> tuple[Agreement, Usage]:
    """Return how far the judge's scores of both answers agree with the preferences, and what it took."""
    # Imported here: scikit-learn takes seconds that a refused command should not cost.
    from sklearn.metrics import cohen_kappa_score

    if isinstance(judge, ComparingJudge):
        made = await together(judge.compare(pair.query, [pair.second], [pair.first]) for pair in pairs)
        leads = [None if one.score.value is None else one.score.value - EVEN for one in made]
    else:
        firsts = await together(judge.judge(pair.query, [as_completion(pair.first)]) for pair in pairs)
        seconds = await together(judge.judge(pair.query, [as_completion(pair.second)]) for pair in pairs)
        made = [*firsts, *seconds]
        leads = [_lead(first.score.value, second.score.value) for first, second in zip(firsts, seconds, strict=True)]
    given = [pair.preferred for pair, lead in zip(pairs, leads, strict=True) if lead is not None]
    found = [_sign(lead) for lead in leads if lead is not None]
    usage = sum((judgment.usage for judgment in made), Usage())
    share = sum(one == two for one, two in zip(given, found, strict=True)) / len(given) if given else None
    # Where both always say the same one thing, kappa divides nothing by nothing.
    kappa = float(cohen_kappa_score(given, found)) if len({*given, *found}) > 1 else None
    return Agreement(len(given), len(pairs) - len(given), share, kappa), usage


def as_completion(text: str) -> Completion:
    """Return a text from elsewhere as a completion that ended by itself."""
    return Completion(text=text, prompt_tokens=0, completion_tokens=len(text.split()), finish_reason="stop", seed=0)


def _lead(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else second - first


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
