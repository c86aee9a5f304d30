"""Several models side by side, as one study, so that its differences are paired over queries.

Each is asked zero-shot, with demonstrations in context and, where it has a chat template, as an aligned model. One
engine is loaded at a time. Knows models by name; the way of a trial is the runner's.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import polars as pl

from ablations.core.concurrency import together
from ablations.core.condition import format_value
from ablations.core.jsonl import JsonObject
from ablations.core.prompt import PromptParts
from ablations.core.records import Role
from ablations.judges.base import Judge
from ablations.models.base import Backend, refuse_unsupported
from ablations.prompts.templates import CHAT
from ablations.studies.alignment.config import MODES, AlignmentConfig
from ablations.studies.config.space import Values
from ablations.studies.engine.evaluator import pace
from ablations.studies.engine.run import Run
from ablations.studies.engine.trial import DesignPoint, PlannedTrial
from ablations.studies.kind import Findings, Plan, Results, StudyKind
from ablations.studies.planning.inputs import Inputs
from ablations.studies.planning.leakage import check_start, queries_that_chose, selection_notes
from ablations.studies.planning.lengths import check_prompt_lengths
from ablations.studies.planning.overview import (
    Row,
    floor_rows,
    judge_row,
    overview,
    pool_text,
    prompt_text,
    request_rows,
)
from ablations.studies.spec import StudySpec
from analysis.alignment import CHAT as ALIGNED
from analysis.alignment import IN_CONTEXT
from analysis.demonstrations.ways import ZERO_SHOT
from analysis.report.page import Report
from analysis.report.tables import Table


@dataclass(frozen=True)
class AskedModel:
    """A model, what answers for it, and the trials that ask it."""

    name: str
    backend: Backend
    trials: tuple[PlannedTrial, ...]


@dataclass(frozen=True)
class AlignmentPlan(Plan):
    """Plan of a comparison of models.

    Attributes:
        models: in the order in which they are loaded.
        notes: what is left out, in sentences.
    """

    models: tuple[AskedModel, ...]
    notes: tuple[str, ...] = ()

    @property
    def backend(self) -> Backend:
        """The first model."""
        return self.models[0].backend

    @property
    def trials(self) -> int:
        """How many trials there are, all models together."""
        return sum(len(one.trials) for one in self.models)

    def identity(self, backend: JsonObject, judge: JsonObject) -> JsonObject:  # type: ignore[override]
        """Return what may not change under the study's name: every model among it."""
        models = {one.name: one.backend.identity.to_dict() for one in self.models}
        return super().identity(backend, judge) | {"models": models}

    async def check(self, backend: Backend) -> None:
        """Raise `UserError` where a model does not honour a setting, or a prompt does not fit its context."""
        for one in self.models:
            conditions = [trial.condition for trial in one.trials]
            decodings = [condition.effective for condition in conditions]
            refuse_unsupported(one.backend.name, one.backend.honours, one.backend.max_stops, decodings)
            await check_prompt_lengths(one.backend, conditions, self.spec.queries)

    def overview(self, judge: Judge) -> Report:
        """Return what the comparison is about to do."""
        spec = self.spec
        planned = [trial for one in self.models for trial in one.trials]
        ways = {str(trial.arm["way"]): prompt_text(trial.condition.prompt) for trial in planned}
        rows: list[Row] = [
            ("models", ", ".join(one.name for one in self.models)),
            judge_row(judge),
            *floor_rows(judge, spec.queries),
            ("mode", f"{spec.mode}, seed {spec.seed}; one model is loaded at a time"),
            ("asked", "; ".join(f"{way}: {prompt}" for way, prompt in ways.items())),
            ("pool", pool_text(spec.prepared)),
            *request_rows(spec, judge, [trial.condition for trial in planned], self.trials),
        ]
        table = Table("Trials", ("trial", "condition"), tuple((str(t.number), t.label) for t in planned), (True, False))
        return overview(spec, rows, self.notes, [table])


