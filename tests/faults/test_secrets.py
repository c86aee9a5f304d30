"""A key stays secret: whatever fails, it stands in no output, exception, database or artifact."""

import asyncio
import io
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablations.cli.progress import ConsoleReporter
from ablations.core.errors import AblationError
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import Limits
from ablations.judges.registry import make_judge
from ablations.studies.conditions.plan import ConditionsPlan
from ablations.studies.engine.runner import Parts, Runner
from ablations.studies.registry import find_kind
from tests.support.bad_server import MODEL, Answer, BadServer, Handler, bad_server, fails, says
from tests.support.fakes import FakeBackend, make_queries
from tests.support.specs import BASELINE, TEMPERATURE, make_spec
from tests.support.world import places_of

KEY = "sk-marked-0123456789abcdef"
LIMITS = Limits(call_seconds=1.0, total_seconds=3.0, attempts=2, breaker_failures=4, breaker_seconds=0.2)


def echoes(status: int) -> Answer:
    """A server that repeats the key it was sent in its error, as some do."""

    def answer(handler: Handler, _body: dict[str, Any]) -> None:
        message = f"Incorrect API key provided: {handler.headers['Authorization']}"
        handler.send(status, {"error": {"message": message, "code": "invalid_api_key"}})

    return answer


def garbles(handler: Handler, _body: dict[str, Any]) -> None:
    handler.send_text(200, f"<html>{handler.headers['Authorization']}</html>")


SERVERS: dict[str, Answer] = {
    "well": says("Rating: [[7]]"),
    "401": echoes(401),
    "400": echoes(400),
    "500": echoes(500),
    "429": fails(429, {"Retry-After": "0"}),
    "no JSON": garbles,
    "no rating": says("hm"),
}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def make_runner(server: BadServer, folder: Path, text: io.StringIO) -> Runner:
    judge = make_judge("rubric", JudgeSettings(model=MODEL, base_url=server.url, limits=LIMITS))
    spec = replace(make_spec(folder, BASELINE + TEMPERATURE, trials=3), queries=make_queries(2))
    reporter = ConsoleReporter(Console(file=text, width=160))
    parts = Parts(FakeBackend(), judge, places_of(folder / "mlruns"), reporter, folder / "engine.log")
    return Runner(find_kind("ablation"), ConditionsPlan(spec), parts)


@pytest.mark.parametrize("kind", [*SERVERS, "a listing that echoes"])
def test_the_key_stands_nowhere(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    text, shown = io.StringIO(), ""
    with bad_server([], default=SERVERS.get(kind)) as server:
        if kind not in SERVERS:
            server.listing = echoes(401)
        try:
            asyncio.run(make_runner(server, tmp_path, text).run())
        except AblationError as error:
            shown = f"{error}\n{error!r}\n{''.join(traceback.format_exception(error))}"
        assert server.keys, "the judge's server was never asked, so nothing was tested"
        assert all(KEY in sent for sent in server.keys)
    printed = "".join(capfd.readouterr())
    for place, content in (("screen", text.getvalue() + printed), ("error", shown), ("log", caplog.text)):
        assert KEY not in content, place
    for path in (tmp_path / "mlruns").rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
