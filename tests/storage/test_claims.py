"""Claims about claims: a trial has one worker, whoever dies, and nobody's clock matters."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ablations.core.errors import StorageError
from ablations.storage import claims
from ablations.storage.claims import BOOKS, Claims
from ablations.storage.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    server = request.param == "postgresql"
    opened = Store(request.getfixturevalue("postgres").database() if server else f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture
def worker(store: Store) -> Callable[..., Claims]:
    return lambda **given: Claims(store, "s", shared=True, **given)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Moves the observers' clock on, while some of them watch."""
    passed = [0.0]
    now = time.monotonic
    monkeypatch.setattr(claims.time, "monotonic", lambda: now() + passed[0])

    def move(seconds: float, *watching: Claims) -> None:
        for _ in range(10):
            passed[0] += seconds / 10
            for one in watching:
                one.taken()

    return move


def test_a_trial_is_claimed_by_one_worker_until_that_gives_it_back(worker: Callable[..., Claims]) -> None:
    one, other = worker(), worker()
    assert one.take(3)
    assert one.take(3)
    assert one.holds(3)
    assert not other.take(3)
    assert other.take(4)
    one.give_back(3)
    assert not one.holds(3)
    assert other.take(3)


def test_a_claim_whose_heart_stands_still_for_a_minute_is_taken_over_by_one_of_those_who_watched(
    worker: Callable[..., Claims], later: Callable[..., None]
) -> None:
    dead, first, second = worker(), worker(), worker()
    assert dead.take(0)
    assert not first.take(0)
    assert not second.take(0)
    late = worker()
    later(claims.DEAD_SECONDS - 1, first, second)
    assert not late.take(0), "one that has only now begun to watch cannot know"
    assert not first.take(0)
    later(2, first, second)
    assert first.take(0)
    assert not second.take(0)
    assert not dead.holds(0)
    dead.give_back(0)
    assert first.holds(0)


def test_nobody_counts_as_dead_for_a_time_in_which_nobody_could_look(
    worker: Callable[..., Claims], later: Callable[..., None]
) -> None:
    silent, other = worker(), worker()
    assert silent.take(0)
    assert not other.take(0)
    later(10 * claims.DEAD_SECONDS)
    assert not other.take(0)
    later(claims.DEAD_SECONDS - 1, other)
    assert silent.holds(0)
    later(2, other)
    assert other.take(0)


def test_the_claims_of_the_dead_are_deleted(
    worker: Callable[..., Claims], later: Callable[..., None], store: Store
) -> None:
    assert all(worker().take(number) for number in (0, 7, BOOKS))
    observer = worker()
    later(claims.DEAD_SECONDS * 1.2, observer)
    assert store.counts()["claims"] == 0
    assert observer.alone


def test_a_beating_heart_keeps_a_claim(
    worker: Callable[..., Claims], later: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)

    async def watch() -> None:
        other = worker()
        async with worker() as living:
            assert living.take(0)
            for _ in range(3):
                assert not other.take(0)
                before = _beat(other)
                while _beat(other) == before:
                    await asyncio.sleep(0.005)
                assert not other.take(0)
                later(claims.DEAD_SECONDS * 0.6, other)
            assert living.holds(0)

    asyncio.run(watch())


def _beat(observer: Claims) -> int:
    return observer._observe()[0][1]


def test_a_worker_that_ends_leaves_no_claim(worker: Callable[..., Claims], store: Store) -> None:
    async def work() -> None:
        async with worker() as one:
            assert one.take(0)
            assert one.take(BOOKS)
            assert store.counts()["claims"] == 3

    asyncio.run(work())
    assert store.counts()["claims"] == 0


def test_one_worker_at_a_time_is_at_the_desk(worker: Callable[..., Claims]) -> None:
    at_desk: list[int] = []
    most = 0

    async def work(claims_of_one: Claims, number: int) -> None:
        nonlocal most
        for _ in range(3):
            async with claims_of_one.desk():
                at_desk.append(number)
                most = max(most, len(at_desk))
                await asyncio.sleep(0.002)
                at_desk.pop()

    async def all_work() -> None:
        workers = [worker() for _ in range(3)]
        await asyncio.gather(*(work(one, number) for number, one in enumerate(workers * 2)))

    asyncio.run(all_work())
    assert most == 1


def test_who_must_be_alone_is_refused_beside_a_living_worker_and_waits_for_a_dead_one(
    worker: Callable[..., Claims], later: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)

    async def beside_a_living_one() -> None:
        async with worker() as living:
            with pytest.raises(StorageError, match=rf"is being run by another process, {living.worker}; wait for it"):
                async with worker(alone=True):
                    pass
        async with worker(alone=True) as first:
            with pytest.raises(StorageError, match=rf"is being run by another process, {first.worker}; wait for it"):
                async with worker():
                    pass
            first.let_in()
            async with worker():
                assert not first.alone

    async def beside_a_dead_one() -> None:
        assert worker().take(0)
        ticks = itertools.count()

        async def sleep(seconds: float, pause: Callable[[float], object] = asyncio.sleep) -> None:
            next(ticks)
            later(claims.DEAD_SECONDS / 4)

        with monkeypatch.context() as patch:
            patch.setattr(claims.asyncio, "sleep", sleep)
            async with worker(alone=True) as only:
                assert only.alone
        assert next(ticks) >= 4

    asyncio.run(beside_a_living_one())
    asyncio.run(beside_a_dead_one())


def test_a_study_on_files_writes_no_claims(store: Store) -> None:
    async def work() -> None:
        async with Claims(store, "s", alone=True) as only:
            async with only.desk():
                assert only.take(0)
            assert only.holds(0)
            assert only.alone
            assert store.counts()["claims"] == 0

    asyncio.run(work())
