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
from ablations.judges.audit.controls import CONTROLS, HARD_CONTROLS, WRONG
from ablations.judges.audit.pairs import Agreement, Pair, agreement, as_completion
from ablations.judges.base import EVEN, ComparingJudge, Judge

AUDIT_SEED = 20_24
PASSED = "passed"

MIN_WINS = 0.9
"""Of the plain controls, each must lose to the good answer in at least this share of scored pairs."""
MIN_HARD_WINS = 0.8
"""The same of controls that tempt: padded, wrong, with a rating or orders in them."""
MIN_PAIRS = 10
"""Of each plain or tempting control there must be at least so many scored pairs."""
MIN_SCORED = 0.9
"""Of all judgments, at least this share must have a score."""
MAX_SPREAD = 0.05
"""The same answer judged twice may differ by at most this share of the scale, on average."""


@dataclass(frozen=True)
class AuditRow:
    """One line of the audit's table.

    Attributes:
        control: what the good answer was compared with.
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
        found += [f"{name!r} was not planted" for name in (*CONTROLS, *HARD_CONTROLS) if name not in planted]
        for row in self.rows:
            if row.pairs < MIN_PAIRS and row.control != WRONG:
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
        without = "" if any(row.control == WRONG for row in self.rows) else f", without {WRONG!r} answers"
        return f"{PASSED} ({min(row.pairs for row in self.rows if row.control != WRONG)} pairs a control{without})"

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
    wrong: Mapping[str, Sequence[str]] | None = None,
    seed: int = AUDIT_SEED,
) -> list[Planted]:
    """Return every turn that has a good answer, with its controls.

    Another query's answer is the answer to the same turn of a query drawn at random from the others; a wrong
    answer is planted where `wrong` has one.

    Raises:
        QueryError: only one query has an answer to a turn.
    """
    generator, hard_generator = random.Random(seed), random.Random(seed + 1)
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
            other = answers[generator.choice(others).id][position]
            controls = {name: plant(good, other, generator) for name, plant in CONTROLS.items()}
            controls |= {name: plant(good, other, hard_generator) for name, plant in HARD_CONTROLS.items()}
            if position < len((wrong or {}).get(query.id, ())):
                controls[WRONG] = (wrong or {})[query.id][position]
            planted.append(Planted(query, position + 1, tuple(answers[query.id][:position]), good, controls))
    return planted


async def audit(judge: Judge, planted: Sequence[Planted], pairs: Sequence[Pair] = ()) -> Audit:
    """Return what the judge makes of the planted controls and, where there are any, of pairs with a preference.

    The judge must have been started. One that compares is shown the good answer and the control side by side, and the
    good answer beside itself; others judge each answer by itself, and the good one twice.
    """
    compared = judge if isinstance(judge, ComparingJudge) else None
    goods: list[Judgment] = []
    if compared is None:
        goods = await together(_judge(judge, item, item.good) for item in planted)
        again = await together(_judge(judge, item, item.good) for item in planted)
        spreads = [abs(one - two) for one, two in _scored(goods, again)]
        judged = [*goods, *again]
    else:
        judged = await together(_compare(compared, item, item.good) for item in planted)
        spreads = [abs(judgment.score.value - EVEN) for judgment in judged if judgment.score.value is not None]
    rows = []
    for name in (*CONTROLS, *HARD_CONTROLS, WRONG):
        chosen = [number for number, item in enumerate(planted) if name in item.controls]
        if not chosen:
            continue
        texts = [(planted[number], planted[number].controls[name]) for number in chosen]
        if compared is None:
            made = await together(_judge(judge, item, text) for item, text in texts)
            margins = [one - two for one, two in _scored([goods[number] for number in chosen], made)]
        else:
            made = await together(_compare(compared, item, text) for item, text in texts)
            margins = [judgment.score.value - EVEN for judgment in made if judgment.score.value is not None]
        judged += made
        rows.append(_row(name, margins, len(chosen) - len(margins)))
    agreed, used = await agreement(judge, pairs) if pairs else (None, Usage())
    unscored: dict[str, int] = {}
    for judgment in judged:
        if judgment.score.reason is not None:
            unscored[judgment.score.reason] = unscored.get(judgment.score.reason, 0) + 1
    return Audit(
        rows=rows,
        n_judged=len(judged),
        n_scored=len(judged) - sum(unscored.values()),
        unscored=unscored,
        spread=fmean(spreads) if spreads else None,
        scale=judge.scale,
        usage=sum((judgment.usage for judgment in judged), used),
        agreement=agreed,
    )


def _scored(first: Sequence[Judgment], second: Sequence[Judgment]) -> list[tuple[float, float]]:
    """Return the pairs of scores in which both are numbers."""
    values = ((one.score.value, two.score.value) for one, two in zip(first, second, strict=True))
    return [(one, two) for one, two in values if one is not None and two is not None]


def _row(name: str, margins: Sequence[float], unscored: int) -> AuditRow:
    """Return the row of a control from how far the good answer is ahead in each scored pair."""
    wins, ties = sum(margin > 0 for margin in margins), sum(margin == 0 for margin in margins)
    interval = binomtest(wins, max(len(margins), 1)).proportion_ci(method="wilson")
    least = MIN_WINS if name in CONTROLS else MIN_HARD_WINS
    return AuditRow(name, wins, ties, len(margins), unscored, float(interval.low), float(interval.high), least)


async def _judge(judge: Judge, item: Planted, text: str) -> Judgment:
    return await judge.judge(item.query, [as_completion(answer) for answer in (*item.earlier, text)])


async def _compare(judge: ComparingJudge, item: Planted, text: str) -> Judgment:
    return await judge.compare(item.query, [*item.earlier, item.good], [*item.earlier, text])
