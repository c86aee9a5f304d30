"""Claims about Optuna's storage on a server: opened by several at once, and gone in the middle of a request."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest
import sqlalchemy as sa

from ablations.studies.conditions.optuna_storage import add_running, opening, report
from ablations.studies.config.space import Parameter, Range, SearchSpace
from tests.support.servers import Postgres

SPACE = SearchSpace((Parameter("temperature", Range(0.0, 1.0)),))


class CutOff:
    """A study with a running trial, on a server that ends the connection of the next statement, once."""

    def __init__(self, storage: optuna.storages.RDBStorage) -> None:
        self.study = optuna.create_study(study_name="s", storage=storage, direction="maximize")
        add_running(self.study, SPACE, {"temperature": 0.5}, {})
        self.cuts = 0
        sa.event.listen(storage.engine, "before_cursor_execute", self._cut)

    def _cut(self, connection: Any, *_: Any) -> None:
        if self.cuts:
            return
        self.cuts += 1
        pid = connection.connection.dbapi_connection.info.backend_pid
        admin = sa.create_engine(connection.engine.url)
        with admin.connect() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})
        admin.dispose()


@pytest.fixture
def cut_off(postgres: Postgres) -> Iterator[CutOff]:
    with opening(postgres.database()) as storage:
        yield CutOff(storage)
        storage.remove_session()
        storage.engine.dispose()


ASKED: dict[str, Callable[[optuna.Study], object]] = {
    "trials": lambda study: [trial.number for trial in study.get_trials(deepcopy=False)] == [0],
    "tell": lambda study: study.tell(0, 3.0).values == [3.0],
    "report": lambda study: report(study, 0, 2.0, 1) or study.trials[0].intermediate_values == {1: 2.0},
    "attribute": lambda study: study.set_user_attr("a", 1) or study.user_attrs == {"a": 1},
}


@pytest.mark.parametrize("what", ASKED)
def test_a_request_whose_connection_is_cut_is_made_again(what: str, cut_off: CutOff) -> None:
    assert ASKED[what](cut_off.study)
    assert cut_off.cuts == 1


def test_a_trial_whose_beginning_is_cut_is_begun_once(cut_off: CutOff) -> None:
    assert add_running(cut_off.study, SPACE, {"temperature": 0.7}, {}) == 1
    assert cut_off.cuts == 1
    assert len(cut_off.study.trials) == 2


def test_those_that_open_an_empty_database_at_the_same_moment_all_do(postgres: Postgres) -> None:
    for _ in range(5):
        address, together, opened = postgres.database(), threading.Barrier(3), list[str]()

        def work(address: str = address, together: threading.Barrier = together, opened: list[str] = opened) -> None:
            together.wait(timeout=60)
            with opening(address) as storage:
                opened.append(storage.get_current_version())
                storage.engine.dispose()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert len(opened) == 3
