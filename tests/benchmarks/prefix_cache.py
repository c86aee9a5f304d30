"""Savings of vLLM's prefix cache on prompts that share demonstrations: the same requests with it and without.

Each way has an engine of its own, loaded in turn; the ratio is of the seconds that the requests took.
"""

import asyncio
import time
from pathlib import Path

from ablations.core.condition import Condition, DecodingParams
from ablations.datasets.pools import load_pool
from ablations.datasets.queries import choose_subset, load_queries
from ablations.datasets.selection import Chooser
from ablations.models.resolve import resolve_model
from ablations.models.vllm.engine import VllmBackend
from ablations.prompts.components import build_parts
from ablations.prompts.render import render_prompt

NUMBERS = (1, 3, 10, 20)


async def measure(model: str, limit: int, folder: Path) -> dict[str, float]:
    """Return seconds and hit rates of both ways, and the time without the cache over that with it."""
    chooser = Chooser(load_pool("examples"))
    queries = choose_subset(load_queries("instructions"), limit, seed=0)
    conditions = [
        Condition(DecodingParams(max_tokens=24), build_parts(shots=number, source="random", chooser=chooser))
        for number in NUMBERS
    ]
    requests = [
        (render_prompt(query, condition.prompt), condition.effective, 0)
        for condition in conditions
        for query in queries
    ]
    figures: dict[str, float] = {"requests": len(requests)}
    seconds = {}
    for way, enabled in (("with", True), ("without", False)):
        backend = VllmBackend(
            resolve_model(model), {"enable_prefix_caching": enabled, "max_model_len": 4096}, folder / f"{way}.log"
        )
        await backend.start()
        try:
            begun = time.perf_counter()
            await asyncio.gather(*(backend.generate(*request) for request in requests))
            seconds[way] = time.perf_counter() - begun
            figures[f"{way} prefix cache, s"] = seconds[way]
            figures[f"{way} prefix cache, hit rate"] = backend.prefix_cache.hit_rate or 0.0
        finally:
            await backend.close()
    return figures | {"time without / with": seconds["without"] / seconds["with"]}
