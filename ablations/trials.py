"""Trials: one condition with its place in a study, and what the store keeps of it.

Knows neither Optuna nor MLflow.
"""

from dataclasses import dataclass
from typing import Any

from ablations.conditions import Condition, format_value, plain_value
from ablations.design import DesignPoint
from ablations.errors import JudgeError
from ablations.judges import NO_REPLY
from ablations.scoring import Summary


@dataclass(frozen=True)
class PlannedTrial:
    """A trial with its place in the study.

    Attributes:
        number: of the trial in its study.
        condition: what it evaluates.
        point: why it is in the study.
        reference: the condition that it is compared with, or None.
        name: what people call it, where that is not its varied parameters.
    """

    number: int
    condition: Condition
    point: DesignPoint
    reference: Condition | None
    name: str | None = None

    @property
    def label(self) -> str:
        """The trial's name: the varied parameters as a person reads them, if nothing else was said."""
        if self.name is not None:
            return self.name
        values = " ".join(f"{name}={format_value(value)}" for name, value in self.point.values.items())
        return f"{values} (A/A)" if self.point.replicate else values

    def record(self, state: str, why: str | None, summary: Summary, seconds: float) -> dict[str, Any]:
        """Return what the store keeps of the finished trial."""
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
        }


def check_replies(name: str, summary: Summary) -> None:
    """Raise `JudgeError` if judgments of a trial are missing because the judge's server gave no reply."""
    if lost := summary.unscored.get(NO_REPLY, 0):
        raise JudgeError(
            f"{name} lacks {lost} judgments because the judge's server gave no reply. That says nothing of the "
            "answers, so the trial is not finished: the same command asks again"
        )
