"""Training: one job's weights, by transformers' Trainer and PEFT.

Runs in a process of its own (`worker`), which gives all memory back. Knows neither studies nor where results are
stored: it reads a job, says each step, and writes a folder. Checkpoints are safetensors and replace one another
atomically; a training that resumes from one makes the same steps as one that was never stopped.
"""

import gc
import math
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging

from ablations.core.errors import first_line
from ablations.models.resolve import folder_identity
from ablations.models.training.checkpoints import Checkpoint, Done
from ablations.models.training.jobs import CHECKPOINT, CHECKPOINT_SECONDS, Failure, Job, Outcome, StepSeen
from ablations.models.training.samples import Collator, answer_loss, keeps_places, ordered
from ablations.models.training.sizing import Plan, Shape, fit, free_bytes, has_gpu, linear_layers, remedy_of_targets

WARMUP = 0.1
PAUSE_SHARE = 10
"""Between checkpoints, as many times what the last one took: of large models they take minutes."""
CLIP = 1.0
Say = Callable[[StepSeen | str], None]
"""Called with each step, and with what else happens in words."""


class Stopped(Exception):
    """Training cannot continue; carries the `Failure`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = Failure(kind, reason)


def train(
    job: Job,
    folder: Path,
    result: Path,
    say: Say,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    plan: Plan | None = None,
) -> Outcome:
    """Train, and write the weights to `result`, whole or not at all.

    Args:
        job: what to learn, and how.
        folder: where the checkpoint of an earlier attempt lies, and this one's goes.
        result: the folder to make: PEFT's format of an adapter, or a model that an engine loads.
        say: tells the user what happens.
        checkpoint_seconds: between checkpoints, at the least.
        plan: how it is fitted into the memory; made from what is free now where None.

    Raises:
        Stopped: the loss is no number, the memory or the disk is full, or there is nothing for adapters to be put on.
    """
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    on_gpu, every = has_gpu(), (*job.samples, *job.held_out)
    if plan is None:
        plan = fit(Shape.of(job.model, job.trusted), job.recipe, every, on_gpu, free_bytes(on_gpu))
    while True:
        try:
            return _Training(job, plan, folder, say, on_gpu, checkpoint_seconds).run(result)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _memory_is_full(error):
                raise
            plan = _smaller(plan, error)
            again = ", activations computed again," * plan.checkpointed
            say(f"the memory is full: {plan.at_once} of a step's answers at once{again} from the last checkpoint on")
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()


def _memory_is_full(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _smaller(plan: Plan, error: Exception) -> Plan:
    """Return a plan that takes less memory; raise `Stopped` where there is none."""
    if plan.at_once == 1 and plan.checkpointed:
        raise Stopped(
            "memory",
            f"out of memory with one answer at a time ({first_line(error)}); lower tuning.max_tokens, use --tuning "
            "lora, or a machine with more memory",
        ) from error
    at_once = next((n for n in range(plan.at_once - 1, 0, -1) if plan.at_once % n == 0), 1)
    return Plan(at_once, plan.at_once == 1 or plan.checkpointed, plan.bytes, plan.free)


class _Training:
    """One attempt at a job."""

    def __init__(self, job: Job, plan: Plan, folder: Path, say: Say, on_gpu: bool, checkpoint_seconds: float) -> None:
        self._job, self._plan, self._folder, self._say = job, plan, folder, say
        self._checkpoint_seconds = checkpoint_seconds
        self._on_gpu = on_gpu
        torch.manual_seed(job.recipe.seed)
        self.model = _load(job, on_gpu)
        if plan.checkpointed:
            self.model.enable_input_require_grads()
        self.trained = {name: one for name, one in self.model.named_parameters() if one.requires_grad}
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=job.recipe.learning_rate, weight_decay=0.0)
        self._ordered = ordered(job.samples, job.recipe)

    def run(self, result: Path) -> Outcome:
        """Train from the last checkpoint on, and write the result."""
        recipe, begun = self._job.recipe, time.monotonic()
        steps = recipe.steps(len(self._job.samples))
        checkpoint = Checkpoint(self._folder / CHECKPOINT, self.trained, self.optimizer)
        done = checkpoint.load()
        if done.step:
            self._say(f"resumes from step {done.step} of {steps}")
        if done.step < steps:
            watch = _Watch(checkpoint, done, steps, self._say, self._read(), begun, self._checkpoint_seconds)
            self._trainer(done.step, steps, watch).train()
            done = Done(steps, (*done.losses, *watch.losses), watch.seconds)
        self._check_weights()
        loss = self._held_out_loss()
        _write(self.model, self._job, result, whole=self._job.recipe.method == "full")
        return self._outcome(done, loss, result)

    def _read(self) -> list[int]:
        """Return how many tokens have been read after each step."""
        batch = self._job.recipe.batch
        totals, total = [], 0
        for start in range(0, len(self._ordered), batch):
            total += sum(len(one.tokens) for one in self._ordered[start : start + batch])
            totals.append(total)
        return totals

    def _trainer(self, done: int, steps: int, watch: TrainerCallback) -> Trainer:
        recipe, at_once = self._job.recipe, self._plan.at_once
        arguments = TrainingArguments(
            output_dir=str(self._folder),
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=recipe.batch // at_once,
            num_train_epochs=1,
            max_grad_norm=CLIP,
            train_sampling_strategy="sequential",  # the order is the job's
            save_strategy="no",
            logging_strategy="steps",
            logging_steps=1,
            logging_nan_inf_filter=False,
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            label_names=["labels"],
            bf16=self._on_gpu and torch.cuda.is_bf16_supported(),
            use_cpu=not self._on_gpu,
            gradient_checkpointing=self._plan.checkpointed,
            dataloader_pin_memory=self._on_gpu,
            seed=recipe.seed,
        )
        for group in self.optimizer.param_groups:
            group["initial_lr"] = recipe.learning_rate
        schedule = LambdaLR(self.optimizer, lambda step: rate_share(step, steps), last_epoch=done - 1)
        trainer = Trainer(
            model=self.model,
            args=arguments,
            train_dataset=self._ordered[done * recipe.batch :],
            data_collator=Collator(keeps_places(self.model)),
            compute_loss_func=answer_loss,
            optimizers=(self.optimizer, schedule),
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _check_weights(self) -> None:
        """Raise `Stopped` where the last step, whose loss was computed before it, left weights that are no numbers."""
        spoilt = [name for name, one in self.trained.items() if not torch.isfinite(one).all()]
        if spoilt:
            raise Stopped(
                "loss",
                f"after the last step {len(spoilt)} of {len(self.trained)} weights hold what is no number; lower "
                f"tuning.learning_rate (now {self._job.recipe.learning_rate:.2g} at its highest), or look for it with "
                "--tune-learning-rate",
            )

    def _held_out_loss(self) -> float | None:
        """Return the mean loss of the held-out answers' tokens, or None where there are none."""
        if not self._job.held_out:
            return None
        self.model.eval()
        collate, total, learned = Collator(keeps_places(self.model)), 0.0, 0
        with torch.inference_mode():
            for sample in self._job.held_out:
                batch = {name: one.to(self.model.device) for name, one in collate([sample]).items()}
                labels = batch.pop("labels")
                total += float(answer_loss(self.model(**batch), labels, 1))
                learned += len(sample.target)
        return total / learned

    def _outcome(self, done: Done, held_out_loss: float | None, result: Path) -> Outcome:
        own, epochs = self._job.samples, self._job.recipe.epochs
        peak = torch.cuda.max_memory_allocated() if self._on_gpu else 0
        return Outcome(
            weights=folder_identity(result),
            tokens=epochs * sum(len(one.tokens) for one in own),
            learned=epochs * sum(len(one.target) for one in own),
            seconds=done.seconds,
            trainable=sum(one.numel() for one in self.trained.values()),
            parameters=sum(one.numel() for one in self.model.parameters()),
            peak_bytes=peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            losses=done.losses,
            held_out_loss=held_out_loss,
        )


