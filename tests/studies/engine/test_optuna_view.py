"""Claims about Optuna's view of a study: what it refuses, what it makes again, and a server gone in between."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState as State

from ablations.core.errors import StudyMismatchError
from ablations.core.prompt import Value
from ablations.core.records import Role, Stop, TrialRecord, TrialState
from ablations.studies.config.space import Choices, Parameter, Range, SearchSpace
from ablations.studies.engine import optuna_view
from ablations.studies.engine.optuna_view import OptunaView, forget, known_studies
from tests.support.servers import Postgres

SPACE = SearchSpace((Parameter("temperature", Range(0.0, 1.0)), Parameter("stop", Choices(("none", ("a", "b"))))))


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close every view that a test opens at its end."""
    opened, made = list[OptunaView](), OptunaView.__init__

    def keep(self: OptunaView, *given: Any) -> None:
        made(self, *given)
        opened.append(self)

    monkeypatch.setattr(OptunaView, "__init__", keep)
    yield
    for view in opened:
        view.close()


def record(number: int, temperature: float, state: TrialState = TrialState.COMPLETE, **fields: Any) -> TrialRecord:
    point: dict[str, Value] = {"temperature": temperature, "stop": ("a", "b")}
    given: dict[str, Any] = {"mean": 5.0 + temperature} if state is not TrialState.FAILED else {"mean": None}
    given |= {"failed_because": "no score"} if state is TrialState.FAILED else {}
    label = f"t={temperature}"
    return TrialRecord(number, f"c{number}", label, label, Role.SAMPLED, state, point, point, **(given | fields))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def trials(url: str, name: str = "s") -> list[optuna.trial.FrozenTrial]:
    storage = optuna.storages.RDBStorage(url)
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()


STOPPED = record(2, 0.7, TrialState.STOPPED, stopped=Stop(4, 8, 0, 3.5))
RECORDS = {0: record(0, 0.0), 1: record(1, 0.4, TrialState.FAILED), 2: STOPPED}


def test_finished_trials_are_added_with_their_own_numbers_whatever_their_order(url: str) -> None:
    view = OptunaView("s", url, SPACE)
    for number in (2, 0, 1):
        view.add(RECORDS[number])
    found = {one.user_attrs["trial"]: one for one in trials(url)}
    assert {number: one.state for number, one in found.items()} == {0: State.COMPLETE, 1: State.FAIL, 2: State.PRUNED}
    assert found[0].value == 5.0
    assert found[0].params["temperature"] == 0.0
    assert found[2].intermediate_values == {4: 3.5}
    assert found[1].user_attrs["failed_because"] == "no score"


def test_a_view_is_completed_from_the_store_and_nothing_stands_in_it_twice(url: str) -> None:
    OptunaView("s", url, SPACE).add(RECORDS[1])
    again = OptunaView("s", url, SPACE)
    again.check(RECORDS)
    again.complete(RECORDS)
    again.complete(RECORDS)
    again.add(RECORDS[0])
    assert sorted(one.user_attrs["trial"] for one in trials(url)) == [0, 1, 2]


def test_trials_that_the_store_lost_are_named(url: str) -> None:
    view = OptunaView("s", url, SPACE)
    for one in RECORDS.values():
        view.add(one)
    with pytest.raises(StudyMismatchError, match=r"holds finished trials of the study 's' .* not: 1, 2; .* --fresh"):
        OptunaView("s", url, SPACE).check({0: RECORDS[0]})


FOREIGN: dict[str, Callable[[str], object]] = {
    "minimises": lambda url: optuna.create_study(study_name="s", storage=url, direction="minimize"),
    "two directions": lambda url: optuna.create_study(study_name="s", storage=url, directions=["maximize"] * 2),
    "another's trials": lambda url: optuna.create_study(study_name="s", storage=url, direction="maximize").add_trial(
        optuna.trial.create_trial(value=1.0)
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_study_that_is_not_ours_is_refused_and_left_as_it_is(
    what: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FOREIGN[what](url)
    before = optuna.load_study(study_name="s", storage=url)
    shown = (before.directions, len(before.trials), before.user_attrs)
    closed = list[object]()
    close = optuna_view._close
    monkeypatch.setattr(optuna_view, "_close", lambda storage: (closed.append(storage), close(storage)))
    with pytest.raises(StudyMismatchError, match=r"a study 's' that is not one of this toolkit's .* --name"):
        OptunaView("s", url, SPACE)
    assert len(closed) == 1
    after = optuna.load_study(study_name="s", storage=url)
    assert (after.directions, len(after.trials), after.user_attrs) == shown


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sampler_is_told_what_was_found_and_an_interrupted_trial_keeps_its_values(url: str, sampler: str) -> None:
    view = OptunaView("s", url, SPACE)
    for number in range(3):
        values = view.ask(number, sampler, seed=number)
        temperature = values["temperature"]
        assert isinstance(temperature, float)
        view.add(record(number, temperature, mean=temperature))
    interrupted = view.ask(3, sampler, seed=3)
    again = OptunaView("s", url, SPACE)
    assert again.ask(3, sampler, seed=99) == interrupted
    again.add(record(3, 0.5))
    finished = [one for one in trials(url) if one.state is State.COMPLETE]
    assert sorted(one.user_attrs["trial"] for one in finished) == [0, 1, 2, 3]
    assert [one.state for one in trials(url) if one.state is State.RUNNING] == []


def test_a_study_is_forgotten_alone(url: str) -> None:
    for name in ("s", "other"):
        OptunaView(name, url, SPACE).add(RECORDS[0])
    forget("s", url)
    forget("never there", url)
    assert known_studies(url) == {"other"}


def cut_next(engine: sa.Engine) -> list[int]:
    """Let the server end the connection of the next statement, once; return how often it did."""
    cuts: list[int] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def cut(connection: Any, *_: Any) -> None:
        if cuts:
            return
        cuts.append(connection.connection.dbapi_connection.info.backend_pid)
        admin = sa.create_engine(engine.url)
        with admin.connect() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": cuts[0]})
        admin.dispose()

    return cuts


ASKED: dict[str, Callable[[OptunaView], object]] = {
    "a finished trial": lambda view: view.add(RECORDS[0]),
    "a stopped trial": lambda view: view.add(STOPPED),
    "what a sampler chooses": lambda view: view.ask(5, "tpe", 0),
}


@pytest.mark.parametrize("what", ASKED)
def test_a_request_whose_connection_is_cut_is_made_again_and_has_its_effect_once(what: str, postgres: Postgres) -> None:
    url = postgres.database()
    view = OptunaView("s", url, SPACE)
    cuts = cut_next(view._study._storage._backend.engine)  # type: ignore[attr-defined]
    ASKED[what](view)
    assert len(cuts) == 1
    assert len(trials(url)) == 1


def test_those_that_open_an_empty_database_at_the_same_moment_all_do(postgres: Postgres) -> None:
    for _ in range(3):
        address, together, opened = postgres.database(), threading.Barrier(3), list[str]()

        def work(name: str, address: str = address, together: Any = together, opened: list[str] = opened) -> None:
            together.wait(timeout=60)
            OptunaView(name, address, SPACE)
            opened.append(name)

        threads = [threading.Thread(target=work, args=(f"s{number}",)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert len(opened) == 3
        assert known_studies(address) == {"s0", "s1", "s2"}
