"""Several models compared through the command, with fakes for their engines and the judge."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ablations.cli.main import main
from ablations.core.condition import DecodingParams
from ablations.core.prompt import ChatTemplate
from ablations.core.records import Completion, Prompt, Query
from ablations.models.base import BackendIdentity
from ablations.studies.planning import inputs
from tests.support.fakes import FakeBackend, FakeJudge, make_queries

ALIGNED = "aligned"
"""The name of the model that has a chat template."""


class Named(FakeBackend):
    """A model with a name of its own, which is loaded alone."""

    loaded: "list[Named]" = []  # noqa: RUF012

    def __init__(self, model: str, context_length: int | None = None, fail_after: int | None = None) -> None:
        super().__init__(fail_after, context_length)
        self.model = model
        self.starts = 0

    @property
    def identity(self) -> BackendIdentity:
        return BackendIdentity(self.name, self.model, {})

    @property
    def chat_template(self) -> ChatTemplate | None:  # type: ignore[override]
        return (lambda messages: f"<chat>{messages[-1]['content']}") if self.model == ALIGNED else None

    async def start(self) -> None:
        assert Named.loaded == [], "two engines at once"
        Named.loaded.append(self)
        self.starts += 1

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        assert self in Named.loaded
        made = await super().generate(prompt, decoding, seed)
        return replace(made, text=f"{self.model} {made.text}")

    async def close(self) -> None:
        if self in Named.loaded:
            Named.loaded.remove(self)


def compare(
    folder: Path,
    models: Sequence[str] = ("base", ALIGNED),
    *more: str,
    judge: FakeJudge | None = None,
    fail_after: int | None = None,
    queries: Sequence[Query] | None = None,
) -> tuple[int, list[Named]]:
    """Compare models, results in the folder; return the command's exit code and the engines it made."""
    made: list[Named] = []

    def engine(name: str, *_: object) -> Named:
        made.append(Named(name, fail_after=fail_after))
        return made[-1]

    path = folder.parent / "asked.jsonl"
    path.write_text("".join(f"{json.dumps(asdict(one))}\n" for one in queries or make_queries()))
    arguments = ["--study", "alignment", "--queries", str(path), "--models", ",".join(models), "--mlruns", str(folder)]
    with _patched(engine, judge or FakeJudge()):
        return main(["run", *arguments, *more]), made


@contextmanager
def _patched(engine: object, judge: FakeJudge) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "engine_backend", engine)
        patch.setattr(inputs, "other_engine", engine)
        patch.setattr(inputs, "make_judge", lambda *_: judge)
        Named.loaded.clear()
        yield