def rate_share(step: int, steps: int) -> float:
    """Return the share of the highest learning rate after `step` of `steps`: never 0, so that every step learns.

    >>> [round(rate_share(step, 20), 2) for step in (0, 1, 2, 11, 19)]
    [0.5, 1.0, 1.0, 0.5, 0.01]
    >>> rate_share(0, 1)
    1.0
    """
    warmup = math.ceil(WARMUP * steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def _load(job: Job, on_gpu: bool) -> Any:
    """Return the model with what is trained: all of it, or adapters."""
    recipe = job.recipe
    # Trained weights have 32 bits, also where forward and backward passes are computed in 16.
    kind = torch.bfloat16 if on_gpu and recipe.method == "lora" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(
        job.model.location, revision=job.model.revision, dtype=kind, trust_remote_code=job.trusted
    )
    model.config.use_cache = False
    if recipe.method == "full":
        return model.to("cuda" if on_gpu else "cpu")
    from peft import LoraConfig, get_peft_model

    targets = list(recipe.target_modules) or "all-linear"
    settings = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"
    )
    try:
        return get_peft_model(model, settings).to("cuda" if on_gpu else "cpu")
    except ValueError as error:
        raise Stopped(
            "modules",
            f"the model {job.model.name!r} has no layer that adapters could be put on: {first_line(error)}; "
            f"{remedy_of_targets(linear_layers(model))}",
        ) from error


