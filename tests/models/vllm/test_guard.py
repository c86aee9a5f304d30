"""Claims about the engine guard, on ordinary processes in place of an engine."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

PARENT = """
import subprocess, sys, time
from ablations.models.vllm.guard import EngineGuard

def child():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

before = child()
guard = EngineGuard()
guard.start()
time.sleep(2.5)  # the guard has taken stock of what was there before
engine = child()
time.sleep(1.5)
guard.loaded()
time.sleep(1.5)
print(before, engine, child(), flush=True)
if sys.stdin.readline() == "close\\n":
    guard.close()
"""


class Family:
    """A process with a guard and three children: one from before the guard, the engine, one from after loading."""

    def __init__(self) -> None:
        root = Path(__file__).parents[3]
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert self.parent.stdout is not None
        line = self.parent.stdout.readline()
        self.before, self.engine, self.after = (psutil.Process(int(pid)) for pid in line.split())

    def close(self) -> None:
        assert self.parent.stdin is not None
        self.parent.stdin.write("close\n")
        self.parent.stdin.flush()
        self.parent.wait(timeout=30)

    def end(self) -> None:
        for process in (self.parent, self.before, self.engine, self.after):
            process.kill()
        self.parent.wait()
        for pipe in (self.parent.stdin, self.parent.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def family() -> Iterator[Family]:
    family = Family()
    yield family
    family.end()


def running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def within(seconds: float, claim: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.slow
def test_after_kill_9_the_engine_ends_and_other_children_do_not(family: Family) -> None:
    family.parent.send_signal(signal.SIGKILL)
    assert within(10, lambda: not running(family.engine))
    assert running(family.before)
    assert running(family.after)


@pytest.mark.slow
def test_after_an_orderly_close_the_guard_ends_nothing(family: Family) -> None:
    family.close()
    time.sleep(1.5)
    assert all(running(process) for process in (family.before, family.engine, family.after))
