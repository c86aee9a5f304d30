"""One condition -> completions -> judgments: the path of every request through store, backend and judge.

Knows neither Optuna nor MLflow. Every completion and judgment is stored the moment it exists, and
looked up before it is asked for.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from ablations.core.concurrency import TaskGroup, together
from ablations.core.condition import Condition, content_hash
from ablations.core.records import Completion, JudgedTurn, Judgment, Prompt, Query
from ablations.judges.base import Judge, judgment_identity, worth_asking_again
from ablations.judges.panel import members
from ablations.models.base import Backend
from ablations.prompts.render import render_prompt
from ablations.storage.store import ResultKeys, Store, completion_key, judgment_key

_Result = TypeVar("_Result")


@dataclass
class Progress:
    """Progress of an evaluation; shared by all trials of a study.

    Attributes:
        generated, reused: completions asked of the backend, and found in the store or in flight.
        completion_tokens, prompt_tokens: tokens of generated completions.
        judged: judgments asked of the judge.
        turns_done: judged turns, reused ones included.
        skipped: turns that nobody will ask for, because their trials were stopped.
    """

    generated: int = 0
    reused: int = 0
    completion_tokens: int = 0
    prompt_tokens: int = 0
    judged: int = 0
    turns_done: int = 0
    skipped: int = 0
    listeners: list[Callable[[], None]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many turns are done."""
        return self.turns_done

    def skip(self, turns: int) -> None:
        """Count turns that a stopped trial does without."""
        self.skipped += turns
        self.announce()

    def announce(self) -> None:
        """Tell whoever watches that a turn is done."""
        for listener in self.listeners:
            listener()


@dataclass(frozen=True)
class TurnKeys:
    """Where a judged turn is stored, with each of its judgments, and whether its completion was there before."""

    completion: str
    judgments: tuple[str, ...]
    reused: bool

    def of(self, turn: JudgedTurn) -> list[ResultKeys]:
        """Return them as a trial's record of the turn, one a judge."""
        return [
            ResultKeys(turn.query.id, turn.turn, judgment.judge, self.completion, key)
            for judgment, key in zip(turn.judgments, self.judgments, strict=True)
        ]


OnTurn = Callable[[JudgedTurn, TurnKeys], None]
"""Called with each judged turn the moment it is done."""


@dataclass(frozen=True)
class _Completed:
    """A turn's completion, its key in the store, and whether another request had made it."""

    completion: Completion
    key: str
    reused: bool


