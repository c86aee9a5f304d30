"""Cost of judging through a server: the client's overhead per call, and the time hidden behind generation.

The server is a process of its own on loopback. The overhead is measured where it is largest in proportion, on a
server that answers at once. What is hidden is measured with an engine and a judge of known speed: both only wait.
"""

import asyncio
import itertools
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import openai

from ablations.core.concurrency import together
from ablations.core.condition import DecodingParams
from ablations.core.records import Completion, Prompt
from ablations.datasets.queries import load_queries
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import JudgeClient, Limits
from ablations.judges.prices import Budget
from ablations.judges.registry import make_judge
from ablations.models.base import Backend
from ablations.studies.conditions.spec import ConditionsSpec
from ablations.studies.config.file import find_study_file
from tests.support.bad_server import MODEL, bad_server, says
from tests.support.fakes import FakeBackend
from tests.support.specs import load
from tests.support.walks import walk

CALLS, IN_FLIGHT, ROUNDS = 400, 32, 4
GENERATION_SECONDS, JUDGING_SECONDS = (0.5, 1.5), 0.5
QUESTION = [{"role": "user", "content": "Rate this answer from 1 to 10. " * 20}]


@dataclass
class Spans:
    """When calls ran: begin and end of each, in seconds."""

    spans: list[tuple[float, float]] = field(default_factory=list)

    async def watch(self, call: Any) -> Any:
        begun = time.perf_counter()
        try:
            return await call
        finally:
            self.spans.append((begun, time.perf_counter()))

    def most(self) -> int:
        """Return how many calls ran at once, at most; one that begins as another ends runs after it."""
        return max(itertools.accumulate(step for _, step in sorted(self.moments())), default=0)

    def moments(self) -> list[tuple[float, int]]:
        return [(begun, 1) for begun, _ in self.spans] + [(ended, -1) for _, ended in self.spans]


class Watched(FakeBackend):
    """An engine that takes about a second for a completion, now more, now less, the same each time."""

    def __init__(self, spans: Spans) -> None:
        super().__init__()
        self._spans = spans

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        async def made() -> Completion:
            await asyncio.sleep(random.Random(prompt.text).uniform(*GENERATION_SECONDS))
            return await super(Watched, self).generate(prompt, decoding, seed)

        completion: Completion = await self._spans.watch(made())
        return completion


async def measure(trials: int, limit: int, folder: Path) -> dict[str, float]:
    """Return the overhead of the client, judgments in flight, and how much of judging runs beside generation."""
    with judge_server(0.0) as url:
        figures = await _overhead(url)
    with judge_server(JUDGING_SECONDS) as url:
        return figures | await _hidden(url, trials, limit, folder)


async def _overhead(url: str) -> dict[str, float]:
    """Compare seconds per call of the judges' client and of `openai` alone, in alternating rounds."""
    raw = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    own = JudgeClient(MODEL, url, Limits(in_flight=IN_FLIGHT), Budget(None))
    places = asyncio.Semaphore(IN_FLIGHT)

    async def plain() -> None:
        async with places:
            await raw.chat.completions.create(
                model=MODEL,
                messages=QUESTION,  # type: ignore[arg-type]
                max_tokens=16,
                temperature=0.0,
                seed=0,
            )

    async def ours() -> None:
        await own.chat(QUESTION, max_tokens=16)

    seconds: dict[Any, list[float]] = {plain: [], ours: []}
    for way in (plain, ours, *[plain, ours, ours, plain] * (ROUNDS // 2)):
        begun = time.perf_counter()
        await together(way() for _ in range(CALLS))
        seconds[way].append((time.perf_counter() - begun) / CALLS)
    await raw.close()
    await own.close()
    per_call = {way: median(times[1:]) for way, times in seconds.items()}  # the first round opens the connections
    return {
        "openai alone, ms a call": 1000 * per_call[plain],
        "judges' client, ms a call": 1000 * per_call[ours],
        "judges' client / openai alone": per_call[ours] / per_call[plain],
    }


async def _hidden(url: str, trials: int, limit: int, folder: Path) -> dict[str, float]:
    """Run a study and compare when it generated with when it judged."""
    generating, judging = Spans(), Spans()
    queries = load_queries("instructions")[:limit]
    spec = ConditionsSpec(load(find_study_file("decoding"), name="bench", trials=trials, concurrency=4), queries)
    judge = make_judge("rubric", JudgeSettings(model=MODEL, base_url=url))
    backend: Backend = Watched(generating)
    judge.judge = _watched(judge.judge, judging)  # type: ignore[method-assign]
    made = await walk(spec, backend, judge, folder)
    await judge.close()
    busy, both, call_seconds = _overlap(generating, judging)
    return {
        "judgments": len(judging.spans),
        "judgments in flight, at most": judging.most(),
        "judgments in flight, mean while judging": call_seconds / busy,
        "share of judging hidden behind generation": both / busy,
        "study with judging, s": made.seconds,
        "judging, s": busy,
    }


def _watched(judge: Any, spans: Spans) -> Any:
    return lambda query, completions: spans.watch(judge(query, completions))


def _overlap(generating: Spans, judging: Spans) -> tuple[float, float, float]:
    """Return seconds with a judgment running, of these the seconds with a generation too, and summed judging time."""
    moments = sorted(
        [(at, step, 0) for at, step in generating.moments()] + [(at, 0, step) for at, step in judging.moments()]
    )
    busy = both = 0.0
    generations = judgments = 0
    for (at, generation, judgment), (until, _, _) in itertools.pairwise(moments):
        generations, judgments = generations + generation, judgments + judgment
        busy += (until - at) * (judgments > 0)
        both += (until - at) * (judgments > 0 and generations > 0)
    return busy, both, sum(ended - begun for begun, ended in judging.spans)


@contextmanager
def judge_server(seconds: float) -> Iterator[str]:
    """Start a judge's server in a process of its own that takes so long for a reply; yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.judging", str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()  # its end ends the server
        process.wait(timeout=30)
        process.stdout.close()


def main() -> None:
    """Serve until standard input ends."""
    seconds, answer = float(sys.argv[1]), says("Rating: [[7]]")

    def slow(handler: Any, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        answer(handler, body)

    with bad_server([], slow) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
