"""The contract of every backend, on a real engine; each backend's tests inherit this."""

import asyncio
import dataclasses
from typing import Any

import pytest

from ablations.core.condition import DECODING_PARAMETERS, DecodingParams
from ablations.core.errors import UnsupportedError
from ablations.core.records import Completion, Prompt
from ablations.models.base import Backend, refuse_unsupported
from tests.support.servers import Loop

MOVED: dict[str, Any] = {
    "temperature": 0.7,
    "top_p": 0.5,
    "top_k": 3,
    "min_p": 0.2,
    "repetition_penalty": 1.3,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "max_tokens": 7,
    "stop": ("x",),
}
TEXTS = ("The capital of France is", "Once upon a time,", "Water boils at", "The first three primes are")


def settings(**values: Any) -> DecodingParams:
    return DecodingParams(**({"max_tokens": 12, "stop": ()} | values))


class BackendContract:
    """Subclasses provide the fixtures `backend` (started) and `loop` (the one it lives on), and `sent`."""

    def sent(self, decoding: DecodingParams) -> object:
        """Return what the backend sends to its engine for these parameters."""
        raise NotImplementedError

    def complete(
        self, loop: Loop, backend: Backend, requests: list[tuple[str, DecodingParams, int]]
    ) -> list[Completion]:
        async def together() -> list[Completion]:
            prompts = [Prompt(f"q{number}", 1, text) for number, (text, _, _) in enumerate(requests)]
            calls = zip(prompts, requests, strict=True)
            return await asyncio.gather(*(backend.generate(prompt, d, seed) for prompt, (_, d, seed) in calls))

        return list(loop.run(together()))

    @pytest.mark.parametrize("name", DECODING_PARAMETERS)
    def test_every_parameter_is_honoured_or_refused(self, loop: Loop, backend: Backend, name: str) -> None:
        moved = settings(**({name: MOVED[name]} if name == "temperature" else {"temperature": 0.9, name: MOVED[name]}))
        if name not in backend.honours:
            with pytest.raises(UnsupportedError, match=name):
                refuse_unsupported(backend.name, backend.honours, None, [moved])
            return
        neutral = dataclasses.replace(moved, **{name: getattr(settings(), name)})
        assert self.sent(moved) != self.sent(neutral)
        (completion,) = self.complete(loop, backend, [(TEXTS[0], moved, 1)])
        assert completion.completion_tokens <= moved.max_tokens

    @pytest.mark.parametrize("narrow", [{"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-6}, {"temperature": 0.01}])
    def test_what_leaves_one_token_gives_the_greedy_text(
        self, loop: Loop, backend: Backend, narrow: dict[str, Any]
    ) -> None:
        hot = settings(**({"temperature": 1.8, "max_tokens": 16} | narrow))
        greedy, narrowed = self.complete(loop, backend, [(TEXTS[1], settings(max_tokens=16), 0), (TEXTS[1], hot, 5)])
        assert narrowed.text == greedy.text

    def test_max_tokens_cuts_and_says_so(self, loop: Loop, backend: Backend) -> None:
        (completion,) = self.complete(loop, backend, [(TEXTS[1], settings(max_tokens=5), 0)])
        assert (completion.completion_tokens, completion.finish_reason) == (5, "length")
        assert completion.truncated

    def test_a_stop_string_ends_the_text_and_is_left_out(self, loop: Loop, backend: Backend) -> None:
        (whole,) = self.complete(loop, backend, [(TEXTS[1], settings(max_tokens=30), 0)])
        word = whole.text.split()[3]
        (stopped,) = self.complete(loop, backend, [(TEXTS[1], settings(max_tokens=30, stop=(word,)), 0)])
        assert stopped.finish_reason == "stop"
        assert stopped.text == whole.text[: whole.text.index(word)]

    def test_a_seed_reproduces_its_text_and_another_seed_gives_another(self, loop: Loop, backend: Backend) -> None:
        sampled = settings(temperature=1.0, max_tokens=20)
        first, again, other = self.complete(loop, backend, [(TEXTS[1], sampled, s) for s in (7, 7, 8)])
        assert first.text == again.text
        assert first.text != other.text

    def test_requests_mixed_in_one_batch_get_what_each_gets_alone(self, loop: Loop, backend: Backend) -> None:
        kinds = [
            settings(),
            settings(temperature=0.8),
            settings(temperature=0.8, top_p=0.7),
            settings(presence_penalty=0.6),
        ]
        requests = [(text, kind, seed) for seed, (text, kind) in enumerate((t, k) for t in TEXTS for k in kinds)]
        together = self.complete(loop, backend, requests)
        alone = [self.complete(loop, backend, [request])[0] for request in requests]
        assert [completion.text for completion in together] == [completion.text for completion in alone]

    @pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty", "repetition_penalty"])
    def test_a_strong_penalty_changes_a_greedy_text(self, loop: Loop, backend: Backend, penalty: str) -> None:
        kinds = (settings(max_tokens=40), settings(max_tokens=40, **{penalty: 2.0}))
        plain, penalised = self.complete(loop, backend, [(TEXTS[1], kind, 0) for kind in kinds])
        assert plain.text != penalised.text

    def test_token_counts_are_the_models(self, loop: Loop, backend: Backend) -> None:
        (completion,) = self.complete(loop, backend, [(TEXTS[0], settings(max_tokens=3), 0)])
        assert completion.prompt_tokens == 5
        assert completion.completion_tokens == 3
