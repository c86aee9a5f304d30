"""Claims about weights made in a process of their own: once, stored, found again, and resumed after a kill."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from safetensors.torch import load_file, save_file

from ablations.core.errors import ModelError, TuningError
from ablations.models.resolve import ResolvedModel
from ablations.models.training.jobs import MERGED, Failure, Job, Outcome
from ablations.models.training.samples import Sample
from ablations.models.training.tuner import Tuned, Tuner
from ablations.storage.store import Store
from tests.support.colours import job_of
from tests.support.tiny import make_tiny_model

pytestmark = pytest.mark.slow


class Watching(Tuner):
    """A tuner that tells how often a process was started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(f"sqlite:///{folder / 'store.db'}")
        self.said: list[str] = []
        self.trained = 0
        log = folder / "logs" / "s.tuning.log"
        super().__init__(self.store, folder / "tuned", log, self.said.append, checkpoint_seconds=0.0)

    async def _work(self, job: Job, begun: int) -> Outcome | Failure | None:
        self.trained += 1
        return await super()._work(job, begun)


@pytest.fixture
def tuner(tmp_path: Path) -> Iterator[Watching]:
    made = Watching(tmp_path)
    yield made
    made.store.close()


def tune(tuner: Tuner, job: Job) -> Tuned:
    made = asyncio.run(tuner.tune(job, "the job"))
    assert isinstance(made, Tuned)
    return made


class Trained(NamedTuple):
    folder: Path
    made: Tuned
    seen: list[int]
    last_loss: float | None


@pytest.fixture(scope="module")
def trained(tiny: ResolvedModel, samples: tuple[Sample, ...], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A folder in which the job was trained: a process that trains takes seconds to begin."""
    folder, seen = tmp_path_factory.mktemp("trained"), list[int]()
    tuner = Watching(folder)
    tuner.progress.listeners.append(lambda: seen.append(tuner.progress.done))
    made = tune(tuner, job_of(tiny, samples))
    tuner.store.close()
    return Trained(folder, made, seen, None if tuner.progress.last is None else tuner.progress.last.loss)


@pytest.fixture
def later(trained: Trained, tmp_path: Path) -> Iterator[Watching]:
    """A tuner of a copy of that folder."""
    made = Watching(Path(shutil.copytree(trained.folder, tmp_path / "later")))
    yield made
    made.store.close()


def test_the_same_job_is_trained_once_whoever_asks_and_however_often(
    trained: Trained, later: Watching, job: Job
) -> None:
    first = trained.made
    assert (first.reused, trained.seen[-1]) == (False, 6)
    assert trained.last_loss == first.outcome.losses[-1][1]
    again = tune(later, job)
    other = Watching(later.folder)
    elsewhere = tune(other, replace(job, model=replace(job.model, name="the same, called otherwise")))
    other.store.close()
    assert again.reused
    assert elsewhere.reused
    assert first.identity == again.identity == elsewhere.identity
    assert (later.trained, other.trained) == (0, 0)
    assert {path.name for path in first.folder.parent.iterdir()} == {"result"}
    assert (later.progress.done, later.progress.skipped) == (0, 6)


def test_weights_that_were_changed_or_lost_are_made_anew_and_are_the_same(later: Watching, job: Job) -> None:
    made = tune(later, job)
    assert made.reused
    path = made.folder / "adapter_model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    again = tune(later, job)
    assert not again.reused
    assert "are not what was written: they are trained again" in later.said[0]
    assert again.identity == made.identity
    path.unlink()
    assert not tune(later, job).reused


def workers() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # as what other tests left behind, and what has just ended
            found += [one] if "ablations.models.training.worker" in one.cmdline() else []
    return found


def test_a_killed_training_is_reported_and_the_next_run_goes_on(tuner: Watching, job: Job) -> None:
    job = replace(job, recipe=replace(job.recipe, epochs=100))

    def kill() -> None:
        if tuner.progress.last is not None and tuner.progress.last.step == 20:
            os.kill(workers()[0].pid, signal.SIGKILL)

    tuner.progress.listeners.append(kill)
    with pytest.raises(TuningError, match=r"ended with code -9: .* resumes from the last checkpoint"):
        tune(tuner, job)
    tuner.progress.listeners.clear()
    made = tune(tuner, job)
    assert any(note.startswith("the job: resumes from step ") for note in tuner.said)
    assert [row[0] for row in made.outcome.losses] == list(range(1, 201))


def test_a_run_that_is_broken_off_leaves_no_process(tuner: Watching, job: Job) -> None:
    job = replace(job, recipe=replace(job.recipe, epochs=4000))

    async def break_off() -> None:
        task = asyncio.ensure_future(tuner.tune(job, "the job"))
        while tuner.progress.last is None:
            await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(break_off())
    assert workers() == []


def test_a_loss_that_is_no_number_fails_its_job_alone_and_missing_layers_stop_the_study(
    tuner: Watching, job: Job, tmp_path: Path
) -> None:
    broken = make_tiny_model(tmp_path / "broken")
    path = tmp_path / "broken" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, path, {"format": "pt"})
    wild = replace(job, model=broken)
    failure = asyncio.run(tuner.tune(wild, "the job"))
    assert isinstance(failure, Failure)
    assert failure.kind == "loss"
    assert tuner.progress.done + tuner.progress.skipped == wild.recipe.steps(len(wild.samples))
    with pytest.raises(ModelError, match="tuning the job: the model 'tiny' has no layer"):
        tune(tuner, replace(job, recipe=replace(job.recipe, target_modules=("nothing",))))


def test_two_studies_that_want_the_same_weights_at_once_make_them_once(
    tuner: Watching, job: Job, tmp_path: Path
) -> None:
    other = Watching(tmp_path)

    async def both() -> list[Tuned | Failure]:
        return list(await asyncio.gather(tuner.tune(job, "one"), other.tune(job, "the other")))

    one, two = asyncio.run(both())
    other.store.close()
    assert isinstance(one, Tuned)
    assert isinstance(two, Tuned)
    assert one.identity == two.identity
    assert sorted((one.reused, two.reused)) == [False, True]
    assert tuner.trained + other.trained == 1
    assert [*tuner.said, *other.said] == ["another process makes the same weights; waiting for it"]


def test_what_is_tried_out_is_kept_as_a_number_without_its_weights(tuner: Watching, job: Job) -> None:
    job = replace(job, samples=job.samples[:4], held_out=job.samples[4:])
    for _ in range(2):
        made = asyncio.run(tuner.try_out(job, "the job"))
        assert isinstance(made, Outcome)
        assert made.held_out_loss is not None
    assert tuner.trained == 1
    assert [path for path in tuner._folder.iterdir() if path.is_dir()] == []


def test_an_adapters_weights_are_merged_once_and_go_with_those_that_they_were_made_of(
    later: Watching, job: Job
) -> None:
    made = tune(later, job)
    for _ in range(2):
        merged = asyncio.run(later.whole(made))
        assert merged == made.folder.with_name(MERGED)
        assert (merged / "model.safetensors").is_file()
    assert later.trained == 1
    (made.folder / "adapter_model.safetensors").unlink()
    tune(later, job)
    assert not merged.exists()


def test_a_process_that_trains_sees_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from ablations.models.training.tuner import _one_gpu

    for given, seen in (("2,3", "2"), ("", ""), ("1", "1")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert _one_gpu() == {"CUDA_VISIBLE_DEVICES": seen}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert _one_gpu() == {"CUDA_VISIBLE_DEVICES": "0"}
