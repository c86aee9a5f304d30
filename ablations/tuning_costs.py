"""What a comparison of prompts with fine-tuning will take of time, memory and disk, as its plan says it.

Estimates from the model's configuration and from what this machine does now; what it really took is in the results.
"""

import os
from collections.abc import Collection

import psutil

from ablations.demonstrations import CHARACTERS_PER_TOKEN
from ablations.spec import StudySpec
from ablations.tuning import Job, Machine, Shape, estimate, estimate_answers
from ablations.tuning.learning_rate import TRIED
from ablations.tuning_plan import TuningPlan, counted

ENGINE_SECONDS = 30
"""To load an engine of a small model; a large one takes minutes."""
BUSY = 0.75
"""Processes that wait for a core, by core, from which on a machine's speed is not its own."""


def expected_costs(
    spec: StudySpec, plan: TuningPlan, shape: Shape, machine: Machine, kept: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """Return what a comparison will take, as rows of its plan.

    Args:
        spec: its queries.
        plan: its arms.
        shape: of the model that is tuned.
        machine: what does it, measured now.
        kept: keys of the jobs whose weights are there already.
    """
    jobs = {arm.job.key: arm.job for arm in plan.jobs if arm.job is not None}
    new = [job for key, job in jobs.items() if key not in kept]
    searched = _searched(plan)
    training = sum(estimate(shape, job.recipe, job.samples, machine).seconds for job in [*new, *searched])
    loading = ENGINE_SECONDS * _engines(plan)
    answering = _answering(spec, plan, shape, machine)
    time = (
        f"about {_minutes(training + loading + answering)} in all: training {_minutes(training)}, loading "
        f"{counted(_engines(plan), 'engine')} {_minutes(loading)}, answering {_minutes(answering)} where nothing is "
        f"stored{_beside()}"
    )
    return ("training", _trainings(len(jobs), new, searched)), ("time", time), *_space(plan, shape, machine)


def _searched(plan: TuningPlan) -> list[Job]:
    """Return the trainings by which learning rates are looked for: of each pool and size, on its first draw."""
    first = {(arm.pool, arm.examples): arm.job for arm in reversed(plan.jobs) if arm.held_out and arm.job is not None}
    return [job for job in first.values() for _ in range(TRIED)]


def _trainings(all_of_them: int, new: list[Job], searched: list[Job]) -> str:
    parts = [f"{all_of_them} times"]
    if len(new) < all_of_them:
        parts.append(f"{all_of_them - len(new)} of them are there already")
    if searched:
        parts.append(f"and {len(searched)} times to look for learning rates, {TRIED} of each size")
    tokens = sum(job.recipe.epochs * len(sample.tokens) for job in [*new, *searched] for sample in job.samples)
    return f"{', '.join(parts)}: {tokens:,} tokens to read"


def _engines(plan: TuningPlan) -> int:
    """Return how many engines are loaded, one after the other."""
    others = {arm.model for arm in plan.arms if arm.job is None}
    return len(others) + (1 if plan.options.method == "lora" else len(plan.jobs))


def _answering(spec: StudySpec, plan: TuningPlan, shape: Shape, machine: Machine) -> float:
    """Return the seconds of all answers at their longest; what prompts share is read once, as prefix caches have it."""
    asked = sum(len(text) for query in spec.queries for text in query.turns)
    read = sum(
        asked
        + len(parts.rules)
        + sum(len(text or "") for one in parts.demonstrations for said in one.exchanges for text in said)
        for parts in (arm.condition.prompt for arm in plan.arms)
    )
    new = spec.turns * sum(arm.condition.decoding.max_tokens for arm in plan.arms)
    together = len(spec.queries) * min(spec.concurrency, len(plan.arms))
    return estimate_answers(shape, machine, read // CHARACTERS_PER_TOKEN, new, together)


def _space(plan: TuningPlan, shape: Shape, machine: Machine) -> tuple[tuple[str, str], ...]:
    jobs = [arm.job for arm in plan.jobs if arm.job is not None]
    fitted = [estimate(shape, job.recipe, job.samples, machine).plan for job in jobs]
    most = max(fitted, key=lambda one: one.bytes)
    fits = f"of {most.free / 2**30:.1f} GiB that it may plan with" + (
        "" if most.fits else ": it may not fit; lower tuning.max_tokens, or use --tuning lora"
    )
    weights, checkpoint = shape.disk_bytes(jobs[0].recipe)
    return (
        ("memory", f"about {most.bytes / 2**30:.1f} GiB for training, {fits}; an engine is loaded afterwards"),
        ("disk", f"about {(len(jobs) * weights + checkpoint) / 2**30:.1f} GiB for weights and one checkpoint"),
    )


def _minutes(seconds: float) -> str:
    """Return a time as a person says it.

    >>> [_minutes(seconds) for seconds in (8.2, 100, 7000)]
    ['8 s', '2 min', '1.9 h']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _beside() -> str:
    """Return what is said of a machine on which other work runs, so that its speed is measured too low."""
    load, cores = psutil.getloadavg()[0], os.cpu_count() or 1
    return (
        f"; other work runs now (load {load:.1f} on {counted(cores, 'core')}), so expect less"
        if load > BUSY * cores
        else ""
    )
