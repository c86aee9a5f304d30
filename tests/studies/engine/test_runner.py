"""Claims about one run of a study as a whole, with a judge on a scripted server: what it paid, and for whom."""

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from ablations.cli.progress import ConsoleReporter
from ablations.core.errors import BudgetError, StudyMismatchError
from ablations.core.records import Usage
from ablations.judges.llm.asking import JudgeSettings
from ablations.judges.llm.client import Limits
from ablations.judges.registry import make_judge
from ablations.storage.store import Store
from ablations.storage.workspace import Places
from ablations.studies.conditions.plan import ConditionsPlan
from ablations.studies.engine.runner import Parts, Runner
from ablations.studies.registry import find_kind
from tests.support.bad_server import MODEL, BadServer, bad_server
from tests.support.fakes import FakeBackend, FakeJudge, make_queries
from tests.support.specs import BASELINE, TEMPERATURE, changed, make_spec
from tests.support.world import World

TRIALS, QUERIES, TURNS = 3, 4, 2


def run(server: BadServer, folder: Path, max_cost: float | None, fresh: bool = False) -> str:
    """Run or resume one study in `folder`, at a dollar a thousand tokens; return what was shown."""
    prices = folder / "prices.toml"
    prices.write_text(f'["{MODEL}"]\nprompt = 1000.0\ncompletion = 1000.0\n')
    one_by_one = Limits(in_flight=1)  # so that no call is under way when the money ends
    settings = JudgeSettings(MODEL, server.url, None, prices, max_cost, one_by_one, reply_tokens=64)
    spec = changed(make_spec(folder, BASELINE + TEMPERATURE), queries=make_queries(QUERIES), trials=TRIALS)
    places = Places.choose(str(folder / "mlruns"), None, None, None)
    text = io.StringIO()
    reporter = ConsoleReporter(Console(file=text, width=200))
    parts = Parts(FakeBackend(), make_judge("rubric", settings), places, reporter, folder / "engine.log")
    asyncio.run(Runner(find_kind("ablation"), ConditionsPlan(spec), parts, fresh).run())
    return text.getvalue()


def rehearse(folder: Path, **changes: object) -> None:
    spec = changed(make_spec(folder, BASELINE + TEMPERATURE), queries=make_queries(QUERIES), trials=TRIALS, **changes)
    places = Places.choose(str(folder / "mlruns"), None, None, None)
    reporter = ConsoleReporter(Console(file=io.StringIO()))
    parts = Parts(FakeBackend(), FakeJudge(), places, reporter, folder / "engine.log")
    asyncio.run(Runner(find_kind("ablation"), ConditionsPlan(spec), parts).rehearse())


def test_a_rehearsal_writes_nothing_and_is_refused_where_the_run_would_be(tmp_path: Path) -> None:
    rehearse(tmp_path)
    assert not (tmp_path / "mlruns").exists()
    spec = changed(make_spec(tmp_path, BASELINE + TEMPERATURE), queries=make_queries(QUERIES), trials=TRIALS)
    World(tmp_path / "mlruns").run(spec)
    before = {path: path.read_bytes() for path in (tmp_path / "mlruns" / "results").rglob("*.parquet")}
    rehearse(tmp_path)
    with pytest.raises(StudyMismatchError, match="seed"):
        rehearse(tmp_path, seed=5)
    assert before == {path: path.read_bytes() for path in before} != {}


def paid(folder: Path) -> dict[str, Usage]:
    """Usage that the ledger holds of every account, by account."""
    import sqlite3

    with sqlite3.connect(folder / "mlruns" / "store.db") as connection:
        accounts = [name for (name,) in connection.execute("select distinct payer from replies")]
    store = Store(f"sqlite:///{folder / 'mlruns' / 'store.db'}")
    found = {account: store.paid(account) for account in accounts}
    store.close()
    return found


def test_every_call_is_on_the_studys_account_whatever_stopped_it(tmp_path: Path) -> None:
    with bad_server([]) as server:
        with pytest.raises(BudgetError):
            run(server, tmp_path, max_cost=3.0)
        stopped = sum(paid(tmp_path).values(), Usage())
        assert 0 < stopped.calls == len(server.requests) < TRIALS * QUERIES * TURNS
        with pytest.raises(BudgetError):  # what the first run paid counts
            run(server, tmp_path, max_cost=3.0)
        shown = run(server, tmp_path, max_cost=None)
        (usage,) = paid(tmp_path).values()
        assert usage.calls == len(server.requests)
        assert f"Judging: {usage.calls} calls" in shown


def test_a_fresh_study_pays_for_nothing_that_is_judged_and_has_an_account_of_its_own(tmp_path: Path) -> None:
    with bad_server([]) as server:
        run(server, tmp_path, max_cost=None)
        before = len(server.requests)
        run(server, tmp_path, max_cost=None, fresh=True)
    assert len(server.requests) == before + 1  # the question that tries the judge's form
    assert sorted(usage.calls for usage in paid(tmp_path).values()) == [1, before]
