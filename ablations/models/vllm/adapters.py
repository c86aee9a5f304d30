"""Adapters: low-rank weights that a running engine puts on its base model, request by request.

Knows how an engine is asked with an adapter, not how adapters are trained. An engine with room for adapters is asked
with one in every request: vLLM 0.32 on the CPU gives a request without one the adapter in the last place, which its
index -1 selects (`vllm/lora/ops/torch_ops`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.core.condition import DecodingParams
from ablations.core.prompt import ChatTemplate
from ablations.core.records import Completion, Prompt
from ablations.models.base import BackendIdentity, PrefixCache

if TYPE_CHECKING:
    from ablations.models.vllm.engine import VllmBackend

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM makes room for."""


@dataclass(frozen=True)
class Adapter:
    """One adapter in PEFT's format.

    Attributes:
        name: how the engine's log calls it.
        number: from 1, another one for each adapter of an engine.
        folder: where its files are.
        identity: of its weights.
    """

    name: str
    number: int
    folder: Path
    identity: str


class AdaptedBackend:
    """An engine's base model with an adapter, as a backend of its own.

    Args:
        engine: made with room for the adapter (`adapter_settings`).
        adapter: what it puts on its model.
        alone: whether no other adapter uses the engine, so that it is started and closed as this backend is.
    """

    def __init__(self, engine: "VllmBackend", adapter: Adapter, alone: bool = False) -> None:
        self._engine = engine
        self._adapter = adapter
        self._alone = alone
        self.name = engine.name
        self.honours = engine.honours
        self.max_stops = engine.max_stops

    @property
    def identity(self) -> BackendIdentity:
        """The engine's, with the adapter's weights."""
        own = self._engine.identity
        return replace(own, model=f"{own.model}+{self._adapter.identity}")

    async def start(self) -> None:
        """Start the engine, unless others use it, who have."""
        if self._alone:
            await self._engine.start()

    async def close(self) -> None:
        """Close the engine, unless others use it."""
        if self._alone:
            await self._engine.close()

    async def count_tokens(self, text: str, templated: bool = False) -> int | None:
        """Return the number of prompt tokens."""
        return await self._engine.count_tokens(text, templated)

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The engine's."""
        return self._engine.chat_template

    @property
    def prefix_cache(self) -> PrefixCache | None:
        """The engine's."""
        return self._engine.prefix_cache

    @property
    def context_length(self) -> int | None:
        """The engine's."""
        return self._engine.context_length

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        """Return the completion that the adapter's weights make."""
        return await self._engine.generate(prompt, decoding, seed, self._adapter)


def adapter_settings(ranks: Iterable[int], at_once: int) -> dict[str, object]:
    """Return the engine settings that make room for adapters of these ranks, `at_once` of them in one batch.

    >>> adapter_settings([12, 16, 16], 2)
    {'enable_lora': True, 'max_lora_rank': 16, 'max_loras': 2}
    """
    asked = list(ranks)
    room = next(rank for rank in RANKS if rank >= max(asked))
    return {"enable_lora": True, "max_lora_rank": room, "max_loras": min(len(asked), at_once)}
