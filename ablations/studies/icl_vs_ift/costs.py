"""Estimated time, memory and disk of a comparison of prompts with fine-tuning, as its plan shows them.

Estimates from the model's configuration and from what this machine does now; what it really took is in the results.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import psutil

from ablations.core.prompt import PromptParts
from ablations.datasets.prepare import CHARACTERS_PER_TOKEN
from ablations.models.training.jobs import Job
from ablations.models.training.sizing import Machine, Shape, estimate, estimate_answers
from ablations.studies.icl_vs_ift.learning_rate import TRIED
from ablations.studies.icl_vs_ift.plan import Arm, TuningPlan, counted
from ablations.studies.spec import StudySpec

ENGINE_SECONDS = 30
"""To load an engine of a small model and end it again; a large one takes minutes."""
BUSY = 0.75
"""Processes that wait for a core, by core, from which on a study has not the whole machine."""


@dataclass(frozen=True)
class Done:
    """Parts of a comparison that are finished already.

    Attributes:
        finished: numbers of its finished arms.
        weights: numbers of the arms whose weights are stored.
        searched: pools and sizes whose learning rates were looked for.
    """

    finished: frozenset[int] = frozenset()
    weights: frozenset[int] = frozenset()
    searched: frozenset[tuple[str, int]] = frozenset()


def expected_costs(
    spec: StudySpec, plan: TuningPlan, shape: Shape, measured: Callable[[], Machine], adapts: bool, done: Done
) -> tuple[tuple[str, str], ...]:
    """Return what a comparison will take, as rows of its plan.

    Args:
        spec: its queries.
        plan: its arms.
        shape: of the model that is tuned; other models are taken to be as large.
        measured: measures the machine that does it, which takes seconds; not asked where nothing is left to do.
        adapts: whether one engine serves all adapters.
        done: what is not to do any more.
    """
    left = [arm for arm in plan.arms if arm.number not in done.finished]
    there = f", {len(done.finished)} of {counted(len(plan.arms), 'arm')} finished" if done.finished else ""
    if not left:
        return (("time", f"nothing is left to do{there}"),)
    machine = measured()
    jobs = [arm.job for arm in left if arm.job is not None and arm.number not in done.weights]
    searched = _searched(plan, left, done)
    estimates = [estimate(shape, job, machine) for job in (*jobs, *searched)]
    engines = plan.by_engine(left, adapts)
    training, loading = sum(one.seconds for one in estimates), ENGINE_SECONDS * len(engines)
    answering = sum(_answering(spec, arms, shape, machine) for _, arms in engines)
    time = (
        f"about {_said(training + loading + answering)} in all: training {_said(training)}, loading "
        f"{counted(len(engines), 'engine')} {_said(loading)}, answering {_said(answering)} where nothing is stored"
        f"{there}{_beside()}"
    )
    rows = [("training", _trainings(plan, len(jobs), searched)), ("time", time)]
    if estimates:
        fits = max((one.plan for one in estimates), key=lambda one: one.bytes)
        remedy = "" if fits.fits else ": it may not fit; lower tuning.max_tokens, or use --tuning lora"
        rows.append(
            (
                "memory",
                f"about {fits.bytes / 2**30:.1f} GiB for training, of {fits.free / 2**30:.1f} GiB that it may plan "
                f"with{remedy}; an engine is loaded afterwards",
            )
        )
        weights, checkpoint = shape.disk_bytes((*jobs, *searched)[0].recipe)
        merged = 0 if adapts or plan.options.method == "full" else 4 * shape.parameters
        size = len(jobs) * (weights + merged) + checkpoint
        rows.append(("disk", f"about {size / 2**30:.1f} GiB more, for weights and one checkpoint"))
    return tuple(rows)


def _searched(plan: TuningPlan, left: Sequence[Arm], done: Done) -> list[Job]:
    """Return the trainings by which learning rates are looked for, each with what it holds out."""
    places = {arm.place for arm in left if arm.job is not None} - done.searched
    return [
        replace(arm.job, held_out=arm.held_out)
        for place, arm in plan.searched.items()
        if place in places and arm.job is not None
        for _ in range(TRIED)
    ]


def _trainings(plan: TuningPlan, new: int, searched: Sequence[Job]) -> str:
    told = counted(len(plan.jobs), "training")
    if done := len(plan.jobs) - new:
        told += f", of which {done} {'is' if done == 1 else 'are'} done already"
    if searched:
        told += f", and {len(searched)} to look for learning rates, {TRIED} for each size of a pool"
    return told


def _answering(spec: StudySpec, arms: Sequence[Arm], shape: Shape, machine: Machine) -> float:
    """Return the seconds of an engine's answers at their longest; what prompts share is read once, as it is cached."""
    asked = sum(len(text) for query in spec.queries for text in query.turns)
    read = sum(asked + _shared(arm.condition.prompt) for arm in arms)
    new = spec.turns * sum(arm.condition.decoding.max_tokens for arm in arms)
    together = len(spec.queries) * min(spec.concurrency, len(arms))
    return estimate_answers(shape, machine, read // CHARACTERS_PER_TOKEN, new, together)


def _shared(parts: PromptParts) -> int:
    """Return the characters of what stands before every query."""
    shown = (text or "" for one in parts.shots for said in one.exchanges for text in said)
    return len(parts.system_prompt) + sum(map(len, shown))


def _said(seconds: float) -> str:
    """Return a time as a person says it.

    >>> [_said(seconds) for seconds in (8.2, 100, 7000)]
    ['8 s', '2 min', '1.9 h']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _beside() -> str:
    """Return what is said of a machine on which other work runs: its speed is measured as if it did not."""
    load, cores = psutil.getloadavg()[0], os.cpu_count() or 1
    if load <= BUSY * cores:
        return ""
    return f"; other work runs now (load {load:.1f} on {counted(cores, 'core')}), beside which it takes longer"
