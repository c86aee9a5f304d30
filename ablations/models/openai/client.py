"""Any server with an OpenAI-compatible completions endpoint, through the `openai` client.

Knows models only by the name the server gives them. Base models are asked through completions, not chat.
"""

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

import openai

from ablations.core.condition import DecodingParams
from ablations.core.errors import BackendError, UsageError, redacted
from ablations.core.records import Completion, Prompt
from ablations.models.base import BackendIdentity
from ablations.models.http import MalformedReplyError, api_key, explain, is_transient, retrying

STANDARD = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens", "stop"})
"""Parameters that every completions endpoint honours."""
VLLM_EXTRAS = frozenset({"top_k", "min_p", "repetition_penalty"})
"""Parameters that vLLM's server reads from the request's extra body. Unknown fields are accepted without a word."""

TIMEOUT_SECONDS = 600.0
RETRY_SECONDS = 900.0
ATTEMPTS = 16
IN_FLIGHT = 64
"""Requests at once; more would only wait in the server's queue and run into their time limit."""
_MAX_STOPS = 4


class OpenAIBackend:
    """A completions endpoint.

    Args:
        model: the name under which the server knows the model.
        base_url: the server's address, ending in `/v1`.
        server: what the server says of itself and the model, from `probe_server`.
        attempts: how often a request that fails for a reason that may pass is made.
    """

    name = "openai"

    def __init__(self, model: str, base_url: str, server: "Served", attempts: int = ATTEMPTS) -> None:
        self._model = model
        self._base_url = base_url
        self._server = server
        self.honours = STANDARD | (VLLM_EXTRAS if server.is_vllm else frozenset())
        self.max_stops = None if server.is_vllm else _MAX_STOPS
        # Retries are tenacity's, so that they are counted once.
        self._client = _client(base_url, TIMEOUT_SECONDS)
        self._places = asyncio.Semaphore(IN_FLIGHT)
        self._attempts = attempts

    @property
    def identity(self) -> BackendIdentity:
        """The served model's name and what the server says of it; the address is left out, since servers move."""
        return BackendIdentity(self.name, self._model, asdict(self._server))

    async def start(self) -> None:
        """Nothing is loaded here: the server was asked for its models when the backend was made."""

    chat_template = None
    prefix_cache = None

    async def count_tokens(self, text: str, templated: bool = False) -> int | None:
        """Return the server's own count where it is vLLM; no other server tells."""
        if not self._server.is_vllm:
            return None
        address = str(self._client.base_url.join("/tokenize"))
        body = {"model": self._model, "prompt": text, "add_special_tokens": not templated}
        try:
            reply = await self._client.post(address, body=body, cast_to=object)
        except openai.OpenAIError as error:
            raise BackendError(
                f"the server {redacted(self._base_url)} could not count a prompt's tokens: {explain(error)}"
            ) from error
        return int(reply["count"]) if isinstance(reply, dict) and "count" in reply else None

    @property
    def context_length(self) -> int | None:
        """Context length of the model, as the server reports it."""
        return self._server.max_model_len

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        """Return the completion; transient failures are asked again with growing pauses."""
        request = completion_request(self._model, prompt.text, decoding, seed, self._server.is_vllm)
        try:
            async for attempt in retrying(self._attempts, RETRY_SECONDS):
                with attempt:
                    async with self._places:
                        reply = await self._client.completions.create(**request)
                        completion = _completion(reply, seed)
        except Exception as error:  # its own text may hold the key, so it is not chained
            if isinstance(error, openai.APIStatusError) and not is_transient(error):
                raise UsageError(
                    f"the server {redacted(self._base_url)} refuses the request for query {prompt.query_id!r}: "
                    f"{explain(error)}; check OPENAI_API_KEY, the model and the parameters"
                ) from None
            if not is_transient(error) and not isinstance(error, openai.OpenAIError):
                raise
            raise BackendError(
                f"the server {redacted(self._base_url)} failed on query {prompt.query_id!r}: {explain(error)}; "
                "run the same command again when it is well: finished work is stored"
            ) from None
        return completion

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


@dataclass(frozen=True)
class Served:
    """A server's report of itself and of a model; None where it reports nothing.

    Attributes:
        vllm: vLLM's version, where the server is vLLM.
        root: what vLLM loaded under the served name.
        max_model_len: the model's context length.
    """

    vllm: str | None = None
    root: str | None = None
    max_model_len: int | None = None

    @property
    def is_vllm(self) -> bool:
        """Whether the server is known to be vLLM, and so to honour its extra parameters."""
        return self.vllm is not None


async def probe_server(base_url: str, model: str | None) -> tuple[str, Served]:
    """Ask a server what it serves.

    Returns:
        The model's name (the only one where `model` is None), and what the server says.

    Raises:
        UsageError: the server cannot be reached, or does not serve the model.
    """
    try:
        client = _client(base_url, 20.0)
    except Exception as error:
        raise UsageError(
            f"--base-url {redacted(base_url)} is no address ({explain(error)}); give one such as http://host:8000/v1"
        ) from error
    try:
        served = (await client.models.list()).data
        version = await _vllm_version(client)
        names = [entry.id for entry in served]
    except Exception as error:  # a page that is no server makes the client raise anything
        raise UsageError(
            f"--base-url {redacted(base_url)}: no completions server answers there ({explain(error)}); "
            "check the address (it usually ends in /v1), the server, and OPENAI_API_KEY"
        ) from error
    finally:
        await client.close()
    if model is None and len(names) == 1:
        model = names[0]
    if model not in names:
        raise UsageError(f"--model {model!r} is not served by {redacted(base_url)}; it serves: {', '.join(names)}")
    entry = next(entry for entry in served if entry.id == model)
    return model, Served(version, getattr(entry, "root", None), getattr(entry, "max_model_len", None))


def completion_request(model: str, prompt: str, decoding: DecodingParams, seed: int, is_vllm: bool) -> dict[str, Any]:
    """Return the request's fields; every decoding parameter is sent or was refused before."""
    extras = {"top_k": decoding.top_k, "min_p": decoding.min_p, "repetition_penalty": decoding.repetition_penalty}
    return {
        "model": model,
        "prompt": prompt,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "presence_penalty": decoding.presence_penalty,
        "frequency_penalty": decoding.frequency_penalty,
        "max_tokens": decoding.max_tokens,
        "stop": list(decoding.stop) or None,
        "seed": seed,
        "n": 1,
    } | ({"extra_body": extras} if is_vllm else {})


def _client(base_url: str, timeout: float) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=base_url, api_key=api_key("OPENAI_API_KEY"), timeout=timeout, max_retries=0)


async def _vllm_version(client: openai.AsyncOpenAI) -> str | None:
    """Return vLLM's version where the server tells one, as vLLM does on `/version` beside `/v1`."""
    try:
        reply = await client.get(str(client.base_url.join("/version")), cast_to=object)
    except openai.OpenAIError:
        return None
    version = reply.get("version") if isinstance(reply, dict) else None
    return version if isinstance(version, str) else None


def _completion(reply: Any, seed: int) -> Completion:
    if not getattr(reply, "choices", None) or reply.usage is None or reply.choices[0].text is None:
        raise MalformedReplyError("the reply has no text or no token counts; is it a completions endpoint?")
    choice = reply.choices[0]
    if choice.finish_reason not in ("stop", "length"):
        raise MalformedReplyError(f"the server broke off an answer ({choice.finish_reason})")
    return Completion(
        text=choice.text,
        prompt_tokens=reply.usage.prompt_tokens,
        completion_tokens=reply.usage.completion_tokens,
        finish_reason=choice.finish_reason,
        seed=seed,
    )
