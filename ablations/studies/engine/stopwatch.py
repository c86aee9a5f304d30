"""Time: when something began and how long it took, whatever is done to the machine's clock meanwhile.

Knows nothing else.
"""

import time


class Stopwatch:
    """Runs from its making on; `started` is in seconds since the epoch."""

    def __init__(self) -> None:
        self.started = time.time()
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has run, never less than before."""
        return time.monotonic() - self._begun

    @property
    def now(self) -> float:
        """Seconds since the epoch, by the clock as it was at the start: never before `started`."""
        return self.started + self.seconds
