"""Fixtures of what tunes."""

from pathlib import Path

import pytest

from ablations.core.prompt import Demonstration, PromptParts
from ablations.models.resolve import ResolvedModel
from ablations.models.tokenizer import Tokens
from ablations.models.training.jobs import Job
from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import Sample, make_samples
from ablations.prompts.templates import find_template
from tests.support.arms import EMPTY_TRACKING
from tests.support.tiny import make_tiny_model

COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black"}
EXAMPLES = tuple(
    Demonstration(
        f"example-{thing}",
        f"what is the color of {thing}",
        f"it is {colour}",
        ((f"why is {thing} {colour}", f"because of the light and the {thing}"),),
    )
    for thing, colour in COLOURS.items()
)
BARE = PromptParts("", find_template("urial"))


@pytest.fixture(scope="session", autouse=True)
def _tracking(empty_tracking: Path) -> None:
    EMPTY_TRACKING[:] = [empty_tracking]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def samples(tiny: ResolvedModel) -> tuple[Sample, ...]:
    return tuple(make_samples(EXAMPLES, BARE, Tokens(tiny)))


@pytest.fixture
def job(tiny: ResolvedModel, samples: tuple[Sample, ...]) -> Job:
    """Eight answers, four a step, three passes: six steps."""
    recipe = Recipe(method="lora", epochs=3, learning_rate=0.02, batch=4, rank=4, alpha=8)
    return Job(tiny, recipe, samples)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "job"
    made.mkdir()
    return made
