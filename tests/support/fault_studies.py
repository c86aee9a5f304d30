"""Studies that something goes wrong with, run as a person runs them, with fakes for engine and judge."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ablations.cli.main import main
from ablations.studies.planning import inputs
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import SPACE
from tests.support.world import TRIALS, NeverAsked, pages, places_of

ROOT = Path(__file__).parents[2]
UNSTABLE = ("seconds", "started", "ended")
QUERIES = make_queries(8)
MIDDLE = 40
"""A request in the middle of the study."""


def table(folder: Path) -> pl.DataFrame:
    """The results of record without what hangs on the clock."""
    frame = pl.read_parquet(places_of(folder).results("s"))
    return frame.drop(name for name in UNSTABLE if name in frame.columns)


class Disturbed(FakeBackend):
    """Something happens when it is asked for the n-th time."""

    def __init__(self, disturb: Callable[[], Any], at: int = MIDDLE) -> None:
        super().__init__()
        self._disturb, self._at = disturb, at

    async def generate(self, prompt: Any, decoding: Any, seed: int) -> Any:
        made = await super().generate(prompt, decoding, seed)
        if self._at is not None and len(self.requests) >= self._at:
            self._at = None
            self._disturb()
        return made


class Command:
    """The command of one study, `s`, in a folder of its own; `requests` are those of all its runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "mlruns"
        self._patch = monkeypatch
        self._backends: list[FakeBackend] = []
        space, queries = folder / "space.toml", folder / "queries.jsonl"
        space.write_text(SPACE)
        queries.write_text("".join(json.dumps(asdict(query)) + "\n" for query in QUERIES))
        given = {"--search-space": space, "--queries": queries, "--name": "s", "--mlruns": self.folder}
        self.arguments = ["run", *(str(part) for pair in given.items() for part in pair), "--concurrency", "2"]

    def __call__(self, backend: FakeBackend, *more: str, judge: FakeJudge | None = None, trials: int = TRIALS) -> int:
        """Run the study's command and return its exit code; without a fake one, the judge is what `more` asks for."""

        self._backends.append(backend)
        with self._patch.context() as patch:
            patch.setattr(inputs, "engine_backend", lambda *_: backend)
            if "--judge" not in more:
                patch.setattr(inputs, "make_judge", lambda *_: judge or FakeJudge())
            return main([*self.arguments, "--trials", str(trials), *more])

    def in_another_process(self) -> "subprocess.CompletedProcess[str]":
        """Run the command a second time, while this process may be running it."""
        code = (
            f"import sys; from tests.support.fault_studies import beside; sys.exit(beside({str(self.folder.parent)!r}))"
        )
        return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    @property
    def results(self) -> Path:
        return places_of(self.folder).results("s")

    @property
    def requests(self) -> list[Any]:
        return [request for backend in self._backends for request in backend.requests]


def beside(folder: str) -> int:
    """Run the command of the study in a folder; return its exit code."""
    return Command(Path(folder), pytest.MonkeyPatch())(NeverAsked())


def check_same(command: Command, undisturbed: Command, twice: int = 0) -> None:
    """Assert that a study found what the undisturbed one did, and made no more than so many requests twice."""
    assert table(command.folder).equals(table(undisturbed.folder))
    assert set(command.requests) == set(undisturbed.requests)
    assert len(command.requests) - len(undisturbed.requests) <= twice
    shown, known = pages(command.folder), pages(undisturbed.folder)
    assert {page["status"] for page in shown} == {"FINISHED"}
    assert [page["name"] for page in shown] == [page["name"] for page in known]
    assert [page["files"] for page in shown] == [page["files"] for page in known]
