"""The audit of a judge: how often a good answer scores above a planted control.

Knows judges by their protocol alone. The good answers were written independently of the references.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from ablations.judges.base import Judge
from ablations.judges.controls import CONTROLS
from ablations.records import Completion, Query, Score

AUDIT_SEED = 20_24


@dataclass(frozen=True)
class AuditRow:
    """One line of the audit's table.

    Attributes:
        control: what the good answer was compared with.
        wins, pairs: pairs in which the good answer scored strictly higher, and pairs with two scores.
        unscored: pairs in which either answer got no score.
        low, high: 95 % Wilson interval of the share of wins.
    """

    control: str
    wins: int
    pairs: int
    unscored: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """Wins as a share of scored pairs, or None without any."""
        return self.wins / self.pairs if self.pairs else None


@dataclass(frozen=True)
class Planted:
    """A good answer to one turn and the controls planted in its place, by name."""

    query: Query
    turn: int
    earlier: tuple[str, ...]
    good: str
    controls: Mapping[str, str]


def plant_controls(
    queries: Sequence[Query], answers: Mapping[str, Sequence[str]], seed: int = AUDIT_SEED
) -> list[Planted]:
    """Return every turn that has a good answer, with its controls.

    Another query's answer is the answer to the same turn of a query drawn at random from the others.
    """
    generator = random.Random(seed)
    known = [query for query in queries if query.id in answers]
    planted = []
    for query in known:
        for position, good in enumerate(answers[query.id]):
            others = [q for q in known if q.id != query.id and len(answers[q.id]) > position]
            other = answers[generator.choice(others).id][position]
            controls = {name: plant(good, other, generator) for name, plant in CONTROLS.items()}
            planted.append(Planted(query, position + 1, tuple(answers[query.id][:position]), good, controls))
    return planted


async def audit(judge: Judge, planted: Sequence[Planted]) -> list[AuditRow]:
    """Return one row a control; the judge is started and stays open."""
    await judge.start()
    goods = await asyncio.gather(*(_score(judge, item, item.good) for item in planted))
    rows = []
    for name in CONTROLS:
        controls = await asyncio.gather(*(_score(judge, item, item.controls[name]) for item in planted))
        rows.append(_row(name, goods, controls))
    return rows


def _row(name: str, goods: Sequence[Score], controls: Sequence[Score]) -> AuditRow:
    scored = [
        (good.value, control.value)
        for good, control in zip(goods, controls, strict=True)
        if good.value is not None and control.value is not None
    ]
    wins = sum(good > control for good, control in scored)
    interval = binomtest(wins, max(len(scored), 1)).proportion_ci(method="wilson")
    return AuditRow(name, wins, len(scored), len(goods) - len(scored), float(interval.low), float(interval.high))


async def _score(judge: Judge, item: Planted, text: str) -> Score:
    completions = [_as_completion(answer) for answer in (*item.earlier, text)]
    return (await judge.judge(item.query, completions)).score


def _as_completion(text: str) -> Completion:
    return Completion(text=text, prompt_tokens=0, completion_tokens=len(text.split()), finish_reason="stop", seed=0)
