"""Sizing: what a training takes of memory and time, and how many answers of a step fit the memory at once.

The figures are estimates from the model's configuration, said as such; what a training really took is in its outcome.
Knows no data but lengths. Loads torch for the machine's memory and speed.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.core.errors import ModelError
from ablations.models.resolve import ResolvedModel
from ablations.models.tokenizer import readable
from ablations.models.training.jobs import Job
from ablations.models.training.recipe import Recipe
from ablations.models.training.samples import Sample, longest
from ablations.storage.workspace import child_environment

SHARE = 0.8
"""Of the free memory that a training may plan with."""
EFFICIENCY = 0.6
"""Of the speed of a large matrix product that a training reaches; one of a small model on two cores was about that."""
KEPT = 2.8
"""Numbers that a block keeps for its backward pass, by each that its linear layers put out: their inputs, the norms',
the attention's and the feed-forward's products."""
PROCESS_BYTES = 1 << 30
"""Memory that Python, torch and transformers take by themselves."""


@dataclass(frozen=True)
class Layer:
    """A layer that multiplies by a matrix, beside which an adapter can be put: its name, and its two widths."""

    name: str
    inputs: int
    outputs: int


def linear_layers(model: Any) -> tuple[Layer, ...]:
    """Return a model's linear layers but the head, as PEFT takes them where none are named."""
    head = model.get_output_embeddings()
    found = []
    for name, one in model.named_modules():
        kind, weight = type(one).__name__, getattr(one, "weight", None)
        if one is head or not ("Linear" in kind or kind == "Conv1D") or weight is None or weight.dim() != 2:
            continue
        outputs, inputs = weight.shape[::-1] if kind == "Conv1D" else weight.shape
        found.append(Layer(name, int(inputs), int(outputs)))
    return tuple(found)


def remedy_of_targets(linear: Iterable[Layer]) -> str:
    """Return what to do where adapters have no layer to be put on, by the linear layers there are."""
    names = sorted({layer.name.rpartition(".")[2] for layer in linear})
    return (
        f"its linear layers are {', '.join(names) or 'none'}: name some of them as tuning.target_modules, or use "
        "--tuning full"
    )


