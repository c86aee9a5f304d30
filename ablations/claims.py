"""Claims: which worker does what, where several processes share a study through a database server.

Knows numbers and heartbeats, not what is done under a claim. No two machines' clocks are compared: a claim is dead when
its heartbeat stood still for `DEAD_SECONDS` of the observer's own monotonic clock.
"""

import asyncio
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

import sqlalchemy as sa

from ablations.errors import StorageError
from ablations.store import Store
from ablations.tables import CLAIMS

BEAT_SECONDS = 10.0
DEAD_SECONDS = 60.0
BOOKS = -1
"""The claim under which a study's results are exported and logged."""
_DESK = -2
_PRESENT = -3  # and below: one for each worker
_PAUSE_SECONDS = 0.05


class Claims:
    """What this process has taken of one study, and who else works on it.

    Args:
        store: where all workers see the claims.
        study: its name.
        shared: whether other processes may work on the study; otherwise every claim is given, and none is written.
    """

    def __init__(self, store: Store, study: str, shared: bool = False) -> None:
        self.shared = shared
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._store = store
        self._study = study
        self._seen: dict[int, tuple[str, int, float]] = {}
        self._desk = asyncio.Lock()
        self._left = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="claims", daemon=True)

    async def __aenter__(self) -> Self:
        if self.shared:
            while not self.take(_PRESENT - random.getrandbits(30)):
                pass
            self._beating.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.shared:
            self._left.set()
            self._beating.join()
            with suppress(StorageError):  # what stays is found dead after a minute
                self._store.change(CLAIMS.delete().where(self._own))

    def take(self, number: int) -> bool:
        """Claim a trial, or the books, unless a living worker has it; return whether this worker has it now."""
        if not self.shared:
            return True
        row = {"study": self._study, "number": number, "worker": self.worker, "beat": 0}
        if self._store.insert(CLAIMS, **row):
            return True
        holder = self._observe().get(number)
        if holder is None:
            return self._store.insert(CLAIMS, **row)
        worker, beat, since = holder
        if worker == self.worker:
            return True
        if time.monotonic() - since < DEAD_SECONDS:
            return False
        same = sa.and_(self._of_study, CLAIMS.c.number == number, CLAIMS.c.worker == worker, CLAIMS.c.beat == beat)
        return self._store.change(CLAIMS.update().where(same).values(worker=self.worker, beat=0)) == 1

    def holds(self, number: int) -> bool:
        """Whether nobody has taken this worker for dead and its claim over."""
        return not self.shared or self._observe().get(number, ("",))[0] == self.worker

    def give_back(self, number: int) -> None:
        """End a claim."""
        if self.shared:
            self._store.change(CLAIMS.delete().where(self._own, CLAIMS.c.number == number))

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
        """Whether no other worker is known to be alive."""
        return not self.shared or not self._others()

    async def be_alone(self) -> None:
        """Wait until it is known whether other workers are alive; a killed one is taken for dead after a minute.

        Raises:
            StorageError: one is.
        """
        first = self._others()
        while others := self._others():
            for number, held in others.items():
                if number in first and held[:2] != first[number][:2]:
                    raise StorageError(
                        f"the study {self._study!r} is being run by another process, {held[0]}; wait for it, or use "
                        "--name for a second study"
                    )
            first |= {number: held for number, held in others.items() if number not in first}
            await asyncio.sleep(min(1.0, BEAT_SECONDS))

    def _others(self) -> dict[int, tuple[str, int, float]]:
        now = time.monotonic()
        return {
            number: (worker, beat, since)
            for number, (worker, beat, since) in self._observe().items()
            if worker != self.worker and now - since < DEAD_SECONDS
        }

    def _observe(self) -> dict[int, tuple[str, int, float]]:
        """Return each claim's worker and heartbeat, and since when this worker has seen no other."""
        now = time.monotonic()
        query = sa.select(CLAIMS.c.number, CLAIMS.c.worker, CLAIMS.c.beat).where(self._of_study)
        seen = {}
        for number, worker, beat in self._store.rows(query):
            known = self._seen.get(number)
            seen[number] = known if known is not None and known[:2] == (worker, beat) else (worker, beat, now)
        self._seen = seen
        return seen

    def _beat(self) -> None:
        while not self._left.wait(BEAT_SECONDS):
            with suppress(StorageError):  # whoever needs the database next says that it is gone
                self._store.change(CLAIMS.update().where(self._own).values(beat=CLAIMS.c.beat + 1))
                self._observe()

    @property
    def _of_study(self) -> sa.ColumnElement[bool]:
        return CLAIMS.c.study == self._study

    @property
    def _own(self) -> sa.ColumnElement[bool]:
        return sa.and_(self._of_study, CLAIMS.c.worker == self.worker)
