"""Claims about what a comparison is expected to take, as its plan says it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from ablations.models.resolve import ResolvedModel
from ablations.models.training.sizing import Machine, Shape, estimate
from ablations.studies.icl_vs_ift.costs import ENGINE_SECONDS, Done, expected_costs
from ablations.studies.icl_vs_ift.plan import TuningPlan
from tests.support.arms import plan_of, spec_of
from tests.support.colours import write_pool

MACHINE = Machine(False, 8 << 30, 1e7, 1e9)
"""So slow that each training takes seconds."""


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(psutil, "getloadavg", lambda: (0.0, 0.0, 0.0))
    return write_pool(tmp_path / "pool.jsonl")


def rows(pool: str, tiny: ResolvedModel, done: Done | None = None, **options: Any) -> dict[str, str]:
    adapts, spec = options.pop("adapts", True), spec_of(Path(pool).parent, pool)
    plan = plan_of(spec, tiny, **options)
    return dict(expected_costs(spec, plan, Shape.of(tiny), lambda: MACHINE, adapts, done or Done()))


def seconds(plan: TuningPlan, tiny: ResolvedModel, numbers: tuple[int, ...]) -> float:
    jobs = [arm.job for arm in plan.jobs if arm.job is not None and arm.number in numbers]
    return sum(estimate(Shape.of(tiny), job, MACHINE).seconds for job in jobs)


def test_the_time_is_that_of_training_loading_and_answering(pool: str, tiny: ResolvedModel) -> None:
    found, plan = rows(pool, tiny), plan_of(spec_of(Path(pool).parent, pool), tiny)
    training = seconds(plan, tiny, (4, 6))
    assert 1 < training < 90
    assert found["training"] == "2 trainings"
    loading = f"{3 * ENGINE_SECONDS / 60:.0f} min"
    assert f"training {training:.0f} s, loading 3 engines {loading}, answering " in found["time"]
    assert found["time"].endswith("where nothing is stored")
    assert found["memory"].startswith("about 1.0 GiB for training, of 6.4 GiB that it may plan with; ")


def test_weights_that_are_kept_take_no_time(pool: str, tiny: ResolvedModel) -> None:
    plan = plan_of(spec_of(Path(pool).parent, pool), tiny)
    one = rows(pool, tiny, Done(weights=frozenset({4})))
    assert one["training"] == "2 trainings, of which 1 is done already"
    assert f"training {seconds(plan, tiny, (6,)):.0f} s" in one["time"]
    both = rows(pool, tiny, Done(weights=frozenset({4, 6})))
    assert "training 0 s" in both["time"]
    assert both.keys() == {"training", "time"}  # nothing has to fit the memory or the disk


def test_finished_arms_take_nothing(pool: str, tiny: ResolvedModel) -> None:
    some = rows(pool, tiny, Done(finished=frozenset({0, 1, 2, 3, 5, 4}), weights=frozenset({4})))
    assert "loading 1 engine 30 s" in some["time"]
    assert "6 of 7 arms finished" in some["time"]
    assert rows(pool, tiny, Done(finished=frozenset(range(7)))) == {
        "time": "nothing is left to do, 7 of 7 arms finished"
    }


def test_a_machine_that_has_nothing_to_do_is_not_measured(pool: str, tiny: ResolvedModel) -> None:
    def measured() -> Machine:
        raise AssertionError("the machine was measured")

    spec = spec_of(Path(pool).parent, pool)
    finished = Done(finished=frozenset(range(7)))
    assert len(expected_costs(spec, plan_of(spec, tiny), Shape.of(tiny), measured, True, finished)) == 1


def test_looking_for_learning_rates_takes_time_once_for_each_size_of_a_pool(pool: str, tiny: ResolvedModel) -> None:
    options: dict[str, Any] = {"draws": 2, "sizes": (1, 2), "aligned": None}
    searched = {"tune_learning_rate": True, "held_out": 2}
    found = rows(pool, tiny, **options, **searched)
    assert found["training"] == "4 trainings, and 12 to look for learning rates, 6 for each size of a pool"
    plan = plan_of(spec_of(Path(pool).parent, pool), tiny, **options, **searched)
    assert {arm.draw for arm in plan.searched.values()} == {0}
    own = seconds(plan, tiny, tuple(arm.number for arm in plan.jobs))
    looked = 6 * seconds(plan, tiny, tuple(arm.number for arm in plan.searched.values()))
    assert f"training {own + looked:.0f} s" in found["time"] or f"{(own + looked) / 60:.0f} min" in found["time"]
    one = rows(pool, tiny, Done(searched=frozenset({next(iter(plan.searched))})), **options, **searched)
    assert one["training"] == "4 trainings, and 6 to look for learning rates, 6 for each size of a pool"


def test_models_that_stand_by_themselves_have_an_engine_each(pool: str, tiny: ResolvedModel) -> None:
    assert "loading 4 engines" in rows(pool, tiny, method="full")["time"]
    assert "loading 4 engines" in rows(pool, tiny, adapts=False)["time"]
    assert "loading 2 engines" in rows(pool, tiny, aligned=None)["time"]


def test_merged_weights_take_room_on_the_disk(pool: str, tiny: ResolvedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shape, "of", lambda *given, of=Shape.of: replace(of(*given), parameters=10**9))
    adapted, merged = (rows(pool, tiny, adapts=adapts)["disk"] for adapts in (True, False))
    assert adapted.startswith("about 0.0 GiB")
    assert merged.startswith("about 7.5 GiB")


def test_a_busy_machine_is_said_to_be_one(pool: str, tiny: ResolvedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "getloadavg", lambda: (99.0, 0.0, 0.0))
    assert "other work runs now (load 99.0 on " in rows(pool, tiny)["time"]
