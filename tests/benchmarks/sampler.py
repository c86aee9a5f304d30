"""Savings of the toolkit's own top-p and penalties on the CPU: the same requests with them and with vLLM's.

Both ways share one loaded engine, 32 requests in flight, in the order vLLM, own, own, vLLM for each setting, after a
round that warms the prefix cache.
"""

import asyncio
import time
from pathlib import Path

from ablations.core.condition import Condition, DecodingParams
from ablations.core.errors import UsageError
from ablations.core.records import Completion, Prompt
from ablations.datasets.queries import choose_subset, load_queries
from ablations.models.resolve import resolve_model
from ablations.models.vllm.engine import VllmBackend
from ablations.prompts.components import build_parts
from ablations.prompts.render import render_prompt
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.config.file import find_study_file
from tests.support.specs import load

IN_FLIGHT, TOKENS = 32, 16
SETTINGS = {
    "greedy": {},
    "greedy, penalty 1.15": {"repetition_penalty": 1.15},
    "T 0.7": {"temperature": 0.7},
    "T 0.7, top-p 0.9": {"temperature": 0.7, "top_p": 0.9},
    "T 0.7, top-p 0.9, penalty 1.15": {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.15},
    "T 1.2, top-p 0.9": {"temperature": 1.2, "top_p": 0.9},
}
Request = tuple[Prompt, DecodingParams, int]


async def measure(model: str, trials: int, limit: int, folder: Path) -> dict[str, float]:
    """Return tokens per second of both ways and their ratio for each setting, and how many texts differ."""
    backend = VllmBackend(resolve_model(model), dict(load(find_study_file("decoding")).engine), folder / "vllm.log")
    if not backend._cpu_sampler:
        raise UsageError("the benchmark 'sampler' is about vLLM's CPU build, which is not installed; choose another")
    queries = choose_subset(load_queries("instructions"), IN_FLIGHT, seed=0)
    conditions = {
        name: Condition(DecodingParams(max_tokens=TOKENS, stop=(), **values), build_parts())
        for name, values in SETTINGS.items()
    }
    requests: dict[str, list[Request]] = {
        name: [(render_prompt(query, one.prompt), one.effective, seed) for seed, query in enumerate(queries)]
        for name, one in conditions.items()
    }
    spec = ConditionsSpec(
        load(find_study_file("decoding"), name="bench", trials=trials, concurrency=4), queries[:limit]
    )
    requests[f"study decoding, {trials} trials of {limit} queries"] = [
        (render_prompt(query, condition.prompt), condition.effective, seed)
        for condition in (spec.to_condition(point.values) for point in spec.design)
        for seed, query in enumerate(spec.queries)
    ]
    await backend.start()
    figures: dict[str, float] = {}
    differing = tokens = 0
    try:
        await _all(backend, requests["greedy"])
        for name, some in requests.items():
            seconds = {True: 0.0, False: 0.0}
            texts: dict[bool, list[str]] = {}
            for own in (False, True, True, False):
                backend._cpu_sampler = own
                begun = time.perf_counter()
                completions = await _all(backend, some)
                seconds[own] += time.perf_counter() - begun
                texts[own] = [completion.text for completion in completions]
            made = sum(completion.completion_tokens for completion in completions)
            figures[f"{name}: vLLM's, tokens/s"] = 2 * made / seconds[False]
            figures[f"{name}: own, tokens/s"] = 2 * made / seconds[True]
            figures[f"{name}: own / vLLM's"] = seconds[False] / seconds[True]
            differing += sum(one != other for one, other in zip(texts[True], texts[False], strict=True))
            tokens += made
    finally:
        await backend.close()
    return figures | {"tokens compared": tokens, "texts that differ": differing}


async def _all(backend: VllmBackend, requests: list[Request]) -> list[Completion]:
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(request: Request) -> Completion:
        async with places:
            return await backend.generate(*request)

    return await asyncio.gather(*map(one, requests))