@dataclass(frozen=True)
class Shape:
    """Properties of a model that decide what training takes.

    Attributes:
        parameters: of the whole model, those that it uses twice counted once.
        body: of what every token goes through, which embeddings are not: they are looked up.
        head: of the output layer, which only learned tokens go through.
        blocks: layers of the transformer, or of what stands in its place.
        hidden: the width between them.
        vocabulary: number of tokens.
        linear: every layer that adapters can be put on.
    """

    parameters: int
    body: int
    head: int
    blocks: int
    hidden: int
    vocabulary: int
    linear: tuple[Layer, ...]

    @classmethod
    def of(cls, model: ResolvedModel, trusted: bool = False) -> "Shape":
        """Return the shape of a model, without its weights; raise `ModelError` where it cannot be known."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        with readable(model):
            config = AutoConfig.from_pretrained(model.location, revision=model.revision, trust_remote_code=trusted)
            with torch.device("meta"):  # sizes without memory
                empty: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=trusted)  # type: ignore[no-untyped-call]
            empty.tie_weights()
            ends = [
                one.weight for one in (empty.get_input_embeddings(), empty.get_output_embeddings()) if one is not None
            ]
            vocabulary, hidden = ends[-1].shape
            blocks = max((len(one) for one in empty.modules() if type(one).__name__ == "ModuleList"), default=1)
        tables = {id(one) for one in ends}
        return cls(
            parameters=sum(one.numel() for one in empty.parameters()),
            body=sum(one.numel() for one in empty.parameters() if id(one) not in tables),
            head=int(vocabulary * hidden),
            blocks=int(getattr(config.get_text_config(), "num_hidden_layers", None) or blocks),
            hidden=int(hidden),
            vocabulary=int(vocabulary),
            linear=linear_layers(empty),
        )

    def adapted(self, recipe: Recipe) -> list[Layer]:
        """Return the layers that a recipe puts adapters on."""
        targets = recipe.target_modules
        return [one for one in self.linear if not targets or any(_is_called(one, target) for target in targets)]

    def adapters(self, recipe: Recipe) -> int:
        """Return how many parameters the adapters have (Hu et al. 2021)."""
        return sum(recipe.rank * (layer.inputs + layer.outputs) for layer in self.adapted(recipe))

    def check_targets(self, recipe: Recipe, model: str) -> None:
        """Raise `ModelError` where a layer that adapters are asked for is none of the model's."""
        lacking = [name for name in recipe.target_modules if not any(_is_called(one, name) for one in self.linear)]
        if lacking:
            raise ModelError(
                f"tuning.target_modules: the model {model!r} has no layer {', '.join(lacking)}; "
                f"{remedy_of_targets(self.linear)}"
            )

    def fixed_bytes(self, recipe: Recipe, on_gpu: bool) -> int:
        """Return what weights, gradients and the optimiser take.

        Trained weights, their gradients and AdamW's two moments have 32 bits each; frozen ones in 16 on a GPU.
        """
        if recipe.method == "full":
            return 16 * self.parameters
        return (2 if on_gpu else 4) * self.parameters + 16 * self.adapters(recipe)

    def disk_bytes(self, recipe: Recipe) -> tuple[int, int]:
        """Return what weights take on the disk, and a checkpoint with the optimiser's two moments, in 32 bits each."""
        trained = self.parameters if recipe.method == "full" else self.adapters(recipe)
        return 4 * trained, 12 * trained

    def answer_bytes(self, length: int, places: int, on_gpu: bool, checkpointed: bool) -> int:
        """Return what one answer's forward pass keeps for its backward pass.

        Of each block and token: `KEPT` times what its linear layers put out; where activations are `checkpointed`,
        the hidden vector alone. Of each place where some answer that is computed together with it has a token to
        learn: the logits, their copy in 32 bits and their gradient.
        """
        width = 2 if on_gpu else 4
        every = KEPT * sum(layer.outputs for layer in self.linear)
        kept = self.blocks * self.hidden + every / self.blocks if checkpointed else every
        return int(width * length * kept) + 3 * 4 * places * self.vocabulary

    def operations(self, tokens: int, learned: int, method: str, checkpointed: bool = False) -> float:
        """Return the floating-point operations of a training: 6 a parameter and token (Kaplan et al. 2020).

        2 of them are the forward pass, which is made twice where activations are `checkpointed`, 2 the gradients that
        are passed on, 2 those of the weights, which frozen ones lack.
        """
        each = (6 if method == "full" else 4) + (2 if checkpointed else 0)
        return float(each) * (self.body * tokens + self.head * learned)


@dataclass(frozen=True)
class Plan:
    """How a training is fitted into the memory.

    Attributes:
        at_once: answers of a step that are computed together; the rest of the step follows and is added up.
        checkpointed: whether activations are computed again in the backward pass.
        bytes: the estimate of what it takes in all.
        free: what there was to plan with.
    """

    at_once: int
    checkpointed: bool
    bytes: int
    free: int

    @property
    def fits(self) -> bool:
        """Whether the estimate is within what there is."""
        return self.bytes <= self.free


def fit(shape: Shape, recipe: Recipe, samples: Sequence[Sample], on_gpu: bool, free: int) -> Plan:
    """Return how a training is fitted into the memory.

    On a GPU as many answers as possible are computed at once. On a CPU it is one: a single answer keeps all cores
    busy, and what others would be padded with is not computed (`tests/benchmarks` measures both).
    """
    length, learned = longest(samples), max((len(one.target) for one in samples), default=0)
    fixed = shape.fixed_bytes(recipe, on_gpu) + PROCESS_BYTES
    sizes = [number for number in range(recipe.batch if on_gpu else 1, 0, -1) if recipe.batch % number == 0]
    plans = [
        Plan(
            at_once,
            checkpointed,
            fixed + at_once * shape.answer_bytes(length, min(length, at_once * learned), on_gpu, checkpointed),
            int(SHARE * free),
        )
        for checkpointed in (False, True)
        for at_once in sizes
    ]
    return next((plan for plan in plans if plan.fits), plans[-1])


@dataclass(frozen=True)
class Estimate:
    """Estimate of a training before it has begun: seconds, and how it is fitted into the memory."""

    seconds: float
    plan: Plan


