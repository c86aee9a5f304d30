"""Claims about what decides a training."""

from dataclasses import replace
from typing import Any

import pytest

from ablations.core.errors import UserError
from ablations.models.training.jobs import Job, Outcome
from ablations.models.training.recipe import (
    LARGE_BATCH,
    LARGE_FROM,
    LEAST_EPOCHS,
    LEAST_STEPS,
    MOST_EPOCHS,
    SMALL_BATCH,
    Recipe,
    recipe_for,
)


@pytest.mark.parametrize("answers", [1, 6, 16, 48, LARGE_FROM - 1, LARGE_FROM, 8_000])
def test_few_answers_are_passed_until_the_steps_are_enough_and_many_are_not_passed_once_alone(answers: int) -> None:
    recipe = recipe_for(answers, "lora")
    assert LEAST_EPOCHS <= recipe.epochs <= MOST_EPOCHS
    assert recipe.batch == (SMALL_BATCH if answers < LARGE_FROM else LARGE_BATCH)
    assert recipe.steps(answers) >= LEAST_STEPS or recipe.epochs == MOST_EPOCHS


def test_what_is_given_stands_and_none_is_chosen() -> None:
    recipe = recipe_for(16, "full", epochs=5, learning_rate=None, batch=2)
    assert (recipe.epochs, recipe.batch, recipe.learning_rate) == (5, 2, 2e-5)
    assert recipe_for(16, "lora").learning_rate == 3e-4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("epochs", 0), ("epochs", 1.5), ("batch", -1), ("rank", 0), ("rank", 1024), ("alpha", True)),
        *(("learning_rate", 0.0), ("learning_rate", float("nan")), ("learning_rate", 2.0), ("method", "qlora")),
    ],
)
def test_a_number_that_cannot_be_is_refused_with_its_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(UserError, match="--tuning" if name == "method" else name):
        recipe_for(16, **({"method": "lora"} | {name: value}))


def test_a_recipe_and_a_job_come_back_from_json(job: Job) -> None:
    import json

    recipe = replace(job.recipe, target_modules=("q_proj", "v_proj"))
    assert Recipe.from_json(recipe.to_json()) == recipe
    held_out = replace(job, recipe=recipe, held_out=job.samples[:2])
    assert Job.from_dict(json.loads(json.dumps(held_out.to_dict()))) == held_out


@pytest.mark.parametrize(
    ("losses", "learned"), [((2.0, 1.0, 0.5), True), ((2.0, 9.0, 1020.0), False), ((2.0,), True), ((2.0, 2.5), False)]
)
def test_a_loss_that_rose_is_told_from_one_that_fell(losses: tuple[float, ...], learned: bool) -> None:
    rows = tuple((step, loss, 1e-4, 10 * step) for step, loss in enumerate(losses, start=1))
    assert Outcome("w", 1, 1, 1.0, 1, 1, 1, rows).learned_something is learned


def test_a_jobs_key_is_its_content(job: Job) -> None:
    same = replace(job, model=replace(job.model, name="another name", location="/elsewhere"))
    assert same.key == job.key
    others = [
        replace(job, model=replace(job.model, identity="other weights")),
        replace(job, samples=job.samples[1:]),
        replace(job, held_out=job.samples[:1]),
        replace(job, recipe=replace(job.recipe, seed=1)),
        replace(job, recipe=replace(job.recipe, learning_rate=0.03)),
    ]
    assert len({job.key, *(other.key for other in others)}) == 1 + len(others)