class _Watch(TrainerCallback):
    """Tells each step, stops where the loss is no number, and saves checkpoints."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        before: Done,
        steps: int,
        say: Say,
        read: Sequence[int],
        begun: float,
        checkpoint_seconds: float,
    ) -> None:
        self._checkpoint, self._before, self._steps, self._say, self._read = checkpoint, before, steps, say, read
        self._begun, self._saved, self._pause = begun, time.monotonic(), checkpoint_seconds
        self._saving = 0.0
        self.losses: list[tuple[int, float, float, int]] = []

    @property
    def seconds(self) -> float:
        """Of training until now, in all attempts, without what checkpoints took."""
        return self._before.seconds + time.monotonic() - self._begun - self._saving

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **rest: Any) -> None:
        """Take up a step's loss."""
        if not logs or "loss" not in logs:
            return
        step, loss, rate = self._before.step + state.global_step, float(logs["loss"]), float(logs["learning_rate"])
        if not math.isfinite(loss):
            raise Stopped(
                "loss",
                f"the loss of step {step} of {self._steps} is {loss}: training was stopped; lower "
                f"tuning.learning_rate (now {rate:.2g} at this step), or look for it with --tune-learning-rate",
            )
        tokens, seconds = self._read[step - 1], self.seconds
        self.losses.append((step, loss, rate, tokens))
        self._say(StepSeen(step, self._steps, loss, rate, tokens, seconds))
        if time.monotonic() - self._saved >= self._pause and step < self._steps:
            self._save(Done(step, (*self._before.losses, *self.losses), seconds))

    def _save(self, done: Done) -> None:
        begun = time.monotonic()
        try:
            self._checkpoint.save(done)
        except (OSError, SafetensorError) as error:
            self._say(f"the checkpoint of step {done.step} cannot be written ({first_line(error)}): the last one stays")
        self._saved = time.monotonic()
        self._saving += self._saved - begun
        self._pause = max(self._pause, PAUSE_SHARE * (self._saved - begun))


def merge(job: Job, adapter: Path, result: Path) -> None:
    """Write the model with an adapter's weights added to its own, as an engine loads it by itself.

    Raises:
        Stopped: the disk is full, or cannot be written.
    """
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained(
        job.model.location, revision=job.model.revision, trust_remote_code=job.trusted
    )
    _write(PeftModel.from_pretrained(model, adapter).merge_and_unload(), job, result, whole=True)


def _write(model: Any, job: Job, result: Path, whole: bool) -> None:
    """Write weights, and of a whole model what an engine needs beside them; raise `Stopped` where that fails."""
    part = result.with_name(f"{result.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        model.save_pretrained(part)
        if whole:
            tokenizer = AutoTokenizer.from_pretrained(
                job.model.location, revision=job.model.revision, trust_remote_code=job.trusted
            )
            tokenizer.save_pretrained(part)
        part.rename(result)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise Stopped(
            "disk", f"the tuned weights cannot be written to {result}: {first_line(error)}; free the disk"
        ) from error
