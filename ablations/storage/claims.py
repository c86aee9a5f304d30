"""Claims: which worker does what, where several processes share a study through a database server.

Knows numbers and heartbeats, not what is done under a claim. No two machines' clocks are compared: a claim is dead when
its heartbeat stood still for `DEAD_SECONDS` of the observer's own monotonic clock, while the observer was looking.
"""

import asyncio
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Self

import sqlalchemy as sa

from ablations.core.errors import StorageError
from ablations.storage.store import Store
from ablations.storage.tables import CLAIMS

BEAT_SECONDS = 10.0
DEAD_SECONDS = 60.0
BOOKS = -1
"""The claim under which a study's results are exported and logged, and its best conditions confirmed."""
_DESK, _ALONE = -2, -3
_PRESENT = -4  # and below: one for each worker
_PAUSE_SECONDS = 0.05


class _Held(NamedTuple):
    """A claim as it was seen: whose it is, its heartbeat, and since when that stands still."""

    worker: str
    beat: int
    since: float


class Claims:
    """What this process has taken of one study, and who else works on it.

    Entering raises `StorageError` where another worker must be alone with the study, or this one must and is not.

    Args:
        store: where all workers see the claims.
        study: its name.
        shared: whether other processes may work on the study; otherwise every claim is given, and none is written.
        alone: whether this worker must be the only one until it calls `let_in`.
    """

    def __init__(self, store: Store, study: str, shared: bool = False, alone: bool = False) -> None:
        self.shared = shared
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._database = store.database
        self._study = study
        self._must_be_alone = alone
        self._seen: dict[int, _Held] = {}
        self._looked = 0.0
        self._looking = threading.Lock()
        self._desk = asyncio.Lock()
        self._left = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="claims", daemon=True)

    async def __aenter__(self) -> Self:
        if self.shared:
            self._beating.start()
            try:
                await self._enter()
            except BaseException:
                await self.__aexit__()
                raise
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.shared:
            self._left.set()
            self._beating.join()
            with suppress(StorageError):  # the others find it dead after a minute
                self._database.change(CLAIMS.delete().where(self._own))

    async def _enter(self) -> None:
        if self._must_be_alone:
            await self._until(lambda others: self.take(_ALONE))
            await self._until(lambda others: not others)
        else:
            await self._until(lambda others: _ALONE not in others)
        while not self.take(_PRESENT - random.getrandbits(30)):
            pass

    async def _until(self, met: Callable[[dict[int, _Held]], bool]) -> None:
        """Wait until what others claim is as it must be; refuse where one of them is seen to live."""
        first = self._others()
        while not met(others := self._others()):
            for number, held in others.items():
                if number in first and held[:2] != first[number][:2]:
                    raise StorageError(
                        f"the study {self._study!r} is being run by another process, {held.worker}; wait for it, or "
                        "use --name for a second study"
                    )
            first = others | {number: held for number, held in first.items() if number in others}
            await asyncio.sleep(min(1.0, BEAT_SECONDS))

    def let_in(self) -> None:
        """Let other workers join from now on."""
        self.give_back(_ALONE)

    def take(self, number: int) -> bool:
        """Claim a trial, or the books, unless a living worker has it; return whether this worker has it now."""
        if not self.shared:
            return True
        held = self._observe().get(number)  # which drops the claims of the dead
        if held is not None:
            return held.worker == self.worker
        row = {"study": self._study, "number": number, "worker": self.worker, "beat": 0}
        return self._database.insert(CLAIMS, row)

    def holds(self, number: int) -> bool:
        """Whether nobody has taken this worker for dead and its claim over."""
        if not self.shared:
            return True
        held = self._observe().get(number)
        return held is not None and held.worker == self.worker

    def taken(self) -> set[int]:
        """Return what other workers have claimed."""
        return set(self._others()) if self.shared else set()

    def give_back(self, number: int) -> None:
        """End a claim."""
        if self.shared:
            self._database.change(CLAIMS.delete().where(self._own, CLAIMS.c.number == number))

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[None]:
        """Be the only worker within, and the only task of this one."""
        async with self._desk:
            while not self.take(_DESK):
                await asyncio.sleep(random.uniform(0.5, 1.5) * _PAUSE_SECONDS)
            try:
                yield
            finally:
                self.give_back(_DESK)

    @property
    def alone(self) -> bool:
        """Whether no other worker is known to be alive; False where the database does not say."""
        try:
            return not self.taken()
        except StorageError:
            return False

    def _others(self) -> dict[int, _Held]:
        return {number: held for number, held in self._observe().items() if held.worker != self.worker}

    def _observe(self) -> dict[int, _Held]:
        """Return the claims of the living, and delete those of the dead."""
        with self._looking:
            query = sa.select(CLAIMS.c.number, CLAIMS.c.worker, CLAIMS.c.beat).where(self._of_study)
            rows, now = self._database.rows(query), time.monotonic()
            # Who did not look, because the database was away, has not seen a heart stand still.
            known = self._seen if now - self._looked < DEAD_SECONDS / 2 else {}
            self._looked, self._seen = now, {}
            for number, worker, beat in rows:
                held = known.get(number)
                if held is None or held[:2] != (worker, beat):
                    held = _Held(worker, beat, now)
                if worker == self.worker or now - held.since < DEAD_SECONDS:
                    self._seen[number] = held
                else:
                    same = (CLAIMS.c.number == number, CLAIMS.c.worker == worker, CLAIMS.c.beat == beat)
                    self._database.change(CLAIMS.delete().where(self._of_study, *same))
            return self._seen

    def _beat(self) -> None:
        while not self._left.wait(BEAT_SECONDS):
            with suppress(StorageError):  # whoever needs the database next says that it is gone
                self._database.change(CLAIMS.update().where(self._own).values(beat=CLAIMS.c.beat + 1))
                self._observe()

    @property
    def _of_study(self) -> sa.ColumnElement[bool]:
        return CLAIMS.c.study == self._study

    @property
    def _own(self) -> sa.ColumnElement[bool]:
        return sa.and_(self._of_study, CLAIMS.c.worker == self.worker)
