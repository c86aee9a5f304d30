"""The specification of a study of conditions: its design, and what chooses the points that no design fixes.

Knows neither Optuna nor MLflow nor how conditions are evaluated.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from ablations.core.condition import Condition, plain_values
from ablations.core.jsonl import JsonObject
from ablations.studies.conditions.config import ADAPTIVE_SAMPLERS, ConditionsConfig, SearchConfig
from ablations.studies.conditions.design import DesignPlan, fixed_part, make_design
from ablations.studies.config.space import Values
from ablations.studies.engine.trial import DesignPoint
from ablations.studies.spec import StudySpec


@dataclass(frozen=True)
class ConditionsSpec(StudySpec):
    """Specification of a study of conditions: conditions, queries, and how the study walks through its space."""

    @property
    def walk(self) -> ConditionsConfig:
        """How the study walks through its space."""
        assert isinstance(self.config.kind, ConditionsConfig)  # the kind that this is the specification of
        return self.config.kind

    @property
    def sampler(self) -> str:
        """Name of the sampler for points that the design does not fix."""
        return self.walk.sampler

    @property
    def trials(self) -> int:
        """How many trials were asked for."""
        return self.walk.trials

    def with_trials(self, trials: int) -> Self:
        """Return the study with another number of trials."""
        return replace(self, config=replace(self.config, kind=replace(self.walk, trials=trials)))

    @property
    def design_kind(self) -> str:
        """A grid is a factorial design by another name; a search has nothing fixed but its baseline."""
        if isinstance(self.walk, SearchConfig):
            return "sampled"
        return "factorial" if self.sampler in ("grid", "brute") else self.walk.design

    @property
    def bare(self) -> Values | None:
        """Every parameter's value in the bare prompt, or None where there is none."""
        return None if self.walk.bare is None else {**self.config.baseline, **self.walk.bare}

    @cached_property
    def plan(self) -> DesignPlan:
        """Inputs of the design."""
        return DesignPlan(
            space=self.space,
            baseline=self.config.baseline,
            to_condition=self.to_condition,
            possible=self.possible,
            sampler=self.sampler,
            design=self.design_kind,
            bare=self.bare,
            listed=self.walk.conditions,
            trials=self.trials,
            levels=self.walk.levels,
            seed=self.seed,
            replicated=self.confirms is None,
        )

    @cached_property
    def design(self) -> list[DesignPoint]:
        """The planned trials: all of them, or where the sampler adapts to results those before its own."""
        return make_design(self.plan)

    @cached_property
    def boundary_conditions(self) -> list[Condition]:
        """Conditions that show what all trials need of a backend.

        These are the design's and, where the sampler adapts to results, the baseline with each varied parameter
        at both ends of its domain.
        """
        conditions = [self.to_condition(point.values) for point in self.design]
        if self.sampler in ADAPTIVE_SAMPLERS:
            for parameter in self.space.parameters:
                conditions += [self.to_condition({parameter.name: value}) for value in parameter.domain.spread(2)]
            longest = {name for name in ("max_tokens", "shots") if name in self.space.names}
            conditions.append(self.to_condition({name: max(self.space[name].domain.values()) for name in longest}))
        return conditions

    @property
    def left_out(self) -> int:
        """How many trials of the design's fixed part, or of all combinations, `trials` leaves out."""
        if self.design_kind in ("factorial", "listed"):
            return len(make_design(replace(self.plan, trials=sys.maxsize))) - len(self.design)
        return max(len(fixed_part(self.plan)) - self.trials, 0)

    @property
    def prunes(self) -> bool:
        """Whether trials that cannot become the best stop early; in an ablation that would break the pairing."""
        return isinstance(self.walk, SearchConfig) and self.walk.racing

    @property
    def total_trials(self) -> int:
        """How many trials the study has when it is done."""
        return self.trials if self.sampler in ADAPTIVE_SAMPLERS else len(self.design)

    def identity(self, backend: JsonObject, judge: Mapping[str, object]) -> JsonObject:
        """Return what may not change under one study name; the number of trials can be raised later."""
        return super().identity(backend, judge) | {
            "sampler": self.sampler,
            "design": self.walk.design,
            "bare": plain_values(self.bare or {}),
            "conditions": [plain_values(one) for one in self.walk.conditions],
            "search": {"racing": self.walk.racing if isinstance(self.walk, SearchConfig) else True},
            "levels": self.walk.levels,
        }
