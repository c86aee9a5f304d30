"""Claims about what a comparison is expected to take, as its plan says it."""

from pathlib import Path

import psutil
import pytest

from ablations.models import ResolvedModel
from ablations.tuning import Machine, Shape, estimate
from ablations.tuning_costs import ENGINE_SECONDS, expected_costs
from tests.tuning.arms import plan_of, spec_of
from tests.tuning.test_tuning_plan import write_pool

MACHINE = Machine(False, 8 << 30, 1e7, 1e9)
"""So slow that each training takes seconds."""


def rows(folder: Path, tiny: ResolvedModel, kept: int = 0, **options: object) -> dict[str, str]:
    spec = spec_of(folder, write_pool(folder / "pool.jsonl"))
    plan = plan_of(spec, tiny, **options)
    keys = [arm.job.key for arm in plan.jobs if arm.job is not None]
    return dict(expected_costs(spec, plan, Shape.of(tiny), MACHINE, keys[:kept]))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "getloadavg", lambda: (0.0, 0.0, 0.0))


def test_the_time_is_that_of_training_loading_and_answering(tiny: ResolvedModel, tmp_path: Path) -> None:
    found = rows(tmp_path, tiny)
    plan = plan_of(spec_of(tmp_path, str(tmp_path / "pool.jsonl")), tiny)
    jobs = [arm.job for arm in plan.jobs if arm.job is not None]
    seconds = sum(estimate(Shape.of(tiny), job.recipe, job.samples, MACHINE).seconds for job in jobs)
    assert 1 < seconds < 90
    assert f"training {seconds:.0f} s, loading 3 engines {3 * ENGINE_SECONDS / 60:.0f} min, answering " in found["time"]
    assert found["training"].startswith("2 times: ")
    assert "load" not in found["time"].partition("stored")[2]


def test_weights_that_are_kept_take_no_time(tiny: ResolvedModel, tmp_path: Path) -> None:
    found = rows(tmp_path, tiny, kept=2)
    assert found["training"] == "2 times, 2 of them are there already: 0 tokens to read"
    assert "training 0 s" in found["time"]


def test_looking_for_learning_rates_is_among_the_tokens(tiny: ResolvedModel, tmp_path: Path) -> None:
    plain = rows(tmp_path, tiny, sizes=(1,), draws=2)
    searched = rows(tmp_path, tiny, sizes=(1,), draws=2, tune_learning_rate=True, held_out=2)
    assert searched["training"].startswith("2 times, and 6 times to look for learning rates, 6 of each size: ")
    read = [int(one["training"].rpartition(": ")[2].split()[0].replace(",", "")) for one in (plain, searched)]
    assert read[1] > 3 * read[0]


def test_models_tuned_as_a_whole_have_an_engine_each(tiny: ResolvedModel, tmp_path: Path) -> None:
    assert "loading 4 engines" in rows(tmp_path, tiny, method="full")["time"]
    assert "loading 2 engines" in rows(tmp_path, tiny, aligned=None)["time"]


def test_a_busy_machine_is_said_to_be_one(tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "getloadavg", lambda: (99.0, 0.0, 0.0))
    assert "other work runs now (load 99.0 on " in rows(tmp_path, tiny)["time"]
