"""Claims about Ctrl-C, and about a second process on one study: what is done stays, and nothing is paid for twice."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fakes import FakeBackend
from tests.support.fault_studies import MIDDLE, Command, Disturbed, check_same
from tests.support.world import NeverAsked, pages

Press = Callable[[], None]


@pytest.mark.slow
def test_an_interrupt_ends_with_130_and_the_same_command_goes_on(
    command: Command, undisturbed: Command, interrupts: Press, capfd: pytest.CaptureFixture[str]
) -> None:
    interrupted = Disturbed(interrupts)
    assert command(interrupted) == 130
    assert "interrupted; all finished work is stored, the same command resumes it" in capfd.readouterr().err
    assert interrupted.closed
    assert len(interrupted.requests) < MIDDLE + interrupted.most_in_flight
    (study,) = (page for page in pages(command.folder) if page["under"] is None)
    assert study["status"] == "KILLED"
    assert all(page["status"] == "FINISHED" and page["files"] for page in pages(command.folder) if page["under"])
    assert command(FakeBackend()) == 0
    check_same(command, undisturbed, twice=interrupted.most_in_flight)
    assert command(NeverAsked()) == 0


class Reluctant(Disturbed):
    """Is interrupted, and takes an hour to close, until it is interrupted again."""

    def __init__(self, press: Press, blocks: bool) -> None:
        super().__init__(press)
        self._press, self._blocks = press, blocks

    async def close(self) -> None:
        threading.Timer(0.2, self._press).start()
        if self._blocks:  # as vLLM's engine does
            time.sleep(3600)
        await asyncio.sleep(3600)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("blocks", [False, True])
def test_a_second_interrupt_does_not_wait_for_the_closing_and_loses_nothing(
    blocks: bool, command: Command, undisturbed: Command, interrupts: Press
) -> None:
    reluctant = Reluctant(interrupts, blocks)
    assert command(reluctant) == 130
    assert command(FakeBackend()) == 0
    check_same(command, undisturbed, twice=reluctant.most_in_flight)


@pytest.mark.slow
def test_a_second_process_on_a_study_is_refused_and_the_first_one_is_unharmed(
    command: Command, undisturbed: Command
) -> None:
    ended = list[Any]()
    assert command(Disturbed(lambda: ended.append(command.in_another_process()))) == 0
    (second,) = ended
    refusal = "error: the study 's' is being run by another process; wait for it, or use --name for a second study\n"
    assert (second.returncode, second.stderr) == (2, refusal)
    check_same(command, undisturbed)
