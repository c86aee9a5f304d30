"""A study's seconds per condition against the same requests made in other ways, all in one run.

On one loaded engine, after a round that warms the prefix cache: as a study, in one call, and as trials one after
another, in an order that gives none the better place. Then as published code does it: a fresh process for a condition,
which loads the model and asks one request after another.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.core.condition import DecodingParams
from ablations.core.records import Completion, Prompt, Query
from ablations.datasets.queries import choose_subset, load_queries
from ablations.judges.registry import make_judge
from ablations.models.resolve import resolve_model
from ablations.models.vllm.engine import VllmBackend
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.config.file import find_study_file
from tests.support.specs import load
from tests.support.walks import walk


class Recording:
    """A backend that keeps every request it passes on."""

    def __init__(self, backend: VllmBackend) -> None:
        self._backend = backend
        self.requests: list[tuple[Prompt, DecodingParams, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        """Pass the request on and keep it."""
        self.requests.append((prompt, decoding, seed))
        return await self._backend.generate(prompt, decoding, seed)


AT_ONCE = 4
ROUNDS = ("study", "one call", "one by one", "one by one", "one call", "study")
Request = tuple[Prompt, DecodingParams, int]


@dataclass(frozen=True)
class Round:
    """One way through all requests: its seconds, the tokens written, and MLflow's share of the time."""

    seconds: float
    tokens: int
    tracked: float = 0.0


async def measure(model: str, trials: int, limit: int, folder: Path) -> dict[str, float]:
    """Return tokens per second of each way, ratios of their times, and MLflow's share of the study's time."""
    engine = dict(load(find_study_file("decoding")).engine)
    backend = Recording(VllmBackend(resolve_model(model), engine, folder / "vllm.log"))
    judge = make_judge("reference")
    begun = time.perf_counter()
    await asyncio.gather(backend.start(), judge.start())
    figures: dict[str, float] = {"engine start, s": time.perf_counter() - begun}
    queries = choose_subset(load_queries("instructions"), limit, seed=0)
    rounds: dict[str, list[Round]] = {way: [] for way in ROUNDS}
    try:
        await _study(backend, judge, queries, trials, folder / "warm", AT_ONCE)
        requests = list(backend.requests)
        for number, way in enumerate(ROUNDS):
            at_once = 1 if way == "one by one" else AT_ONCE
            rounds[way].append(
                await _one_call(backend, requests)
                if way == "one call"
                else await _study(backend, judge, queries, trials, folder / str(number), at_once)
            )
    finally:
        await backend.close()
        await judge.close()
    seconds = {way: sum(one.seconds for one in made) / len(made) for way, made in rounds.items()}
    for way, made in rounds.items():
        figures[f"{way}, tokens/s"] = sum(one.tokens for one in made) / sum(one.seconds for one in made)
    own = [request for request in requests if request[1] == requests[0][1]][: len(requests) // trials]
    fresh = await asyncio.to_thread(_fresh_process, model, engine, own, folder / "fresh.log")
    return figures | {
        "requests": len(requests),
        "one call's time / study's": seconds["one call"] / seconds["study"],
        "one by one's time / study's": seconds["one by one"] / seconds["study"],
        "fresh process, s a condition": fresh,
        "study, s a condition": seconds["study"] / trials,
        "fresh process's time / study's, a condition": fresh / (seconds["study"] / trials),
        "MLflow, share of the study's time": max(one.tracked / one.seconds for one in rounds["study"]),
    }


async def _study(
    backend: Any, judge: Any, queries: tuple[Query, ...], trials: int, folder: Path, at_once: int
) -> Round:
    folder.mkdir()
    spec = ConditionsSpec(load(find_study_file("decoding"), name="bench", trials=trials, concurrency=at_once), queries)
    made = await walk(spec, backend, judge, folder)
    return Round(made.seconds, made.progress.completion_tokens, made.tracked)


async def _one_call(backend: Any, requests: Sequence[Request]) -> Round:
    started = time.perf_counter()
    completions = await asyncio.gather(*(backend.generate(*request) for request in requests))
    return Round(time.perf_counter() - started, sum(completion.completion_tokens for completion in completions))


def _fresh_process(model: str, engine: Mapping[str, Any], requests: Sequence[Request], log: Path) -> float:
    """Return the seconds that a process takes from its start to its end for the requests of one condition."""
    started = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=_load_and_ask, args=(model, engine, requests, log))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the fresh process ended with {process.exitcode}; read {log}")
    return time.perf_counter() - started


def _load_and_ask(model: str, engine: Mapping[str, Any], requests: Sequence[Request], log: Path) -> None:
    async def ask() -> None:
        backend = VllmBackend(resolve_model(model), dict(engine), log)
        await backend.start()
        for request in requests:
            await backend.generate(*request)
        await backend.close()

    asyncio.run(ask())
