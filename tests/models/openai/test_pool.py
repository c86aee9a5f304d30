"""Claims about several servers as one: who gets a request, and what happens where one dies."""

import asyncio
from collections.abc import Callable

import pytest

from ablations.core.condition import DecodingParams
from ablations.core.errors import BackendError, UsageError
from ablations.core.records import Completion, Prompt
from ablations.models.base import BackendIdentity
from ablations.models.openai import pool
from ablations.models.openai.pool import ServerPool
from tests.support.fakes import FakeBackend

PROMPT, DECODING = Prompt("q", 1, "Hello?"), DecodingParams()


class Server(FakeBackend):
    """A server that can die and come back."""

    def __init__(self, model: str = "m", seconds: float = 0.001) -> None:
        super().__init__()
        self.dead = False
        self.asked = 0
        self._model, self._seconds = model, seconds

    @property
    def identity(self) -> BackendIdentity:
        return BackendIdentity("openai", self._model, {})

    async def generate(self, prompt: Prompt, decoding: DecodingParams, seed: int) -> Completion:
        self.asked += 1
        if self.dead:
            raise BackendError("the server is gone")
        await asyncio.sleep(self._seconds)
        return await super().generate(prompt, decoding, seed)


def ask(servers: ServerPool, count: int, first: int = 0) -> list[Completion]:
    async def together() -> list[Completion]:
        return list(await asyncio.gather(*(servers.generate(PROMPT, DECODING, first + at) for at in range(count))))

    return asyncio.run(together())


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(pool, "LONGEST_PAUSE_SECONDS", 0.1)


def test_requests_go_to_the_least_busy_server() -> None:
    fast, slow = Server(seconds=0.005), Server(seconds=0.05)
    ask(ServerPool([fast, slow], ["fast", "slow"]), 8)
    assert (fast.asked, slow.asked) == (4, 4)

    async def one_after_the_other() -> None:
        servers = ServerPool([fast, slow], ["fast", "slow"])
        waiting = [asyncio.ensure_future(servers.generate(PROMPT, DECODING, at)) for at in range(2)]
        for at in range(10):
            await asyncio.sleep(0.008)
            waiting.append(asyncio.ensure_future(servers.generate(PROMPT, DECODING, at)))
        await asyncio.gather(*waiting)

    asyncio.run(one_after_the_other())
    assert fast.asked > 1.5 * slow.asked


def test_answers_do_not_hang_on_the_server() -> None:
    alone = ask(ServerPool([Server()], ["one"]), 6)
    assert ask(ServerPool([Server(), Server(), Server()], ["a", "b", "c"]), 6) == alone


def test_a_dead_server_is_left_out_and_no_request_is_lost(said: list[str]) -> None:
    dead, alive = Server(), Server()
    dead.dead = True
    assert len(ask(ServerPool([dead, alive], ["dead", "alive"], said.append), 20)) == 20
    assert dead.asked <= 10  # the requests that were in flight when it was found out
    assert len(alive.requests) == 20
    assert said == ["the server is gone; the server is left out for a while"]


def test_a_server_that_comes_back_is_asked_again(quick: Callable[[], None], said: list[str]) -> None:
    one, other = Server(), Server()
    servers = ServerPool([one, other], ["one", "other"], said.append)
    one.dead = True
    ask(servers, 4)
    before = one.asked
    one.dead = False

    async def later() -> None:
        await asyncio.sleep(0.15)
        await asyncio.gather(*(servers.generate(PROMPT, DECODING, at) for at in range(4)))

    asyncio.run(later())
    assert one.asked > before
    assert said[-1] == "the server one answers again"


def test_where_all_are_dead_requests_wait_and_then_fail(
    quick: Callable[[], None], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE_SECONDS", 0.3)
    one, other = Server(), Server()
    one.dead = other.dead = True
    with pytest.raises(BackendError, match="the server is gone"):
        ask(ServerPool([one, other], ["one", "other"], said.append), 1)
    assert min(one.asked, other.asked) >= 2
    assert len(said) == 2


def test_servers_of_different_models_are_refused() -> None:
    with pytest.raises(UsageError, match="the servers a and b do not serve the same"):
        ServerPool([Server("m"), Server("n")], ["a", "b"])


def test_it_is_what_each_of_them_is() -> None:
    servers = [Server(), Server()]
    both = ServerPool(servers, ["a", "b"])
    assert (both.identity, both.honours, both.context_length) == (servers[0].identity, servers[0].honours, None)
    assert asyncio.run(both.count_tokens("one two")) == 2
    asyncio.run(both.start())
    asyncio.run(both.close())
    assert [server.closed for server in servers] == [True, True]