@dataclass(frozen=True)
class Machine:
    """Resources for a training: whether there is a GPU, bytes that are free now, operations and bytes per second."""

    on_gpu: bool
    free: int
    speed: float
    bandwidth: float

    @classmethod
    def measured(cls) -> "Machine":
        """Return this machine's, measured now, which takes some seconds.

        In a process of its own, as training is: what asks a GPU for anything keeps some of its memory until it ends,
        and would be in the engine's way, and this process may have given torch fewer threads.
        """
        on_gpu = has_gpu()
        figures = ", ".join(f"{name}({on_gpu})" for name in ("free_bytes", "machine_speed", "memory_speed"))
        code = f"from ablations.models.training.sizing import *; print({figures})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=child_environment(), check=False
        )
        said = done.stdout.strip().splitlines()
        if done.returncode or not said:
            why = [*done.stderr.strip().splitlines(), f"ended with code {done.returncode}"]
            raise ModelError(
                f"what measures the {'GPU' if on_gpu else 'machine'}'s speed and memory failed: "
                f"{why[-2] if len(why) > 1 else why[-1]}; see what else runs on it"
            )
        free, speed, bandwidth = said[-1].split()
        return cls(on_gpu, int(free), float(speed), float(bandwidth))


def estimate(shape: Shape, job: Job, machine: Machine) -> Estimate:
    """Return what a job will take on a machine."""
    tokens, learned = (
        job.recipe.epochs * sum(len(some) for some in every)
        for every in ([one.tokens for one in job.samples], [one.target for one in job.samples])
    )
    plan = fit(shape, job.recipe, (*job.samples, *job.held_out), machine.on_gpu, machine.free)
    operations = shape.operations(tokens, learned, job.recipe.method, plan.checkpointed)
    return Estimate(operations / (EFFICIENCY * machine.speed), plan)


def estimate_answers(shape: Shape, machine: Machine, read: int, new: int, together: int) -> float:
    """Return about how many seconds a model takes to answer.

    Args:
        shape: of the model.
        machine: what it runs on.
        read: tokens of prompts that no cache holds.
        new: tokens that it writes.
        together: answers that get a token in one step, for which all weights are read once.

    2 operations a parameter and token (Kaplan et al. 2020); only what is written goes through the output layer.
    """
    operations = 2.0 * (shape.body * (read + new) + shape.head * new)
    weights = (2 if machine.on_gpu else 4) * shape.parameters
    return operations / (EFFICIENCY * machine.speed) + new / together * weights / machine.bandwidth


def _is_called(layer: Layer, target: str) -> bool:
    """Whether a name, or the end of one, is a layer's, as PEFT reads it."""
    return f".{layer.name}".endswith(f".{target}")


def has_gpu() -> bool:
    """Whether torch sees a GPU; takes none of its memory."""
    import torch

    return bool(torch.cuda.is_available())


def free_bytes(on_gpu: bool) -> int:
    """Return the memory that is free now, of the first GPU or of the machine."""
    if on_gpu:
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil

    return int(psutil.virtual_memory().available)


def machine_speed(on_gpu: bool) -> float:
    """Return floating-point operations per second of a large matrix product, as fast as it goes undisturbed."""
    import torch

    size, kind, device = (4096, torch.bfloat16, "cuda") if on_gpu else (768, torch.float32, "cpu")
    one: Any = torch.ones(size, size, dtype=kind, device=device)
    return 2.0 * size**3 / _fastest(lambda: (one @ one)[0, 0].item())  # asking for an item waits for the product


def memory_speed(on_gpu: bool) -> float:
    """Return bytes per second that are read and written in copies larger than any cache, undisturbed."""
    import torch

    one: Any = torch.ones(1 << 27, dtype=torch.uint8, device="cuda" if on_gpu else "cpu")
    other = torch.empty_like(one)
    return 2.0 * float(one.numel()) / _fastest(lambda: other.copy_(one)[0].item())


def _fastest(work: Callable[[], object], seconds: float = 0.5) -> float:
    """Return how long some work takes that other processes leave alone: the shortest of many times."""
    work()  # the first time sets things up
    times, end = list[float](), time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)
