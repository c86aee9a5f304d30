"""Adapters: low-rank weights that a running engine puts on its base model, request by request.

Knows how an engine is asked with an adapter, not how adapters are trained. An engine with room for adapters is asked
with one in every request: vLLM 0.32 on the CPU gives a request without one the adapter in the last place, which its
index -1 selects (`vllm/lora/ops/torch_ops`).
"""

from dataclasses import replace

from ablations.core.condition import DecodingParams
from ablations.core.prompt import ChatTemplate
from ablations.core.records import Completion, Prompt
from ablations.models.base import BackendIdentity, PrefixCache
from ablations.models.vllm.engine import VllmBackend
from ablations.models.vllm.settings import Adapter


class AdaptedBackend:
    """An engine's base model with an adapter, as a backend of its own.

    Args:
        engine: made with room for the adapter (`adapter_settings`).
        adapter: what it puts on its model.
        alone: whether no other adapter uses the engine, so that it is started and closed as this backend is.
    """

    def __init__(self, engine: VllmBackend, adapter: Adapter, alone: bool = False) -> None:
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