class Evaluator:
    """Evaluates conditions on queries with one backend, the judges of one study and one store.

    Args:
        backend, judge: started ones.
        store: where results are looked up first and written at once.
        seed: the study's seed. Request seeds come from it, the query, the turn and the replicate, not
            from the condition, so that conditions share random numbers and their differences are narrower.
    """

    def __init__(self, backend: Backend, judge: Judge, store: Store, seed: int) -> None:
        self._backend = backend
        self._judges = members(judge)
        self._store = store
        self._seed = seed
        self._model = content_hash(backend.identity.to_dict())
        self._judge_hashes = {one.name: judgment_identity(one.identity) for one in self._judges}
        self._in_flight: dict[str, asyncio.Task[object]] = {}
        self.progress = Progress()
        self.asks_again = True
        """Whether a stored judgment without a score may be asked for again; a finished study is only looked up."""

    async def evaluate(
        self,
        condition: Condition,
        queries: Sequence[Query],
        replicate: int,
        on_turn: OnTurn,
        on_generated: Callable[[], None] = lambda: None,
    ) -> list[JudgedTurn]:
        """Return every judged turn of the queries under `condition`, in the queries' order.

        `on_turn` is called with each judged turn, `on_generated` once, when all completions are there. If one
        request fails, the others are cancelled and the error is raised; what was stored stays.
        """
        waiting = len(queries)

        def one_generated() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                on_generated()

        judged = await together(
            self._one_query(condition, query, replicate, on_turn, one_generated) for query in queries
        )
        return [turn for turns in judged for turn in turns]

    async def _one_query(
        self, condition: Condition, query: Query, replicate: int, on_turn: OnTurn, on_generated: Callable[[], None]
    ) -> list[JudgedTurn]:
        """Generate turn after turn; each is judged while the next one is generated."""
        turns: list[_Completed] = []
        judging: list[asyncio.Task[JudgedTurn]] = []
        async with TaskGroup() as group:
            for _ in query.turns:
                turns.append(await self._complete(condition, query, turns, replicate))
                judging.append(group.create_task(self._judge_turn(query, tuple(turns), on_turn)))
            on_generated()
        return [task.result() for task in judging]

    async def _complete(
        self, condition: Condition, query: Query, earlier: Sequence[_Completed], replicate: int
    ) -> _Completed:
        """Return the next turn's completion, from the store where it is there."""
        prompt, seed, key = self._request(condition, query, [turn.completion for turn in earlier], replicate)
        decoding = condition.effective
        stored = self._store.find_completion(key)
        if stored is not None:
            self.progress.reused += 1
            return _Completed(stored, key, reused=True)

        async def generate() -> Completion:
            completion = await self._backend.generate(prompt, decoding, seed)
            request = {"prompt": prompt.to_dict(), "condition_id": condition.condition_id, "seed": seed}
            request["decoding"] = asdict(decoding)
            self._store.add_completion(key, request, completion)
            self.progress.generated += 1
            self.progress.completion_tokens += completion.completion_tokens
            self.progress.prompt_tokens += completion.prompt_tokens
            return completion

        shared = key in self._in_flight
        self.progress.reused += shared
        return _Completed(await self._once(key, generate), key, shared)

    def _request(
        self, condition: Condition, query: Query, earlier: Sequence[Completion], replicate: int
    ) -> tuple[Prompt, int, str]:
        """Return the prompt, the seed and the store's key of the turn after the earlier ones."""
        answers = [completion.answer for completion in earlier]
        prompt = render_prompt(query, condition.prompt, answers, self._backend.chat_template)
        decoding = condition.effective
        # A greedy request has no use for a seed; its replicates are told apart all the same.
        seed = replicate if decoding.greedy else request_seed(self._seed, query.id, prompt.turn, replicate)
        return prompt, seed, completion_key(self._model, prompt, decoding, seed)

    def stored(self, condition: Condition, queries: Sequence[Query], replicate: int) -> bool:
        """Whether evaluating would only look things up, so that neither backend nor judge needs to be started."""
        return all(self._stored(condition, query, replicate) for query in queries)

    def _stored(self, condition: Condition, query: Query, replicate: int) -> bool:
        completions: list[Completion] = []
        for _ in query.turns:
            completion = self._store.find_completion(self._request(condition, query, completions, replicate)[2])
            if completion is None:
                return False
            completions.append(completion)
            found = (self._store.find_judgment(self._judgment_key(one, query, completions)) for one in self._judges)
            if any(one is None or (self.asks_again and worth_asking_again(one.score.reason)) for one in found):
                return False
        return True

    def _judgment_key(self, judge: Judge, query: Query, completions: Sequence[Completion]) -> str:
        return judgment_key(self._judge_hashes[judge.name], query, completions, judge.against(query))

    async def _judge_turn(self, query: Query, turns: tuple[_Completed, ...], on_turn: OnTurn) -> JudgedTurn:
        """Let every judge judge the last of these turns."""
        completions, last = tuple(turn.completion for turn in turns), turns[-1]
        keys = tuple(self._judgment_key(one, query, completions) for one in self._judges)
        made = await together(
            self._judgment(one, key, query, completions) for one, key in zip(self._judges, keys, strict=True)
        )
        turn = JudgedTurn(query, len(turns), last.completion, made[0], tuple(made[1:]))
        self.progress.turns_done += 1
        on_turn(turn, TurnKeys(last.key, keys, last.reused))
        self.progress.announce()
        return turn

    async def _judgment(self, judge: Judge, key: str, query: Query, completions: tuple[Completion, ...]) -> Judgment:
        """Return a judge's judgment of the last completion, from the store where it is there."""
        judgment = known = self._store.find_judgment(key)
        if judgment is None or (self.asks_again and worth_asking_again(judgment.score.reason)):

            async def ask() -> Judgment:
                made = await judge.judge(query, completions)
                if known is not None:  # what was said and paid for before belongs to it
                    made = replace(made, replies=known.replies + made.replies, usage=known.usage + made.usage)
                self._store.add_judgment(key, made, replace=known is not None)
                self.progress.judged += 1
                return made

            judgment = await self._once(key, ask)
        return judgment

    async def _once(self, key: str, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """Run `work` unless the same key is being worked on; then wait for that result."""
        running = self._in_flight.get(key)
        if running is None:
            running = asyncio.ensure_future(work())
            self._in_flight[key] = running
            running.add_done_callback(lambda _: self._in_flight.pop(key, None))
            # Where every waiter was cancelled, asyncio would print the error, with what the server said in it.
            running.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Shielded: a cancelled trial must not take away the result another trial waits for.
        return await asyncio.shield(running)  # type: ignore[arg-type]


def request_seed(study_seed: int, query_id: str, turn: int, replicate: int) -> int:
    """Return the seed of a request, 0 to 2**31 - 1, from everything but the condition."""
    digest = hashlib.sha256(f"{study_seed}|{query_id}|{turn}|{replicate}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 2**31


def pace(total: int, progress: Progress, at_least: int) -> Callable[[], str]:
    """Return what tells the rate and the time left; the time once `at_least` turns were generated.

    The clock starts with the first answer, so that loading an engine is no part of the rate.
    """
    start: list[tuple[float, int, int]] = []

    def told() -> str:
        if progress.generated and not start:
            start.append((time.monotonic(), progress.generated, progress.completion_tokens))
        begun, before, tokens = start[0] if start else (time.monotonic(), progress.generated, 0)
        seconds, made = max(time.monotonic() - begun, 1e-9), progress.generated - before
        waiting = total - progress.skipped - progress.turns_done
        # The first turns wait for the whole first batch, and stored ones take no time: their rate says nothing.
        left = f"{waiting * seconds / made:.0f} s left" if made > at_least else "time left unknown"
        return f"{(progress.completion_tokens - tokens) / seconds:.0f} tokens/s · {left}"

    return told
