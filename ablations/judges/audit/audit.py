"""The audit of a judge: how often a good answer scores above a planted control, and how steady the judge is.

Knows judges by their protocol alone. It bypasses the store, so that the same answer is really judged twice.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from scipy.stats import binomtest

from ablations.core.concurrency import together
from ablations.core.errors import QueryError
from ablations.core.records import Judgment, Query, Usage
from ablations.judges.audit.controls import (
    CONTROLS,
    FOREIGN,
    HARD_CONTROLS,
    NEGATED,
    OPTIONAL_CONTROLS,
    WORDING,
    WRONG,
    Place,
)
from ablations.judges.audit.pairs import Agreement, Pair, agreement, as_completion
from ablations.judges.base import EVEN, ComparingJudge, Judge

AUDIT_SEED = 20_24
PASSED = "passed"

MIN_WINS = 0.9
"""Of the plain controls, each must lose to the good answer in at least this share of scored pairs, and to another
correct wording."""
MIN_HARD_WINS = 0.8
"""The same of controls that tempt: padded, halved, wrong, foreign, with other numbers, a rating or orders in them."""
REPORTED = 0.0
"""The same of a control whose figure is shown, and whatever it is no reason to fail: a denied answer."""
MIN_PAIRS = 10
"""Of each control that can be planted in every answer there must be at least so many scored pairs."""
MIN_SCORED = 0.9
"""Of all judgments, at least this share must have a score."""
MAX_SPREAD = 0.05
"""The same answer judged twice may differ by at most this share of the scale, on average."""


_RULES = (CONTROLS, HARD_CONTROLS, OPTIONAL_CONTROLS)
_WRITTEN = (WRONG, FOREIGN)
_NEEDED = (*CONTROLS, *HARD_CONTROLS)


@dataclass(frozen=True)
class AuditRow:
    """One line of the audit's table.

    Attributes:
        control: what the good answer was compared with; of `WORDING`, what stood in its place.
        wins, ties, pairs: pairs in which the good answer scored strictly higher, the same, and pairs with two scores.
        unscored: pairs in which either answer got no score.
        low, high: 95 % Wilson interval of the share of wins.
        least: the share of wins that passes.
    """

    control: str
    wins: int
    ties: int
    pairs: int
    unscored: int
    low: float
    high: float
    least: float

    @property
    def share(self) -> float | None:
        """Wins as a share of scored pairs, or None without any."""
        return self.wins / self.pairs if self.pairs else None

    @property
    def passed(self) -> bool:
        """Whether the good answer wins often enough."""
        return self.share is not None and self.share >= self.least


@dataclass(frozen=True)
class Audit:
    """Findings of an audit.

    Attributes:
        rows: one a control.
        n_judged, n_scored: judgments made, and those with a score.
        unscored: how often each reason for a missing score occurred.
        spread: mean absolute difference of the same answer judged twice, in points; None without a scored pair.
        scale: lowest and highest possible score.
        usage: what it took of the judge's server.
        agreement: with given preferences, or None where none were given.
    """

    rows: Sequence[AuditRow]
    n_judged: int
    n_scored: int
    unscored: Mapping[str, int]
    spread: float | None
    scale: tuple[float, float]
    usage: Usage
    agreement: Agreement | None = None

    @property
    def failures(self) -> list[str]:
        """Measures that fall short of the thresholds of this module; empty for a judge that passed."""
        if self.n_scored == 0:
            return [f"none of {self.n_judged} judgments has a score"]
        found = []
        if self.n_scored < MIN_SCORED * self.n_judged:
            found.append(f"only {self.n_scored} of {self.n_judged} judgments have a score ({MIN_SCORED:.0%} needed)")
        planted = {row.control for row in self.rows}
        found += [f"{name!r} was not planted" for name in _NEEDED if name not in planted]
        for row in self.rows:
            if row.pairs < MIN_PAIRS and row.control in _NEEDED:
                found.append(f"{row.control!r} has {row.pairs} scored pairs ({MIN_PAIRS} needed)")
            elif not row.passed:
                share = "no scored pair" if row.share is None else f"{row.share:.0%} of {row.pairs}"
                found.append(f"the good answer beats {row.control!r} in {share} ({row.least:.0%} needed)")
        width = self.scale[1] - self.scale[0]
        if self.spread is None or self.spread > MAX_SPREAD * width:
            spread = "unknown" if self.spread is None else f"{self.spread:.2f} points"
            found.append(f"the same answer judged twice differs by {spread} ({MAX_SPREAD * width:.2f} allowed)")
        return found

    @property
    def verdict(self) -> str:
        """Return what falls short, or `PASSED` with the number of pairs and what was not tried."""
        if self.failures:
            return "; ".join(self.failures)
        planted = {row.control for row in self.rows}
        lacking = [repr(name) for name in (*OPTIONAL_CONTROLS, *_WRITTEN, WORDING) if name not in planted]
        without = f", without {', '.join(lacking)}" if lacking else ""
        return f"{PASSED} ({min(row.pairs for row in self.rows if row.control in _NEEDED)} pairs a control{without})"

    def table(self) -> dict[str, list[Any]]:
        """Return the rows as columns."""
        names = ("control", "wins", "ties", "pairs", "unscored", "low", "high", "least", "passed")
        return {name: [getattr(row, name) for row in self.rows] for name in names}

    def metrics(self) -> dict[str, float | None]:
        """Return the numbers by documented name: shares of wins, spread, unscored share, calls, agreement."""
        shares: dict[str, float | None] = {f"wins/{row.control}": row.share for row in self.rows}
        agreed = self.agreement
        return shares | {
            "spread": self.spread,
            "unscored_share": 1 - self.n_scored / self.n_judged if self.n_judged else None,
            "judge_calls": self.usage.calls,
            "judge_prompt_tokens": self.usage.prompt_tokens,
            "judge_completion_tokens": self.usage.completion_tokens,
            "agreement": None if agreed is None else agreed.share,
            "kappa": None if agreed is None else agreed.kappa,
        }


@dataclass(frozen=True)
class Planted:
    """A good answer to one turn and the controls planted in its place, by name."""

    query: Query
    turn: int
    earlier: tuple[str, ...]
    good: str
    controls: Mapping[str, str] = field(hash=False)


def plant_controls(
    queries: Sequence[Query],
    answers: Mapping[str, Sequence[str]],
    written: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    seed: int = AUDIT_SEED,
) -> list[Planted]:
    """Return every turn that has a good answer, with the controls that can be planted there.

    Args:
        queries: what is answered.
        answers: good answers to each turn, by the query's id.
        written: answers that no function makes, by the name of the control and the query's id.
        seed: of what is drawn; another query's answer is one to the same turn of a query drawn from the others.

    Raises:
        QueryError: only one query has an answer to a turn.
    """
    generators = [random.Random(seed + number) for number, _ in enumerate(_RULES)]
    known = [query for query in queries if query.id in answers]
    planted = []
    for query in known:
        for position, good in enumerate(answers[query.id][: len(query.turns)]):
            others = [q for q in known if q.id != query.id and len(answers[q.id]) > position]
            if not others:
                raise QueryError(
                    f"an audit plants other queries' answers, and only {query.id!r} has one to turn {position + 1}; "
                    "raise --limit, or give more queries with references"
                )
            place = Place(query, position + 1, good, answers[generators[0].choice(others).id][position])
            made = {
                name: plant(place, generator)
                for rules, generator in zip(_RULES, generators, strict=True)
                for name, plant in rules.items()
            }
            for name, texts in (written or {}).items():
                made[name] = next(iter(texts.get(query.id, ())[position : position + 1]), None)
            controls = {name: text for name, text in made.items() if text is not None}
            planted.append(Planted(query, position + 1, tuple(answers[query.id][:position]), good, controls))
    return planted


async def audit(judge: Judge, planted: Sequence[Planted], pairs: Sequence[Pair] = ()) -> Audit:
    """Return what the judge makes of the planted controls and, where there are any, of pairs with a preference.

    The judge must have been started. One that compares is shown the good answer and the control side by side, and the
    good answer beside itself; others judge each answer by itself, and the good one twice. Another correct wording has
    to beat all plain controls of its turn; beside it a comparing judge is shown one of them, a different one each time.
    """
    found = _compared(judge, planted) if isinstance(judge, ComparingJudge) else _judged(judge, planted)
    margins, judged, spreads = await found
    agreed, used = await agreement(judge, pairs) if pairs else (None, Usage())
    unscored: dict[str, int] = {}
    for judgment in judged:
        if judgment.score.reason is not None:
            unscored[judgment.score.reason] = unscored.get(judgment.score.reason, 0) + 1
    return Audit(
        rows=[_row(name, some) for name, some in margins.items()],
        n_judged=len(judged),
        n_scored=len(judged) - sum(unscored.values()),
        unscored=unscored,
        spread=fmean(spreads) if spreads else None,
        scale=judge.scale,
        usage=sum((judgment.usage for judgment in judged), used),
        agreement=agreed,
    )


_Margins = dict[str, list[float | None]]
"""By control, how far the good answer is ahead in each pair; None where a score is missing."""


async def _judged(judge: Judge, planted: Sequence[Planted]) -> tuple[_Margins, list[Judgment], list[float]]:
    """Return margins, judgments and how far the two of each good answer differ, of a judge of single answers."""
    goods = await together(_judge(judge, item, item.good) for item in planted)
    again = await together(_judge(judge, item, item.good) for item in planted)
    judged = [*goods, *again]
    margins: _Margins = {}
    plain: list[list[float | None]] = [[] for _ in planted]
    for name, places in _places(planted).items():
        made = await together(_judge(judge, planted[at], planted[at].controls[name]) for at in places)
        judged += made
        scores = [judgment.score.value for judgment in made]
        for at, score in zip(places, scores, strict=True):
            if name in CONTROLS:
                plain[at].append(score)
        if name == WORDING:
            margins[name] = [_lead(score, _highest(plain[at])) for at, score in zip(places, scores, strict=True)]
        else:
            margins[name] = [_lead(goods[at].score.value, score) for at, score in zip(places, scores, strict=True)]
    leads = (_lead(one.score.value, two.score.value) for one, two in zip(goods, again, strict=True))
    return margins, judged, [abs(lead) for lead in leads if lead is not None]


async def _compared(judge: ComparingJudge, planted: Sequence[Planted]) -> tuple[_Margins, list[Judgment], list[float]]:
    """Return margins, judgments and how far each good answer is from even with itself, of a judge of pairs."""
    judged = await together(_compare(judge, item, item.good, item.good) for item in planted)
    spreads = [abs(lead) for judgment in judged if (lead := _lead(judgment.score.value, EVEN)) is not None]
    margins: _Margins = {}
    for name, places in _places(planted).items():
        beside = [
            (planted[at].controls[WORDING], _one_plain(planted[at], at))
            if name == WORDING
            else (planted[at].good, planted[at].controls[name])
            for at in places
        ]
        made = await together(_compare(judge, planted[at], *texts) for at, texts in zip(places, beside, strict=True))
        judged += made
        margins[name] = [_lead(judgment.score.value, EVEN) for judgment in made]
    return margins, judged, spreads


def _places(planted: Sequence[Planted]) -> dict[str, list[int]]:
    """Return where each control is planted, of those that are, plain ones first and other wordings last."""
    names = (*(name for rules in _RULES for name in rules), *_WRITTEN, WORDING)
    found = {name: [at for at, item in enumerate(planted) if name in item.controls] for name in names}
    return {name: places for name, places in found.items() if places}


def _one_plain(item: Planted, number: int) -> str:
    """Return one of the plain controls of a turn."""
    plain = [item.controls[name] for name in CONTROLS if name in item.controls]
    return plain[number % len(plain)]


def _lead(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _highest(scores: Sequence[float | None]) -> float | None:
    return None if None in scores else max(score for score in scores if score is not None)


def _row(name: str, margins: Sequence[float | None]) -> AuditRow:
    """Return the row of a control from how far the good answer is ahead in each pair."""
    scored = [margin for margin in margins if margin is not None]
    wins, ties = sum(margin > 0 for margin in scored), sum(margin == 0 for margin in scored)
    interval = binomtest(wins, max(len(scored), 1)).proportion_ci(method="wilson")
    least = MIN_WINS if name in (*CONTROLS, WORDING) else REPORTED if name == NEGATED else MIN_HARD_WINS
    return AuditRow(
        name, wins, ties, len(scored), len(margins) - len(scored), float(interval.low), float(interval.high), least
    )


async def _judge(judge: Judge, item: Planted, text: str) -> Judgment:
    return await judge.judge(item.query, [as_completion(answer) for answer in (*item.earlier, text)])


async def _compare(judge: ComparingJudge, item: Planted, own: str, other: str) -> Judgment:
    return await judge.compare(item.query, [*item.earlier, own], [*item.earlier, other])
