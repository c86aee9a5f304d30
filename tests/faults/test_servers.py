"""Claims about a judge's server that goes away: waited for while that is short, and otherwise nothing is lost."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tenacity import RetryCallState

from ablations.core.condition import content_hash
from ablations.judges.llm.client import Limits
from ablations.models import http as servers
from ablations.studies.planning import inputs
from tests.support.bad_server import MODEL, BadServer, Handler, bad_server, fails, says
from tests.support.fakes import FakeBackend
from tests.support.fault_studies import Command, Disturbed, table

FASTER = 20
"""Seconds of the judge's client that pass in one."""


class Outage:
    """A judge's answers, which depend on what is judged; none while it is `away`."""

    def __init__(self) -> None:
        self.away = threading.Event()
        self.answered: Counter[str] = Counter()
        self.refused = 0

    def __call__(self, handler: Handler, body: dict[str, Any]) -> None:
        if self.away.is_set():
            self.refused += 1
            fails(503)(handler, body)
        else:
            self.answered[json.dumps(body, sort_keys=True)] += 1
            says(f"Rating: [[{1 + int(content_hash(body['messages']), 16) % 10}]]")(handler, body)

    def for_seconds(self, seconds: float) -> None:
        self.away.set()
        threading.Timer(seconds, self.away.clear).start()


@pytest.fixture
def outage() -> Outage:
    return Outage()


@pytest.fixture
def server(outage: Outage) -> Iterator[BadServer]:
    with bad_server([], default=outage) as server:
        yield server


@pytest.fixture
def judged(server: BadServer, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The flags of a judge on that server, whose client's clock goes faster."""
    pause, usual = servers._Pause.__call__, Limits()

    def shorter(self: Any, state: RetryCallState) -> float:
        return pause(self, state) / FASTER

    limits = {"total_seconds": usual.total_seconds / FASTER, "breaker_seconds": usual.breaker_seconds / FASTER}
    monkeypatch.setattr(servers._Pause, "__call__", shorter)
    monkeypatch.setattr(inputs, "Limits", partial(Limits, **limits))
    return ("--judge", "rubric", "--judge-model", MODEL, "--judge-base-url", server.url)


@pytest.mark.slow
def test_a_judge_that_is_away_for_a_minute_is_waited_for_and_asked_nothing_twice(
    command: Command, undisturbed: Command, outage: Outage, judged: tuple[str, ...]
) -> None:
    assert command(Disturbed(lambda: outage.for_seconds(60 / FASTER)), *judged) == 0
    assert outage.refused > 0
    assert set(outage.answered.values()) == {1}
    assert set(command.requests) == set(undisturbed.requests)
    assert len(command.requests) == len(undisturbed.requests)
    shown = table(command.folder)
    assert shown.get_column("score").null_count() == 0
    known = ("trial", "query_id", "turn", "answer")
    assert shown.select(known).equals(table(undisturbed.folder).select(known))


@pytest.mark.slow
def test_where_a_judge_stays_away_the_study_ends_with_3_and_the_same_command_goes_on(
    command: Command,
    undisturbed: Command,
    outage: Outage,
    judged: tuple[str, ...],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert command(Disturbed(outage.away.set), *judged) == 3
    assert "finished work is stored, run the same command again when it is well" in capfd.readouterr().err
    outage.away.clear()
    assert command(FakeBackend(), *judged) == 0
    twice = [request for request, times in outage.answered.items() if times > 1]
    assert len(twice) == 1  # the question that tries the judge's form, once a run
    assert set(command.requests) == set(undisturbed.requests)
    assert len(command.requests) == len(undisturbed.requests)
    assert table(command.folder).get_column("score").null_count() == 0
