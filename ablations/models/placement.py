"""Placement: where engines and trainings run. Here: this process and its children, one engine loaded at a time.

Knows models and engines, not what they are asked for.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ablations.core.errors import redacted
from ablations.core.jsonl import JsonObject
from ablations.models.base import Backend
from ablations.models.openai.client import ATTEMPTS, OpenAIBackend, probe_server
from ablations.models.openai.pool import ServerPool
from ablations.models.packaged import Say
from ablations.models.resolve import ResolvedModel, resolve_model
from ablations.models.tokenizer import model_length
from ablations.models.training.tuner import Tuner
from ablations.models.vllm.adapters import AdaptedBackend
from ablations.models.vllm.engine import VllmBackend
from ablations.models.vllm.settings import Adapter, check_settings
from ablations.storage.store import Store


class Placement(Protocol):
    """Where engines and trainings run; nothing that it returns is started."""

    @property
    def adapting(self) -> Backend | None:
        """The engine that puts adapters on the study's model, or None where none does."""
        ...

    def adapted(self, adapter: Adapter) -> Backend:
        """Return that engine with an adapter, as a backend."""
        ...

    def other(self, model: str) -> Backend:
        """Return an engine of another model, by its name."""
        ...

    def whole(self, folder: Path) -> Backend:
        """Return an engine of the study's model with the weights in a folder."""
        ...

    def tuner(self, store: Store, say: Say) -> Tuner:
        """Return what trains weights."""
        ...


class LocalPlacement:
    """vLLM's engines in processes of their own, and trainings in one each.

    Args:
        base: the study's model.
        room: settings that make room for adapters, or None where none are asked for.
        settings: of every engine.
        log_file: of every engine.
        tuned: the folder of trained weights.
        tuning_log: where everything goes that training prints.
        say: tells the user what happens.
    """

    def __init__(
        self,
        base: VllmBackend,
        room: Mapping[str, object] | None,
        settings: Mapping[str, object],
        log_file: Path,
        tuned: Path,
        tuning_log: Path,
        say: Say,
    ) -> None:
        self.base = base
        self._room, self._settings, self._log_file, self._say = room, dict(settings), log_file, say
        self._tuned, self._tuning_log = tuned, tuning_log
        self._others: dict[str, VllmBackend] = {}

    @cached_property
    def adapting(self) -> VllmBackend | None:
        """The engine that puts adapters on the study's model, or None where vLLM does not for models of its kind."""
        if self._room is None or not self.base.takes_adapters:
            return None
        return engine_backend(self.base.model, {**self._settings, **self._room}, self._log_file, self._say)

    def adapted(self, adapter: Adapter) -> Backend:
        """Return that engine with an adapter."""
        assert self.adapting is not None  # as the caller has seen
        return AdaptedBackend(self.adapting, adapter)

    def other(self, model: str) -> Backend:
        """Return the engine of another model."""
        if model not in self._others:
            self._others[model] = other_engine(model, self._settings, self._log_file, self._say)
        return self._others[model]

    def whole(self, folder: Path) -> Backend:
        """Return an engine of the study's model with other weights, computed in as many bits as the model itself."""
        return other_engine(str(folder), self.base.precision | self._settings, self._log_file, self._say)

    def tuner(self, store: Store, say: Say) -> Tuner:
        """Return what trains weights, each in a process of its own."""
        say(f"tuning; its log is {self._tuning_log}")
        return Tuner(store, self._tuned, self._tuning_log, say)


def engine_backend(model: str, settings: Mapping[str, object], log_file: Path, say: Say) -> VllmBackend:
    """Return vLLM's engine in this process, not started, with settings that it takes.

    Raises:
        ModelError, UsageError: a model that is not known, or a setting that vLLM does not take.
    """
    say(f"checking the model {model} and its engine settings")
    check_settings(settings)
    backend = VllmBackend(resolved(model, settings, say), settings, log_file, say)
    if settings:
        backend.check_values()
    return backend


async def server_backend(model: str | None, base_urls: Sequence[str], say: Say) -> Backend:
    """Return the backend of a server, or of several that share requests; `model` is None for the only one served.

    Raises:
        UsageError: a server cannot be reached, or does not serve the model.
    """
    # Among several, a request that fails once more soon goes to another one.
    attempts, servers = ATTEMPTS if len(base_urls) == 1 else 2, list[Backend]()
    for address in base_urls:
        name, served = await probe_server(address, model)
        servers.append(OpenAIBackend(name, address, served, attempts))
    return servers[0] if len(servers) == 1 else ServerPool(servers, list(map(redacted, base_urls)), say)


def other_engine(model: str, settings: Mapping[str, object], log_file: Path, say: Say) -> VllmBackend:
    """Return an engine of another model than the settings were made for: its own revision, and its own length."""
    own: JsonObject = {name: value for name, value in settings.items() if name != "revision"}
    trusted = bool(own.get("trust_remote_code", False))
    length = model_length(resolve_model(model, trust_remote_code=trusted, say=silent), trusted)
    if length is not None and "max_model_len" in own:
        own["max_model_len"] = min(int(own["max_model_len"]), length)
    return engine_backend(model, own, log_file, say)


def resolved(model: str, settings: Mapping[str, object], say: Say) -> ResolvedModel:
    """Return the model that an engine with these settings loads."""
    revision = settings.get("revision")
    return resolve_model(
        model,
        trust_remote_code=bool(settings.get("trust_remote_code", False)),
        revision=None if revision is None else str(revision),
        say=say,
    )


def silent(_: str) -> None:
    """Say nothing, where the notice of a licence was shown before."""
