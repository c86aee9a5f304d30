"""Tuning: the same examples that a prompt could show, learned by the model's weights instead."""

from ablations.tuning.jobs import Failure, Job, Outcome, StepSeen
from ablations.tuning.recipe import METHODS, Recipe, recipe_for
from ablations.tuning.samples import Sample, make_samples
from ablations.tuning.sizing import Estimate, Machine, Shape, estimate, estimate_answers
from ablations.tuning.tuner import Tuned, Tuner, TuningProgress

__all__ = [
    "METHODS",
    "Estimate",
    "Failure",
    "Job",
    "Machine",
    "Outcome",
    "Recipe",
    "Sample",
    "Shape",
    "StepSeen",
    "Tuned",
    "Tuner",
    "TuningProgress",
    "estimate",
    "estimate_answers",
    "make_samples",
    "recipe_for",
]