class AlignmentKind(StudyKind[AlignmentPlan]):
    """The comparison of several models."""

    modes: ClassVar = MODES

    async def plan(self, inputs: Inputs) -> AlignmentPlan:
        """Return the trials of each model; a model without a chat template is not asked through one."""
        kind = inputs.config.kind
        assert isinstance(kind, AlignmentConfig)  # the kind that this is the plan of
        settings, models = inputs.pool_settings(), _models(kind, inputs)
        # The study's own model is the first one, for all that is recorded of it.
        config = replace(inputs.config, study=replace(inputs.config.study, model=models[0]))
        spec = StudySpec(config, inputs.queries, inputs.fixed_parts(), await inputs.pool(settings))
        check_start(spec, settings, inputs.built_in, inputs.vectors)
        asked, notes = list[AskedModel](), list[str]()
        notes += selection_notes(queries_that_chose(config.study.prompt_file), inputs.queries)
        for model in models:
            backend = await inputs.model(model)
            name = backend.identity.model if model is None else model
            ways = [spec.space.active({**spec.config.baseline, **values}) for values in ({}, *kind.conditions)]
            silent = [values for values in ways if backend.chat_template is None and _asks_chat(values)]
            if silent:
                notes.append(f"{name} has no chat template that is known here: it is not asked as an aligned model")
            before = sum(len(one.trials) for one in asked)
            own = [values for values in ways if values not in silent]
            trials = (_trial(spec, before + number, name, values) for number, values in enumerate(own))
            asked.append(AskedModel(name, backend, tuple(trials)))
        return AlignmentPlan(spec, tuple(asked), tuple(notes))

    async def run(self, plan: AlignmentPlan, run: Run) -> None:
        """Load one model after the other, and evaluate what is not finished of each."""
        done = run.finished()
        left = {one.name: [trial for trial in one.trials if trial.number not in done] for one in plan.models}
        turns = sum(map(len, left.values())) * plan.spec.turns
        if not turns:
            return
        speed, answering = pace(turns, run.progress, plan.spec.turns), [""]
        places = asyncio.Semaphore(plan.spec.concurrency)

        async def evaluate(trial: PlannedTrial, backend: Backend) -> None:
            async with places:
                await run.evaluate(trial, backend=backend)

        with run.reporter.progress(turns, lambda: f"{answering[0]} · {speed()}", run.progress):
            for one in plan.models:
                answering[0] = one.name
                try:
                    await together(evaluate(trial, one.backend) for trial in left[one.name])
                finally:
                    await run.engines.stop(one.backend)

    def summarise(self, results: Results) -> Findings:
        """Return how far the models and their ways are apart."""
        from ablations.studies.alignment.findings import summarise  # figures and forests take seconds to import

        return summarise(results)

    def contrasts(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the gaps between models and their ways."""
        from analysis.alignment import alignment_gaps

        words = pl.format("{} minus {}, {}", "better", "worse", "group")
        return alignment_gaps(frame).select("difference", "low", "high", "n", change=words)


def _models(kind: AlignmentConfig, inputs: Inputs) -> Sequence[str | None]:
    """Return the models that are asked; None is the only one that a server serves."""
    asked = inputs.config.study.model
    if "study.models" in inputs.config.flags or (not inputs.config.server and "study.model" not in inputs.config.flags):
        return kind.models
    return [asked]


def _asks_chat(values: Values) -> bool:
    return values.get("template") == CHAT.name


def _trial(spec: StudySpec, number: int, model: str, values: Values) -> PlannedTrial:
    """Return a way of asking a model as a trial."""
    condition = replace(spec.to_condition(values), weights=model)
    role = Role.LISTED if number else Role.BASELINE
    way = _way(condition.prompt)
    asked = " ".join(f"{one}={format_value(values[one])}" for one in spec.space.names if one in values)
    name, arm = f"{model}, {way}: {asked}", {"model": model, "way": way}
    return PlannedTrial(number, condition, DesignPoint(values, role), name=name, arm=arm)


def _way(parts: PromptParts) -> str:
    """Return the way in which a prompt asks its model."""
    if parts.template.chat:
        return ALIGNED
    return IN_CONTEXT if parts.shots else ZERO_SHOT
