"""The vLLM engine in this process: one engine for a whole study, requests of all trials mixed in its batch.

Knows models only by their location. Engine settings go to vLLM as they are.
"""

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from ablations.core.condition import DECODING_PARAMETERS, DecodingParams
from ablations.core.errors import BackendError, PromptError, UsageError, one_line
from ablations.core.prompt import ChatTemplate
from ablations.core.records import Completion, Prompt
from ablations.models.base import BackendIdentity, PrefixCache
from ablations.models.resolve import ResolvedModel
from ablations.models.tokenizer import Tokens, model_length
from ablations.models.vllm.guard import EngineGuard
from ablations.models.vllm.settings import (
    CPU_SAMPLER,
    ROOM_SETTINGS,
    Adapter,
    output_to,
    platform_settings,
    prepare_environment,
    takes_cpu_sampler,
    vllm_version,
)

RESTARTS = 1
"""How often an engine that died is started again in one session; what dies twice has a cause that stays."""


class VllmBackend:
    """vLLM's asynchronous engine, loaded once.

    Args:
        model: what to load.
        settings: vLLM engine arguments by name, passed on as they are.
        log_file: where everything goes that vLLM prints.
        say: tells the user that the engine died and is started again.

    Raises:
        UsageError: a setting that vLLM does not know, or one that the toolkit sets itself.
    """

    name = "vllm"
    honours = frozenset(DECODING_PARAMETERS)
    max_stops: int | None = None

    def __init__(
        self, model: ResolvedModel, settings: Mapping[str, Any], log_file: Path, say: Callable[[str], None] = print
    ) -> None:
        self._model = model
        self._log_file = log_file
        self._say = say
        self._given = dict(settings)
        self._settings = platform_settings(self._given, self._model_length()) | self._given
        self._cpu_sampler = takes_cpu_sampler(self._given)
        self._engine: Any = None
        self._loading: asyncio.Future[None] | None = None
        self._guard = EngineGuard()
        self._requests = itertools.count()
        self._restarting, self._restarts = asyncio.Lock(), 0
        self._cache = PrefixCache()

    @property
    def identity(self) -> BackendIdentity:
        """The model's content, vLLM's version and every engine setting but those of mere room."""
        settings = {name: value for name, value in self._settings.items() if name not in ROOM_SETTINGS}
        return BackendIdentity(self.name, self._model.identity, settings | {"vllm": vllm_version()})

    async def start(self) -> None:
        """Load the model; what vLLM prints goes to the log file."""
        try:
            self._log_file.parent.mkdir(parents=True, exist_ok=True)
            with output_to(self._log_file):
                # Shielded: an interrupt cannot stop the thread, so `close` must wait for what it loads.
                self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
                await asyncio.shield(self._loading)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"vLLM refuses the engine settings or the model {self._model.name!r}: {one_line(error)}; "
                f"its log is {self._log_file}"
            ) from error
        except Exception as error:
            raise BackendError(
                f"vLLM could not start with the model {self._model.name!r}: {one_line(error)}; "
                f"read {self._log_file} for the cause, then run the same command again"
            ) from error

    def _load(self) -> None:
        prepare_environment(self._log_file)
        self._guard.start()
        from vllm.v1.engine.async_llm import AsyncLLM

        self._engine = AsyncLLM.from_engine_args(self._arguments())
        self._guard.loaded()

    def _arguments(self) -> Any:
        from vllm import AsyncEngineArgs

        settings = self._settings | ({"revision": self._model.revision} if self._model.revision else {})
        if self._cpu_sampler:
            settings["logits_processors"] = list(CPU_SAMPLER)
        return AsyncEngineArgs(model=self._model.location, generation_config="vllm", disable_log_stats=True, **settings)

    @property
    def model(self) -> str:
        """The model's name, as the user gave it."""
        return self._model.name

    @cached_property
    def precision(self) -> dict[str, str]:
        """The setting that another engine needs to compute in as many bits as this one; known without loading it.

        Raises:
            UsageError: vLLM refuses the model or its settings.
        """
        with self._asked_unloaded():
            kind = self._arguments().create_engine_config().model_config.dtype
        return {"dtype": str(kind).removeprefix("torch.")}

    @cached_property
    def takes_adapters(self) -> bool:
        """Whether vLLM puts adapters on models of this kind; known without loading it.

        Raises:
            UsageError: vLLM refuses the model or its settings.
        """
        with self._asked_unloaded():
            config = self._arguments().create_engine_config().model_config
            from vllm.model_executor.models import ModelRegistry
            from vllm.model_executor.models.interfaces import supports_lora

            kind, _ = ModelRegistry.resolve_model_cls(config.architectures, model_config=config)
            return bool(supports_lora(kind))

    def check_values(self) -> None:
        """Raise `UsageError` if vLLM refuses the settings for this model, without loading it."""
        with self._asked_unloaded():
            self._arguments().create_engine_config()

    @contextmanager
    def _asked_unloaded(self) -> Iterator[None]:
        """Raise `UsageError` for whatever vLLM refuses before the model is loaded; what it prints goes nowhere."""
        prepare_environment(None)
        try:
            with output_to(Path(os.devnull)):
                yield
        except Exception as error:
            raise UsageError(
                f"vLLM refuses the engine settings for the model {self._model.name!r}: {one_line(error)}; correct "
                "--engine, or choose another model with --model"
            ) from error

    @cached_property
    def tokens(self) -> Tokens:
        """The model's tokenizer, as every prompt goes through it."""
        return Tokens(self._model, self._trusted)

    @property
    def _trusted(self) -> bool:
        return bool(self._given.get("trust_remote_code", False))

    async def count_tokens(self, text: str, templated: bool = False) -> int:
        """Return the number of prompt tokens, the beginning-of-text token included."""
        return len(self.tokens.ids(text, templated))

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The template that came with the tokenizer."""
        if not self.tokens.tokenizer.chat_template:
            return None

        def text(messages: Sequence[Mapping[str, str]]) -> str:
            try:
                template = self.tokens.tokenizer.apply_chat_template
                return str(template(messages, tokenize=False, add_generation_prompt=True))
            except Exception as error:  # whatever the template raises
                raise PromptError(
                    f"the chat template of {self._model.name!r} refuses the prompt: {one_line(error)}; some take no "
                    "system message (system_prompt = 'none'), or want an answer to every demonstration (not "
                    "matching = 'none')"
                ) from error

        return text

    @cached_property
    def _ends_of_turn(self) -> list[int]:
        """Tokens that end an answer of the model, which chat models list in their generation settings."""
        from transformers import GenerationConfig

        try:
            location, revision = self._model.location, self._model.revision or "main"
            ids = GenerationConfig.from_pretrained(location, revision=revision).eos_token_id
        except (OSError, ValueError):  # many base models have none
            return []
        return ids if isinstance(ids, list) else [] if ids is None else [ids]

    @property
    def prefix_cache(self) -> PrefixCache:
        """Counts of the prefix cache, which vLLM reports with each request."""
        return self._cache

    @cached_property
    def context_length(self) -> int | None:
        """The `max_model_len` that was set, or else what the model's configuration says."""
        return int(self._settings["max_model_len"]) if "max_model_len" in self._settings else self._model_length()

    def _model_length(self) -> int | None:
        return model_length(self._model, self._trusted)

    async def generate(
        self, prompt: Prompt, decoding: DecodingParams, seed: int, adapter: Adapter | None = None
    ) -> Completion:
        """Return the completion; the request joins the engine's running batch, with an adapter's weights or without."""
        from vllm import TokensPrompt

        token_prompt = TokensPrompt(prompt_token_ids=self.tokens.ids(prompt.text, prompt.templated))
        params = _sampling_params(decoding, seed, self._ends_of_turn if prompt.templated else [])
        if self._cpu_sampler:
            from ablations.models.vllm.sampler import hand_over

            hand_over(params)
        final = await self._final_output(prompt, token_prompt, params, adapter)
        if final is None:
            raise BackendError(f"vLLM returned nothing for query {prompt.query_id!r}; read {self._log_file}")
        chosen = final.outputs[0]
        if chosen.finish_reason not in ("stop", "length"):
            raise BackendError(
                f"vLLM broke off query {prompt.query_id!r} turn {prompt.turn} ({chosen.finish_reason}); "
                f"read {self._log_file}, then run the same command again: finished work is stored"
            )
        read, cached = len(final.prompt_token_ids), final.num_cached_tokens or 0
        self._cache = PrefixCache(self._cache.prompt_tokens + read, self._cache.cached_tokens + cached)
        return Completion(
            text=chosen.text,
            prompt_tokens=read,
            completion_tokens=len(chosen.token_ids),
            finish_reason=chosen.finish_reason,
            seed=seed,
        )

    async def _final_output(self, prompt: Prompt, token_prompt: Any, params: Any, adapter: Adapter | None) -> Any:
        """Return the last output of a request; where the engine died, that of the next engine."""
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.exceptions import EngineDeadError

        lora = None if adapter is None else LoRARequest(adapter.name, adapter.number, str(adapter.folder))
        while True:
            async with self._restarting:
                engine, final = self._engine, None
            try:
                request_id = f"{prompt.query_id}-{prompt.turn}-{next(self._requests)}"
                async for output in engine.generate(token_prompt, params, request_id, lora_request=lora):
                    final = output
                return final
            except EngineDeadError as error:
                await self._start_again(engine, error)
            except Exception as error:
                raise BackendError(
                    f"vLLM failed on query {prompt.query_id!r} turn {prompt.turn}: {one_line(error)}; "
                    f"read {self._log_file}, then run the same command again: finished work is stored"
                ) from error

    async def _start_again(self, dead: Any, error: Exception) -> None:
        """Start another engine in place of the dead one, unless another request has done so."""
        async with self._restarting:
            if self._engine is not dead:
                return
            if self._restarts == RESTARTS:
                raise BackendError(
                    f"vLLM's engine died again after a restart: {one_line(error)}; read {self._log_file}, "
                    "then run the same command again: finished work is stored"
                ) from error
            self._restarts += 1
            self._say(f"vLLM's engine died and is started again; its log is {self._log_file}")
            with suppress(Exception):  # it is dead already
                self._shut_down()
            self._guard = EngineGuard()
            await self.start()

    async def close(self) -> None:
        """Stop the engine and its worker processes."""
        if self._loading is not None:
            with suppress(Exception):  # `start` has reported it
                await self._loading
        self._shut_down()

    def _shut_down(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            with output_to(self._log_file):
                engine.shutdown()
        self._guard.close()  # where a second Ctrl-C broke that off, the guard ends what is left with this process


def _sampling_params(decoding: DecodingParams, seed: int, stop_tokens: Sequence[int] = ()) -> Any:
    """Map every decoding parameter; vLLM fills what is left out from elsewhere, so nothing is left out."""
    from vllm import SamplingParams

    return SamplingParams(
        n=1,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        top_k=decoding.top_k,
        min_p=decoding.min_p,
        repetition_penalty=decoding.repetition_penalty,
        presence_penalty=decoding.presence_penalty,
        frequency_penalty=decoding.frequency_penalty,
        max_tokens=decoding.max_tokens,
        min_tokens=0,
        stop=list(decoding.stop),
        stop_token_ids=list(stop_tokens),
        seed=None if decoding.greedy else seed,
        skip_special_tokens=True,
    )
