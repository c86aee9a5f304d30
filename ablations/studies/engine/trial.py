"""Trials: one condition with its place in a study, and what the store keeps of it.

Knows neither Optuna nor MLflow.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ablations.core.condition import Condition, format_value, plain_value
from ablations.core.errors import JudgeError
from ablations.core.prompt import Value
from ablations.core.records import Role
from ablations.core.statistics import Summary
from ablations.judges.base import NO_REPLY

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
    """One planned trial.

    Attributes:
        values: the active varied parameters.
        role: why it is in the design: see `Role`.
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
        arm: what the results say of it beside its condition, in a comparison of prompts with fine-tuning.
    """

    number: int
    condition: Condition
    point: DesignPoint
    reference: Condition | None
    name: str | None = None
    index: int | None = None
    baseline: Mapping[str, Value] = field(default_factory=dict, hash=False)
    arm: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def run_name(self) -> str:
        """What MLflow calls the trial: what differs from the baseline first, and of the rest what there is room for."""
        if self.name is not None:
            return self.name
        mark = "A/A: " if self.point.replicate else "baseline: " if self.point.role == Role.BASELINE else ""
        return readable_name(self.point.values, self.baseline, mark)

    @property
    def label(self) -> str:
        """The trial's name: the varied parameters as a person reads them, if nothing else was said."""
        if self.name is not None:
            return self.name
        values = " ".join(f"{name}={format_value(value)}" for name, value in self.point.values.items())
        return f"{values} (A/A)" if self.point.replicate else values

    def record(
        self, state: str, why: str | None, summary: Summary, seconds: float, when: tuple[float, float], measured: bool
    ) -> dict[str, Any]:
        """Return what the store keeps of the finished trial.

        Args:
            state: "complete", "failed", or in a search "stopped" before all queries.
            why: the reason of a failure, or None.
            summary: what it scored.
            seconds: until its last answer was there.
            when: it began and ended, in seconds since the epoch.
            measured: whether the engine made all of its answers, so that `seconds` says how fast that is.
        """
        point = self.point
        return {
            "condition_id": self.condition.condition_id,
            "values": {name: plain_value(value) for name, value in self.condition.values().items()},
            "active": sorted(point.values),
            "role": point.role,
            "replicate": point.replicate,
            "varied": point.varied,
            "reference": None if self.reference is None else self.reference.condition_id,
            "label": self.label,
            "state": state,
            "failed_because": why,
            "seconds": seconds,
            "mean": summary.mean,
            "run_name": self.run_name,
            "point": {name: plain_value(value) for name, value in point.values.items()},
            "index": self.index,
            "started": when[0],
            "ended": when[1],
            "measured": measured,
            **({"arm": dict(self.arm)} if self.arm else {}),
        }


def readable_name(values: Mapping[str, Any], baseline: Mapping[str, Any], mark: str = "") -> str:
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
    kept = max(len(changed), 1)
    while len(mark) + len(" ".join(parts[: kept + 1])) + 2 <= _NAME_LENGTH:
        kept += 1
    return f"{mark}{' '.join(parts[:kept])} …"


def check_replies(name: str, summary: Summary) -> None:
    """Raise `JudgeError` if judgments of a trial are missing because the judge's server gave no reply."""
    if lost := summary.unscored.get(NO_REPLY, 0):
        raise JudgeError(
            f"{name} lacks {lost} judgments because the judge's server gave no reply. That says nothing of the "
            "answers, so the trial is not finished: the same command asks again"
        )
