"""The tuner: jobs -> weights, each made once and stored by its key; each training in a process of its own.

Knows the store, where weights are stored and how the process is talked to; not how training goes.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ablations.core.errors import ModelError, StorageError, TuningError, UsageError, first_line, reason
from ablations.models.resolve import folder_identity
from ablations.models.training.jobs import (
    CHECKPOINT,
    CHECKPOINT_SECONDS,
    JOB,
    MERGED,
    RESULT,
    Failure,
    Job,
    Outcome,
    StepSeen,
)
from ablations.storage.store import Store
from ablations.storage.workspace import child_environment

WAIT_SECONDS = 1.0
_LINE_BYTES = 1 << 26
"""The longest line a training may print: an outcome has a row for each step."""


@dataclass(frozen=True)
class Tuned:
    """Weights that a job made.

    Attributes:
        job: what they were made from.
        outcome: what training came to.
        folder: where they are.
        reused: whether they were there before.
    """

    job: Job
    outcome: Outcome
    folder: Path
    reused: bool

    @property
    def identity(self) -> str:
        """Of the weights, for the keys of what they answer."""
        return f"{self.job.recipe.method}:{self.outcome.weights}"


@dataclass
class TuningProgress:
    """Where the trainings of a study are; `done` and `skipped` count steps of all of them."""

    done: int = 0
    skipped: int = 0
    what: str = ""
    last: StepSeen | None = None
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def announce(self) -> None:
        """Tell whoever watches."""
        for listener in self.listeners:
            listener()


class Tuner:
    """Makes weights, or finds those that were made.

    Args:
        store: where outcomes are stored by the job's key.
        folder: where weights are stored, each in a folder named by the key.
        log_file: where everything goes that a training prints.
        say: shows one line to the user.
        checkpoint_seconds: between the checkpoints of a training, at the least.
    """

    def __init__(
        self,
        store: Store,
        folder: Path,
        log_file: Path,
        say: Callable[[str], None],
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        self._checkpoint_seconds = checkpoint_seconds
        self._store, self._folder, self._log_file, self._say = store, folder, log_file, say
        self.progress = TuningProgress()

    def known(self, job: Job) -> Outcome | None:
        """Return what the job came to in a former run, whether or not its weights are still there."""
        record = self._store.find_tuning(job.key)
        return None if record is None else Outcome.from_dict(record)

    async def tune(self, job: Job, what: str) -> Tuned | Failure:
        """Return the job's weights, trained now unless they are there; or why there are none.

        Args:
            job: what to make.
            what: how people call it.

        Raises:
            UsageError: it does not fit the memory.
            ModelError: the model has nothing for adapters to be put on.
            StorageError: the disk is full.
            TuningError: the process that trains died.
        """
        result = self._folder / job.key / RESULT
        async with self._alone(job):
            outcome = self.known(job)
            if outcome is not None and result.is_dir() and folder_identity(result) == outcome.weights:
                self.pass_over(job)
                return Tuned(job, outcome, result, reused=True)
            if outcome is not None and result.is_dir():
                self._say(f"the weights of {what} in {result} are not what was written: they are trained again")
            made = await self._train(job, what)
        return made if isinstance(made, Failure) else Tuned(job, made, result, reused=False)

    async def try_out(self, job: Job, what: str) -> Outcome | Failure:
        """Return what a job comes to, without keeping its weights; raises what `tune` raises."""
        async with self._alone(job):
            if (outcome := self.known(job)) is not None:
                self.pass_over(job)
                return outcome
            made = await self._train(job, what)
            shutil.rmtree(self._folder / job.key, ignore_errors=True)
        return made

    async def whole(self, tuned: Tuned) -> Path:
        """Return a folder that an engine loads by itself: an adapter's weights are merged into the model's, once.

        Raises:
            TuningError: the process that merges died.
            StorageError: the disk is full.
        """
        merged = tuned.folder.with_name(MERGED)
        if tuned.job.recipe.method == "full":
            return tuned.folder
        async with self._alone(tuned.job):
            if not merged.is_dir():
                made = await self._work(tuned.job, self.progress.done)
                if isinstance(made, Failure):
                    self._failed(made, "the merged weights")
        return merged

    @asynccontextmanager
    async def _alone(self, job: Job) -> AsyncIterator[None]:
        """Let one process at a time work on a job: another study may want the same weights."""
        lock = FileLock(self._folder / f"{job.key}.lock")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            waits = False
            while True:
                try:
                    lock.acquire(timeout=0)
                    break
                except Timeout:
                    if not waits:
                        self._say("another process makes the same weights; waiting for it")
                    waits = True
                    await asyncio.sleep(WAIT_SECONDS)
        except OSError as error:
            raise StorageError(f"{self._folder} cannot be written: {reason(error)}; free the disk") from error
        try:
            yield
        finally:
            lock.release()

    def pass_over(self, job: Job) -> None:
        """Count a job's steps as none to do."""
        self.progress.skipped += job.recipe.steps(len(job.samples))
        self.progress.announce()

    async def _train(self, job: Job, what: str) -> Outcome | Failure:
        """Train, keep what came of it by the job's key, and drop what it leaves behind."""
        folder, begun = self._folder / job.key, self.progress.done
        self.progress.what, self.progress.last = what, None
        for stale in (RESULT, MERGED):
            shutil.rmtree(folder / stale, ignore_errors=True)
        made = await self._work(job, begun)
        assert made is not None  # there were no weights to merge
        left = job.recipe.steps(len(job.samples)) - (self.progress.done - begun)
        self.progress.skipped += left if isinstance(made, Failure) else 0
        if not isinstance(made, Failure):
            self._store.add_tuning(job.key, made.to_dict())
        if not isinstance(made, Failure) or made.kind == "loss":  # else the next run resumes from the checkpoint
            for done in (JOB, CHECKPOINT):
                (folder / done).unlink(missing_ok=True)
        return self._failed(made, what) if isinstance(made, Failure) else made

    def _failed(self, failure: Failure, what: str) -> Failure:
        """Return a failure that concerns this job alone; raise one that the user has to do something about."""
        errors = {"memory": UsageError, "modules": ModelError, "disk": StorageError}
        if failure.kind in errors:
            raise errors[failure.kind](f"tuning {what}: {failure.reason}")
        return failure

    async def _work(self, job: Job, begun: int) -> Outcome | Failure | None:
        """Run the process that trains or merges, and follow it; return None where there was only to merge."""
        folder = self._folder / job.key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / JOB).write_text(json.dumps(job.to_dict()), encoding="utf-8")
            self._log_file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder} cannot be written: {reason(error)}; free the disk") from error
        with self._log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ablations.models.training.worker", str(folder), str(self._checkpoint_seconds)),
                stdin=asyncio.subprocess.PIPE,  # its end ends the process, whatever becomes of this one
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LINE_BYTES,
                env={**child_environment(), "TOKENIZERS_PARALLELISM": "false", **_one_gpu()},
                start_new_session=True,  # a Ctrl-C in the terminal is this process's to pass on
            )
        try:
            return await self._follow(process, begun)
        finally:
            with suppress(ProcessLookupError):
                process.kill()  # it has ended, or this run was broken off: checkpoints are whole at any moment
            await process.wait()

    async def _follow(self, process: asyncio.subprocess.Process, begun: int) -> Outcome | Failure | None:
        assert process.stdout is not None  # a pipe, as asked for above
        async for line in process.stdout:
            said: dict[str, Any] = json.loads(line)
            if "step" in said:
                self._step(StepSeen.from_dict(said["step"]), begun)
            elif "note" in said:
                self._say(f"{self.progress.what}: {said['note']}")
            elif "failure" in said:
                return Failure.from_dict(said["failure"])
            else:
                return Outcome.from_dict(said["outcome"]) if "outcome" in said else None
        code = await process.wait()
        killed = "; was it killed for want of memory? Then lower tuning.max_tokens, or use --tuning lora" * (code == -9)
        raise TuningError(
            f"the process that tunes ended with code {code}: {first_line(OSError(self._last_words()))}{killed}; read "
            f"{self._log_file}, then run the same command again: it resumes from the last checkpoint"
        )

    def _last_words(self) -> str:
        """Return the last line of the log."""
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _step(self, seen: StepSeen, begun: int) -> None:
        self.progress.done, self.progress.last = begun + seen.step, seen
        self.progress.announce()


def _one_gpu() -> dict[str, str]:
    """Return what lets a process see one GPU: of several, transformers would split each step among all."""
    return {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]}
