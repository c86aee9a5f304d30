"""Ends the engine's processes when the process that started them dies without closing them.

vLLM's engine core does not notice that its parent was killed: it would keep its memory, and on a GPU its
share of it, until somebody finds it. The guard is a small process of its own that outlives both. Knows
nothing of vLLM but that its processes are descendants of the one that loads it.
"""

import os
import select
import subprocess
import sys

import psutil

POLL_SECONDS = 1.0
_LOADED, _CLOSED = b"l", b"c"


class EngineGuard:
    """Watches this process from `start` on; what it starts until `loaded`, and what that starts, is the engine."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to watch; call it before the engine is loaded."""
        # A session of its own, so that a Ctrl-C in the terminal does not reach it.
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def loaded(self) -> None:
        """Say that the engine is up: children that come later are none of its processes."""
        self._say(_LOADED)

    def close(self) -> None:
        """Stop watching; the engine has been shut down in order."""
        if self._process is not None:
            self._say(_CLOSED)
            self._process.communicate()  # closes the pipe and waits
            self._process = None

    def _say(self, word: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            try:
                self._process.stdin.write(word)
                self._process.stdin.flush()
            except BrokenPipeError:  # somebody ended the guard; the study does not need it
                pass


def watch(parent: psutil.Process) -> None:
    """Collect the engine's processes until the parent says that it closed them, or dies; then end them."""
    others = {os.getpid()} | {process.pid for process in parent.children(recursive=True)}
    engine: set[psutil.Process] = set()
    loading = True
    # The poll finds a death that the pipe does not show, because a forked engine holds its other end.
    while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
        ready = select.select([sys.stdin], [], [], POLL_SECONDS)[0]
        words = os.read(sys.stdin.fileno(), 16) if ready else b""
        if _CLOSED in words:
            return
        engine |= _started(parent, others) if loading else _descendants(engine)
        loading = loading and _LOADED not in words
        if ready and not words:
            break
    for process in engine | _descendants(engine):
        try:
            process.kill()  # does nothing to a process that has the number of an ended one
        except psutil.NoSuchProcess:
            continue


def _started(parent: psutil.Process, others: set[int]) -> set[psutil.Process]:
    return {process for process in _descendants({parent}) if process.pid not in others}


def _descendants(processes: set[psutil.Process]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for process in processes:
        try:
            found.update(process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
    return found


if __name__ == "__main__":
    try:
        watch(psutil.Process(int(sys.argv[1])))
    except psutil.NoSuchProcess:
        sys.exit()
