"""Greedy searches around a model that is as good as the demonstrations it is shown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ablations.core.condition import DecodingParams
from ablations.core.prompt import Demonstration
from ablations.core.records import Completion, Judgment, Prompt, Query, Score
from ablations.datasets.pools import Pool
from ablations.datasets.prepare import Prepared
from ablations.datasets.selection import Chooser
from ablations.prompts.urial_file import PromptFile, read_urial
from ablations.studies.greedy.kind import GreedyPlan
from ablations.studies.registry import find_kind
from ablations.studies.spec import StudySpec
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import load
from tests.support.world import World

WORDS = ("plain", "good", "harmful", "better")
WORTH = {"plain": 0.0, "good": 1.0, "better": 2.0, "harmful": -3.0}
"""Points that a demonstration with this word adds to every answer."""
FILE = """
[study]
mode = "greedy-search"
[study.baseline]
temperature = 0.0
shots = 1
[search]
rounds = {rounds}
stop = "{stop}"
"""


class PromptedBackend(FakeBackend):
    """Answers with the worth of the demonstrations in its prompt."""

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        await super().generate(prompt, decoding, seed)
        worth = sum(value for word, value in WORTH.items() if f"a {word} example" in prompt.text)
        return Completion(str(worth), len(prompt.text.split()), 3, "stop", seed)


class NeverStarted(PromptedBackend):
    """A backend that a finished search has no use for."""

    async def start(self) -> None:
        raise AssertionError("the engine was started")


class WorthJudge(FakeJudge):
    """Scores the worth, with a little that depends on the query."""

    async def judge(self, query: Query, completions: Sequence[Completion]) -> Judgment:
        self.judged += 1
        return Judgment(self.name, Score(4 + float(completions[-1].text) + int(query.id[1:]) % 3 * 0.5))


def pool_of(*words: str) -> Pool:
    return Pool("test", tuple(Demonstration(word, f"Ask for a {word} example?", "Yes.") for word in words))


def make_spec(
    folder: Path, *words: str, rounds: int = 2, stop: str = "rounds", queries: int = 12, search: str = ""
) -> StudySpec:
    path = folder / "greedy.toml"
    path.write_text(FILE.format(rounds=rounds, stop=stop) + search)
    prepared = Prepared(Chooser(pool_of(*words)), (), False, ())
    turns = make_queries(queries, turns=1)
    return StudySpec(load(path, concurrency=2), turns, prepared=prepared)


@dataclass(frozen=True)
class Searched:
    """Output, requests and results of one search."""

    text: str
    requests: int
    judged: int
    prompt: PromptFile
    selection: list[str]
    frame: pl.DataFrame


def search(
    world: World, spec: StudySpec, backend: FakeBackend | None = None, judge: FakeJudge | None = None
) -> Searched:
    """Run a search in a folder of results."""
    backend, judge = backend or PromptedBackend(), judge or WorthJudge()
    text = world.run_plan(GreedyPlan(spec), find_kind("greedy-search"), backend, judge)
    folder = world.places.results(spec.name).parent
    return Searched(
        text,
        len(backend.requests),
        judge.judged,
        read_urial(folder / "prompt.txt"),
        json.loads((folder / "selection.json").read_text()),
        pl.read_parquet(folder / "results.parquet"),
    )
