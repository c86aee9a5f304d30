"""Trials: one condition with its place in a study, and what came of evaluating it.

Knows neither Optuna nor MLflow nor how a condition is evaluated.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ablations.core.condition import Condition, format_value
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import Value
from ablations.core.records import JudgedTurn, Role, TrialRecord
from ablations.core.statistics import Summary

_NAME_LENGTH = 100
"""Of a run's name, beyond which values that are the baseline's are left out."""


class Stopwatch:
    """Runs from its making on, whatever is done to the machine's clock; `started` is in seconds since the epoch."""

    def __init__(self) -> None:
        self.started = time.time()
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has run, never less than before."""
        return time.monotonic() - self._begun

    @property
    def now(self) -> float:
        """Seconds since the epoch, by the clock as it was at the start: never before `started`."""
        return self.started + self.seconds


@dataclass(frozen=True)
class DesignPoint:
    """One planned trial of a design.

    Attributes:
        values: the active varied parameters.
        role: why it is in the design.
        replicate: 0, or 1 for an A/A replicate, which differs in its seeds alone.
        varied: the one parameter that differs from `reference`, or None.
        reference: the values that the point is compared with.
    """

    values: Mapping[str, Value]
    role: Role
    replicate: int = 0
    varied: str | None = None
    reference: Mapping[str, Value] | None = None


@dataclass(frozen=True)
class PlannedTrial:
    """A trial with its place in the study.

    Attributes:
        number: of the trial in its study.
        condition: what it evaluates.
        point: why it is in the study.
        reference: the condition that it is compared with, or None.
        name: what people call it, where that is not its varied parameters.
        index: of the point in the design; None for a trial that a sampler chose.
        baseline: the baseline's values of the varied parameters.
        own_run: whether MLflow shows it as a run of its own.
        arm: what the results say of what answers, by column, in a study whose trials differ in that.
        recipe, job: how the weights that answer were trained, and under which key they are stored.
    """

    number: int
    condition: Condition
    point: DesignPoint
    reference: Condition | None = None
    name: str | None = None
    index: int | None = None
    baseline: Mapping[str, Value] = field(default_factory=dict, hash=False)
    own_run: bool = True
    arm: Mapping[str, str | int | float | None] = field(default_factory=dict, hash=False)
    recipe: JsonObject | None = field(default=None, hash=False)
    job: str | None = None

    @property
    def run_name(self) -> str:
        """Name of the trial's run in MLflow: differences from the baseline first, then as many others as fit."""
        if self.name is not None:
            return self.name
        mark = "A/A: " if self.point.replicate else "baseline: " if self.point.role is Role.BASELINE else ""
        return readable_name(self.point.values, self.baseline, mark)

    @property
    def label(self) -> str:
        """The trial's name: the varied parameters as a person reads them, if nothing else was said."""
        if self.name is not None:
            return self.name
        values = " ".join(f"{name}={format_value(value)}" for name, value in self.point.values.items())
        return f"{values} (A/A)" if self.point.replicate else values


@dataclass(frozen=True)
class TrialResult:
    """A trial that has been evaluated: its record, its judged turns in the queries' order, and their summary."""

    record: TrialRecord
    turns: Sequence[JudgedTurn]
    summary: Summary

    @property
    def scores(self) -> list[float | None]:
        """The score of each turn."""
        return [turn.judgment.score.value for turn in self.turns]


def readable_name(values: Mapping[str, Value], baseline: Mapping[str, Value], mark: str = "") -> str:
    """Return what differs from the baseline first, and of the rest what there is room for.

    >>> readable_name({"temperature": 0.0, "top_p": 0.9}, {"temperature": 0.0, "top_p": 1.0})
    'top_p=0.9 temperature=0'
    """
    changed = [name for name in values if name not in baseline or values[name] != baseline[name]]
    names = [*changed, *(name for name in values if name not in changed)]
    parts = [f"{name}={format_value(values[name])}" for name in names]
    whole = mark + " ".join(parts)
    if len(whole) <= _NAME_LENGTH:
        return whole
    count = max(len(changed), 1)
    while len(mark) + len(" ".join(parts[: count + 1])) + 2 <= _NAME_LENGTH:
        count += 1
    return f"{mark}{' '.join(parts[:count])} …"
