"""A kind of study in one file, as another package would bring it: the baseline, asked several times on other seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Annotated, ClassVar

import polars as pl

from ablations.core.concurrency import together
from ablations.core.records import Role
from ablations.judges.base import Judge
from ablations.studies.config.config import KindConfig
from ablations.studies.config.keys import Key
from ablations.studies.engine.run import Run
from ablations.studies.engine.trial import DesignPoint, PlannedTrial
from ablations.studies.kind import Plan, Results, StudyKind
from ablations.studies.planning.inputs import Inputs
from ablations.studies.planning.overview import judge_row, model_row, overview
from ablations.studies.spec import StudySpec
from analysis.report.page import About, Report, Section
from analysis.report.tables import Table


@dataclass(frozen=True)
class RepeatConfig(KindConfig):
    """`[repeat]`."""

    table: ClassVar[str] = "repeat"
    noun: ClassVar[str] = "a study of noise"
    about: ClassVar[str] = "asks the baseline several times"

    times: Annotated[int, Key("how often the baseline is asked", "--times", "N", "noise", least=2)] = 3


@dataclass(frozen=True)
class RepeatPlan(Plan):
    """How often the baseline is asked."""

    times: int = 2

    @property
    def trials(self) -> int:
        return self.times

    def overview(self, judge: Judge) -> Report:
        rows = [model_row(self.spec), judge_row(judge), ("repeats", f"{self.times} of {self.spec.turns} turns")]
        return overview(self.spec, rows)


@dataclass(frozen=True)
class RepeatFindings:
    """The mean score of each repeat."""

    means: Mapping[int, float]

    @property
    def headline(self) -> str:
        return f"{len(self.means)} repeats score {fmean(self.means.values()):.2f}, spread {self.spread:.3f} points."

    @property
    def spread(self) -> float:
        return pstdev(self.means.values())

    def metrics(self) -> Mapping[str, float | None]:
        return {"repeat_spread": self.spread}

    def tables(self) -> Mapping[str, pl.DataFrame]:
        return {"repeats": pl.DataFrame({"repeat": list(self.means), "mean": list(self.means.values())})}

    def report(self, about: About) -> Report:
        rows = tuple((str(number), f"{mean:.2f}") for number, mean in self.means.items())
        table = Table("Means", ("repeat", "mean"), rows, (True, True))
        return Report(about, self.headline, (Section("Repeats", tables=(table,), brief=True),))


class RepeatKind(StudyKind[RepeatPlan]):
    """Studies of noise."""

    modes: ClassVar = {"repeat": RepeatConfig}

    async def plan(self, inputs: Inputs) -> RepeatPlan:
        kind = inputs.config.kind
        assert isinstance(kind, RepeatConfig)
        spec = StudySpec(inputs.config, inputs.queries, inputs.fixed_parts(), await inputs.pool(inputs.pool_settings()))
        return RepeatPlan(spec, kind.times)

    async def run(self, plan: RepeatPlan, run: Run) -> None:
        await together(run.evaluate(self._trial(plan, number)) for number in range(plan.times))

    def _trial(self, plan: RepeatPlan, number: int) -> PlannedTrial:
        role = Role.REPLICATE if number else Role.BASELINE
        return PlannedTrial(
            number, plan.spec.baseline, DesignPoint({}, role, replicate=number), name=f"repeat {number}"
        )

    def summarise(self, results: Results) -> RepeatFindings:
        means = results.frame.group_by("trial").agg(pl.col("score").mean()).sort("trial")
        return RepeatFindings(dict(means.iter_rows()))
