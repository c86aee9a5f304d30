"""The Backend protocol: what generates text, whatever runs it.

Knows neither queries nor judges. A backend says which decoding parameters it honours; a condition
that sets another one away from its neutral value is refused before any work.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ablations.core.condition import DECODING_PARAMETERS, DecodingParams, format_value, neutral_value
from ablations.core.errors import UnsupportedError
from ablations.core.prompt import ChatTemplate
from ablations.core.records import Completion, Prompt


@dataclass(frozen=True)
class BackendIdentity:
    """Everything that decides a backend's output beside prompt and decoding parameters.

    Attributes:
        backend: the backend's name.
        model: content identity of the model, or the served model's name.
        settings: engine settings that were given or set, by name.
    """

    backend: str
    model: str
    settings: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"backend": self.backend, "model": self.model, "settings": dict(self.settings)}


@dataclass(frozen=True)
class PrefixCache:
    """Prompt tokens that an engine has read since it started.

    Attributes:
        prompt_tokens: tokens of all prompts.
        cached_tokens: those among them that were found in the prefix cache and not computed again.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def hit_rate(self) -> float | None:
        """The share of prompt tokens found in the cache, 0 to 1; None before the first prompt."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


class Backend(Protocol):
    """Generates one completion per call; calls may overlap freely.

    A backend is entered once per study: `start` loads or connects, `close` gives everything back.
    """

    name: str
    honours: frozenset[str]
    max_stops: int | None

    @property
    def identity(self) -> BackendIdentity:
        """Everything that decides the output beside prompt and parameters; known before `start`."""
        ...

    async def start(self) -> None:
        """Load the model or reach the server; raise `BackendError` or `UserError` where that fails."""
        ...

    async def count_tokens(self, text: str, templated: bool = False) -> int | None:
        """Return the number of prompt tokens of `text`, or None where the backend cannot know; before `start`.

        A `templated` text comes from the chat template, so no token is put before it.
        """
        ...

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The model's chat template, or None where it has none or the backend cannot know it; known before `start`."""
        ...

    @property
    def prefix_cache(self) -> PrefixCache | None:
        """Savings from prompts' shared beginnings so far, or None where the backend does not tell."""
        ...

    @property
    def context_length(self) -> int | None:
        """The most tokens that prompt and completion may have together, or None where unknown; known before `start`."""
        ...

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        """Return the completion of `prompt`; `decoding.stop` is a tuple of strings.

        Raises:
            BackendError: the engine or server failed.
        """
        ...

    async def close(self) -> None:
        """Give back the engine or connection."""
        ...


def refuse_unsupported(
    backend_name: str, honours: frozenset[str], max_stops: int | None, settings: Iterable[DecodingParams]
) -> None:
    """Raise `UnsupportedError` if a setting moves a parameter that the backend does not honour."""
    for decoding in settings:
        if max_stops is not None and len(decoding.stop) > max_stops:
            raise UnsupportedError(
                f"stop lists {len(decoding.stop)} strings, and the backend {backend_name!r} takes at most {max_stops}; "
                "list fewer, or use the vllm backend"
            )
        for name in DECODING_PARAMETERS:
            value = getattr(decoding, name)
            if name not in honours and value != neutral_value(name):
                raise UnsupportedError(
                    f"{name} = {format_value(value)} would have no effect: the backend {backend_name!r} is not known "
                    f"to honour {name}; leave it at {format_value(neutral_value(name))}, or use the vllm backend"
                )


def refuse_varied(backend_name: str, honours: frozenset[str], varied: Iterable[str]) -> None:
    """Raise `UnsupportedError` if a study varies a decoding parameter that the backend does not honour."""
    for name in varied:
        if name in DECODING_PARAMETERS and name not in honours:
            raise UnsupportedError(
                f"the study varies {name}, which the backend {backend_name!r} is not known to honour; "
                "take it out of the search space, or use the vllm backend"
            )
