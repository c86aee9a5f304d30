"""A study's tokens per second against the same requests given to the loaded engine in one call.

Both run in one process on one engine, in the order study, call, call, study, each after a round that warms
the prefix cache, so that neither has the better place.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

from ablations.backends.vllm_engine import VllmBackend
from ablations.claims import Claims
from ablations.conditions import DecodingParams
from ablations.evaluation import Evaluator
from ablations.judges import make_judge
from ablations.models import resolve_model
from ablations.optuna_storage import open_optuna_study
from ablations.queries import choose_subset, load_queries
from ablations.records import Completion, Prompt, Query
from ablations.spec import StudySpec
from ablations.store import Store
from ablations.study import Study
from ablations.study_file import find_study_file, read_study_file
from ablations.tracking import Tracker


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


async def measure(model: str, trials: int, limit: int, folder: Path) -> dict[str, float]:
    """Return tokens per second of both ways, their ratio, and MLflow's share of the study's time."""
    file = read_study_file(find_study_file("decoding"))
    backend = Recording(VllmBackend(resolve_model(model), dict(file.engine), folder / "vllm.log"))
    judge = make_judge("reference")
    begun = time.perf_counter()
    await asyncio.gather(backend.start(), judge.start())
    figures: dict[str, float] = {"engine start, s": time.perf_counter() - begun}
    queries = choose_subset(load_queries("instructions"), limit, seed=0)
    rounds: dict[str, list[float]] = {"study": [], "call": []}
    shares = []
    try:
        await _study(backend, judge, file, queries, trials, folder / "warm")
        requests = list(backend.requests)
        for number, way in enumerate(("study", "call", "call", "study")):
            if way == "study":
                speed, share = await _study(backend, judge, file, queries, trials, folder / str(number))
                shares.append(share)
            else:
                speed = await _one_call(backend, requests)
            rounds[way].append(speed)
    finally:
        await backend.close()
        await judge.close()
    for way, speeds in rounds.items():
        figures |= {f"{way}, round {number}, tokens/s": speed for number, speed in enumerate(speeds, start=1)}
    return figures | {
        "requests": len(requests),
        "study / one call": sum(rounds["study"]) / sum(rounds["call"]),
        "MLflow, share of the study's time": max(shares),
    }


async def _study(
    backend: Any, judge: Any, file: Any, queries: tuple[Query, ...], trials: int, folder: Path
) -> tuple[float, float]:
    folder.mkdir()
    spec = StudySpec("bench", file, "ablation", "qmc", trials, 3, 0, 4, queries)
    store = Store(f"sqlite:///{folder / 'store.db'}")
    tracker = Tracker(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts", "bench", "bench")
    await tracker.start("bench", "", {}, {})
    started, tracked = time.perf_counter(), tracker.seconds
    evaluator = Evaluator(backend, judge, store, seed=0)
    optuna_study = open_optuna_study(spec.name, f"sqlite:///{folder / 'optuna.db'}")
    await Study(spec, optuna_study, evaluator, store, tracker, Claims(store, spec.name)).run()
    seconds = time.perf_counter() - started
    share = (tracker.seconds - tracked) / seconds
    await tracker.finish("FINISHED")
    store.close()
    return evaluator.progress.completion_tokens / seconds, share


async def _one_call(backend: Any, requests: list[tuple[Prompt, DecodingParams, int]]) -> float:
    started = time.perf_counter()
    completions = await asyncio.gather(*(backend.generate(*request) for request in requests))
    return sum(completion.completion_tokens for completion in completions) / (time.perf_counter() - started)
