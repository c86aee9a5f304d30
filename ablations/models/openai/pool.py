"""Several servers of one model as one backend: requests go to the least busy one, a dead one is left out for a while.

Knows servers as backends, not how they are asked.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ablations.core.condition import DecodingParams
from ablations.core.errors import BackendError, UsageError
from ablations.core.prompt import ChatTemplate
from ablations.core.records import Completion, Prompt
from ablations.models.base import Backend, BackendIdentity, PrefixCache

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 60.0
"""For which a server that failed is left out; the pause doubles with every failure in a row."""
PATIENCE_SECONDS = 900.0
"""For which a request goes from server to server."""


@dataclass
class _Server:
    """A server, its address as it is shown, its requests in flight, and when it may be asked again."""

    backend: Backend
    shown: str
    in_flight: int = 0
    failures: int = 0
    again_at: float = 0.0


class ServerPool:
    """A backend of several servers that serve the same model.

    Args:
        servers: a backend for each.
        shown: their addresses without passwords.
        say: tells the user that a server is left out, and that it answers again.

    Raises:
        UsageError: they do not serve the same, so that a result would hang on which one was asked.
    """

    chat_template: ChatTemplate | None = None
    prefix_cache: PrefixCache | None = None

    def __init__(self, servers: Sequence[Backend], shown: Sequence[str], say: Callable[[str], None] = print) -> None:
        self._servers = [_Server(*one) for one in zip(servers, shown, strict=True)]
        self._say = say
        first = servers[0]
        for other, address in zip(servers[1:], shown[1:], strict=True):
            if other.identity != first.identity:
                raise UsageError(
                    f"the servers {shown[0]} and {address} do not serve the same: {first.identity.to_dict()} and "
                    f"{other.identity.to_dict()}; give --base-url for servers of one model alone"
                )
        self.name, self.honours, self.max_stops = first.name, first.honours, first.max_stops

    @property
    def identity(self) -> BackendIdentity:
        """Identity of each server; how many there are changes no result."""
        return self._servers[0].backend.identity

    @property
    def context_length(self) -> int | None:
        """Context length of each server."""
        return self._servers[0].backend.context_length

    async def start(self) -> None:
        """Start all of them."""
        for server in self._servers:
            await server.backend.start()

    async def count_tokens(self, text: str, templated: bool = False) -> int | None:
        """Return the count of the least busy server."""
        return await self._least_busy(time.monotonic()).backend.count_tokens(text, templated)

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        """Return the completion of the least busy server; where it fails, of the next one.

        Raises:
            BackendError: every server failed for `PATIENCE_SECONDS`.
        """
        begun = time.monotonic()
        while True:
            server = self._least_busy(time.monotonic())
            server.in_flight += 1
            try:
                if (pause := server.again_at - time.monotonic()) > 0:  # all of them are left out
                    await asyncio.sleep(pause)
                if server.failures:
                    self._leave_out(server)  # but for this request, which finds out whether it answers again
                completion = await server.backend.generate(prompt, decoding, seed)
            except BackendError as error:
                self._failed(server, error)
                if time.monotonic() - begun > PATIENCE_SECONDS:
                    raise
                continue
            finally:
                server.in_flight -= 1
            if server.failures:
                self._say(f"the server {server.shown} answers again")
                server.failures, server.again_at = 0, 0.0
            return completion

    def _least_busy(self, now: float) -> _Server:
        """Return the least busy server that is not left out; where all are, the one that may be asked first."""
        ready = [server for server in self._servers if server.again_at <= now]
        if ready:
            return min(ready, key=lambda server: server.in_flight)
        return min(self._servers, key=lambda server: server.again_at)

    def _failed(self, server: _Server, error: BackendError) -> None:
        if not server.failures:
            self._say(f"{error}; the server is left out for a while")
        server.failures += 1
        self._leave_out(server)

    def _leave_out(self, server: _Server) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2 ** (server.failures - 1), LONGEST_PAUSE_SECONDS)
        server.again_at = time.monotonic() + pause

    async def close(self) -> None:
        """Close all of them."""
        for server in self._servers:
            await server.backend.close()
