"""Examples that a tiny model learns in seconds, of the colours of things: as samples, a job, and a pool's file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ablations.core.prompt import Demonstration, PromptParts
from ablations.models.resolve import ResolvedModel
from ablations.models.tokenizer import Tokens
from ablations.models.training.jobs import Job
from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import Sample, make_samples
from ablations.prompts.templates import find_template

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


def samples_of(model: ResolvedModel) -> tuple[Sample, ...]:
    return tuple(make_samples(EXAMPLES, BARE, Tokens(model)))


def job_of(model: ResolvedModel, samples: tuple[Sample, ...]) -> Job:
    """Eight answers, four a step, three epochs: six steps."""
    recipe = Recipe(method="lora", epochs=3, learning_rate=0.02, batch=4, rank=4, alpha=8)
    return Job(model, recipe, samples)


def write_pool(path: Path, more: Sequence[Mapping[str, object]] = ()) -> str:
    """Write a pool of four conversations, and further rows; return its path."""
    rows: list[Mapping[str, object]] = [
        {"id": f"example-{thing}", "turns": [f"what is {thing}", "why"], "answers": [f"it is {colour}", "because"]}
        for thing, colour in COLOURS.items()
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, *more]))
    return str(path)
