"""Claims about a machine's clock that is set while a study runs: times stay sensible, and nothing waits for it."""

import time

import pytest

from ablations.storage.store import Store
from ablations.tracking.client import open_client
from tests.support.fakes import FakeBackend
from tests.support.fault_studies import Command, Disturbed, check_same
from tests.support.world import places_of

HOUR = 3600.0


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_clock_that_is_set_meanwhile_changes_no_duration_and_no_run_ends_before_it_began(
    jump: float, command: Command, undisturbed: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, offset = time.time, 0.0

    def set_clock() -> None:
        nonlocal offset
        offset = jump

    monkeypatch.setattr(time, "time", lambda: clock() + offset)
    assert command(Disturbed(set_clock)) == 0
    check_same(command, undisturbed)
    places = places_of(command.folder)
    store = Store(places.store)
    records = store.trials("s").values()
    store.close()
    assert all(0 <= record.seconds <= record.ended - record.started < HOUR / 2 for record in records)
    client = open_client(places.tracking_uri)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert [run.info.run_name for run in runs if run.info.end_time < run.info.start_time] == []
    assert all(run.data.metrics.get("seconds", 0.0) < HOUR / 2 for run in runs)


def test_a_study_that_goes_on_under_an_earlier_clock_ends_after_it_began(
    command: Command, undisturbed: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = FakeBackend(fail_after=50)
    assert command(broken) == 3
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() - HOUR)
    assert command(FakeBackend()) == 0
    check_same(command, undisturbed, twice=broken.most_in_flight)
    client = open_client(places_of(command.folder).tracking_uri)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert [run.info.run_name for run in runs if run.info.end_time < run.info.start_time] == []
