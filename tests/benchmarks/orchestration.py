"""Costs of a study beside the model: per trial, per request, to resume, and in memory; and the store by itself.

The backend and the judge answer at once, so that all the time is the toolkit's, Optuna's and the store's. Two studies
that differ in their queries alone tell what a request takes and what a trial takes beside its requests. MLflow's part
is measured apart, in a smaller study: in a real one it is spent beside the engine, in a thread of its own.
"""

import asyncio
import resource
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ablations.core.condition import DecodingParams
from ablations.core.records import Completion, Judgment, Prompt, Query, Score
from ablations.datasets.queries import choose_subset, load_queries
from ablations.storage.store import Store
from ablations.storage.tables import COMPLETIONS, checksum
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.tracking.tracker import Tracker
from tests.support.fakes import FakeBackend, FakeJudge
from tests.support.specs import load
from tests.support.walks import walk

QUERIES, FEW_QUERIES = 8, 2
SIZES, WITH_PAGES = (1_000, 10_000), 200
ROWS = 1_000_000
SPACE = """
[study.baseline]
temperature = 0.0
top_p = 1.0
repetition_penalty = 1.1
[parameters.temperature]
low = 0.0
high = 2.0
step = 0.01
[parameters.top_p]
low = 0.5
high = 1.0
step = 0.01
requires = "temperature > 0"
[parameters.repetition_penalty]
low = 1.0
high = 1.3
step = 0.01
"""
LOOKED_UP = 5_000


class Instant(FakeBackend):
    """Answers at once with the seed and the temperature."""

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        """Return an answer without waiting."""
        return Completion(f"{seed} {decoding}", 500, 32, "stop", seed)


class InstantJudge(FakeJudge):
    """Scores by length, at once."""

    async def judge(self, query: Query, completions: Any) -> Judgment:
        """Return a score without waiting."""
        return Judgment(self.name, Score(1 + len(completions[-1].text) % 10))


class NoPages(Tracker):
    """Logs nothing."""

    async def start(self, *arguments: Any) -> None:
        """Do nothing."""

    async def log_trial(self, *arguments: Any) -> None:
        """Do nothing."""

    async def finish(self, *arguments: Any) -> None:
        """Do nothing."""


async def measure(folder: Path) -> dict[str, float]:
    """Return milliseconds a trial and a request, MLflow's, resume times, memory, and the store's speed."""
    figures: dict[str, float] = {}
    for trials in SIZES:
        own = folder / str(trials)
        own.mkdir()
        seconds, _, requests = await _study(own, trials, NoPages)
        memory = _memory()
        resumed, _, _ = await _study(own, trials, NoPages)
        figures |= {
            f"{trials:,} trials: ms a trial": 1_000 * seconds / trials,
            f"{trials:,} trials: ms a request": 1_000 * seconds / requests,
            f"{trials:,} trials: resumed, s": resumed,
            f"{trials:,} trials: most memory, MiB": memory,
            f"{trials:,} trials: most memory with the resumption, MiB": _memory(),
        }
    figures |= await _parts(folder, figures)
    seconds, tracked, _ = await _study(folder, WITH_PAGES, Tracker)
    figures |= {
        f"{WITH_PAGES} trials with MLflow: ms a trial": 1_000 * seconds / WITH_PAGES,
        "of these MLflow's thread, ms": 1_000 * tracked / WITH_PAGES,
    }
    return figures | await asyncio.to_thread(_store_speed, folder)


async def _parts(folder: Path, measured: dict[str, float]) -> dict[str, float]:
    """Return what a request takes, and a trial beside its requests, from a second study with fewer queries."""
    trials, own = SIZES[0], folder / "few"
    own.mkdir()
    seconds, _, requests = await _study(own, trials, NoPages, FEW_QUERIES)
    few, each = 1_000 * seconds / trials, requests / trials
    whole = measured[f"{trials:,} trials: ms a trial"]
    more = whole / measured[f"{trials:,} trials: ms a request"]
    request = (whole - few) / (more - each)
    return {"of these a request, ms": request, "and a trial beside its requests, ms": few - each * request}


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _study(folder: Path, trials: int, pages: type[Tracker], limit: int = QUERIES) -> tuple[float, float, int]:
    """Run a study, or resume it; return its seconds, MLflow's, and its requests."""
    queries = choose_subset(load_queries("instructions"), limit, seed=0)
    space = folder / "space.toml"
    space.write_text(SPACE)
    spec = ConditionsSpec(load(space, name="bench", trials=trials, concurrency=8), queries)
    made = await walk(spec, Instant(), InstantJudge(), folder, pages)
    return made.seconds, made.tracked, trials * spec.turns


def _store_speed(folder: Path) -> dict[str, float]:
    """Return writes and look-ups per second of a store with a million completions."""
    url = f"sqlite:///{folder / 'million.db'}"
    store = Store(url)
    completion = Completion("an answer of some words " * 8, 500, 32, "stop", 1)
    record = completion.to_json()
    known = checksum(record)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for start in range(0, ROWS, 10_000):
            rows = [
                {"key": f"{number:032x}", "request": "{}", "record": record, "checksum": known, "created": "now"}
                for number in range(start, start + 10_000)
            ]
            connection.execute(COMPLETIONS.insert(), rows)
    engine.dispose()
    begun = time.perf_counter()
    for number in range(LOOKED_UP):
        assert store.find_completion(f"{(number * 7919) % ROWS:032x}") is not None
    read = time.perf_counter() - begun
    begun = time.perf_counter()
    for number in range(LOOKED_UP):
        store.add_completion(f"{ROWS + number:032x}", {"prompt": "p"}, completion)
    written = time.perf_counter() - begun
    store.close()
    return {
        f"store of {ROWS:,} rows: look-ups a second": LOOKED_UP / read,
        f"store of {ROWS:,} rows: writes a second": LOOKED_UP / written,
    }
