"""The plan of a comparison of prompts with fine-tuning: its arms, where they run, and what that takes.

Knows arms and placements; trains and evaluates nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablations.core.condition import Condition
from ablations.core.jsonl import JsonObject
from ablations.core.records import TrialRecord
from ablations.judges.base import Judge
from ablations.models.base import Backend
from ablations.models.placement import Placement
from ablations.studies.icl_vs_ift.plan import Arm, TuningPlan, counted
from ablations.studies.kind import Plan
from ablations.studies.planning.lengths import check_prompt_lengths
from ablations.studies.planning.overview import (
    Row,
    decoding_text,
    floor_rows,
    judge_row,
    judging_text,
    judgments,
    overview,
    pool_text,
    prompt_text,
)
from analysis.demonstrations.ways import ALIGNED
from analysis.report.page import Report
from analysis.report.tables import Table


@dataclass(frozen=True)
class ComparisonPlan(Plan):
    """Plan of a comparison of prompts with fine-tuning.

    Attributes:
        tuning: its arms.
        placement: where engines and trainings run.
        costs: what that takes, as rows of an overview.
    """

    tuning: TuningPlan
    placement: Placement
    costs: tuple[Row, ...] = ()

    @property
    def trials(self) -> int:
        """How many arms there are."""
        return len(self.tuning.arms)

    @property
    def conditions(self) -> Sequence[Condition]:
        """Conditions of the study's own model, tuned or not."""
        return [arm.condition for arm in self.tuning.arms if arm.way != ALIGNED]

    @property
    def trains_first(self) -> bool:
        """Weights are tuned before any engine is loaded."""
        return True

    def identity(self, backend: JsonObject, judge: Mapping[str, object]) -> JsonObject:
        """Return what may not change under the study's name: the method among it, not the sizes."""
        return super().identity(backend, judge) | {"tuning": self.tuning.identity}

    def check_finished(self, records: Mapping[int, TrialRecord]) -> None:
        """Raise `StudyMismatchError` where finished arms are not this plan's, but for larger sizes."""
        self.tuning.check_finished(self.spec.name, records)

    async def check(self, backend: Backend) -> None:
        """Raise `PromptError` where a prompt does not fit the aligned model."""
        for arm in self.tuning.arms:
            if arm.way == ALIGNED:
                await check_prompt_lengths(self.placement.other(arm.model), [arm.condition], self.spec.queries)

    def overview(self, judge: Judge) -> Report:
        """Return what the comparison is about to do."""
        spec, plan = self.spec, self.tuning
        arms, options = len(plan.arms), plan.options
        longest = max(arm.condition.decoding.max_tokens for arm in plan.arms)
        requests = arms * spec.turns
        rows: list[Row] = [
            ("model", plan.arms[0].model),
            judge_row(judge),
            *floor_rows(judge, spec.queries),
            ("mode", f"learning in context against fine-tuning ({options.method}), seed {spec.seed}"),
            ("prompt", f"the tuned model is asked with {prompt_text(spec.baseline.prompt)}"),
            ("pool", "; ".join(map(pool_text, spec.pools))),
            ("examples", f"{', '.join(map(str, options.sizes))}; {counted(options.draws, 'draw')} of each"),
            ("decoding", self._decoding()),
            ("queries", f"{len(spec.queries)}, {spec.turns} turns"),
            ("arms", f"{arms}, {spec.concurrency} in flight on each engine"),
            ("requests", f"{requests} completions, {judgments(judge)}; what is stored is not asked again"),
            ("tokens", f"at most {requests * longest:,} new tokens"),
            ("judging", judging_text(spec, judge, arms, longest)),
            *self.costs,
        ]
        listed = tuple((str(arm.number), arm.label, "" if arm.job is None else _recipe_text(arm)) for arm in plan.arms)
        table = Table("Arms", ("trial", "arm", "recipe"), listed, (True, False, False))
        return overview(spec, rows, plan.notes, [table])

    def _decoding(self) -> str:
        """Return how the arms decode, once where all do the same."""
        found: dict[str, list[str]] = {}
        for arm in self.tuning.arms:
            found.setdefault(decoding_text(arm.condition), []).append(arm.way)
        if len(found) == 1:
            return next(iter(found))
        return "; ".join(f"{', '.join(dict.fromkeys(ways))}: {shown}" for shown, ways in found.items())


def _recipe_text(arm: Arm) -> str:
    assert arm.job is not None  # as the caller has seen
    recipe, answers = arm.job.recipe, len(arm.job.samples)
    searched = "looked for around " if arm.held_out else ""
    return (
        f"{answers} answers, {counted(recipe.epochs, 'epoch')}, {recipe.steps(answers)} steps of "
        f"{recipe.batch}, learning rate {searched}{recipe.learning_rate:g}"
    )
