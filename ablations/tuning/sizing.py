"""Sizing: what a training takes of memory and time, and how many answers of a step fit the memory at once.

The figures are estimates from the model's configuration, said as such; what a training really took is in its outcome.
Knows no data but lengths. Loads torch for the machine's memory and speed.
"""

import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.errors import ModelError
from ablations.models import ResolvedModel
from ablations.places import child_environment
from ablations.tokens import readable
from ablations.tuning.recipe import Recipe
from ablations.tuning.samples import Sample, longest

SHARE = 0.8
"""Of the free memory that a training may plan with."""
EFFICIENCY = 0.6
"""Of the speed of a large matrix product that a training reaches; one of a small model on two cores was about that."""
PROCESS_BYTES = 1 << 30
"""What Python, torch and transformers take by themselves."""


@dataclass(frozen=True)
class Shape:
    """What of a model's configuration decides what training takes.

    Attributes:
        parameters: of the whole model, those that it uses twice counted once.
        body: of what every token goes through, which embeddings are not: they are looked up.
        head: of the output layer, which only learned tokens go through.
        layers, hidden, intermediate, heads: of the transformer; `heads` is the width of its queries.
        vocabulary: number of tokens.
        modules: names of what has weights of its own, those of linear layers first, and
        linear: how many these are.
    """

    parameters: int
    body: int
    head: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    modules: tuple[str, ...] = ()
    linear: int = 0

    @classmethod
    def of(cls, model: ResolvedModel, trusted: bool = False) -> "Shape":
        """Return the shape of a model, without its weights."""
        from accelerate import init_empty_weights
        from transformers import AutoConfig, AutoModelForCausalLM

        with readable(model):
            config = AutoConfig.from_pretrained(model.location, revision=model.revision, trust_remote_code=trusted)
            with init_empty_weights():
                empty: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=trusted)  # type: ignore[no-untyped-call]
            empty.tie_weights()
            text = config.get_text_config()
        own = {
            name: type(one).__name__
            for name, one in empty.named_modules()
            if next(one.parameters(False), None) is not None
        }
        linear = [name for name, kind in own.items() if is_linear(kind)]
        others = [name for name in own if name not in linear]
        head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        ends = (empty.get_input_embeddings(), empty.get_output_embeddings())
        tables = {id(one.weight) for one in ends if one is not None}
        return cls(
            parameters=sum(one.numel() for one in empty.parameters()),
            body=sum(one.numel() for one in empty.parameters() if id(one) not in tables),
            head=text.hidden_size * text.vocab_size,
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            intermediate=getattr(text, "intermediate_size", 4 * text.hidden_size),
            heads=head_size * text.num_attention_heads,
            vocabulary=text.vocab_size,
            modules=(*linear, *others),
            linear=len(linear),
        )

    def check_targets(self, recipe: Recipe, model: str) -> None:
        """Raise `ModelError` where a layer that adapters are asked for is none of the model's."""
        lacking = [
            target
            for target in recipe.target_modules
            if not any(f".{name}".endswith(f".{target}") for name in self.modules)
        ]
        if recipe.method == "lora" and lacking:
            raise ModelError(
                f"tuning.target_modules: the model {model!r} has no layer {', '.join(lacking)}; "
                f"{remedy_of_targets(self.modules[: self.linear])}"
            )

    def adapters(self, recipe: Recipe) -> int:
        """Return about how many parameters adapters of every linear layer have."""
        attention = 4 * (self.hidden + self.heads)
        feed_forward = 3 * (self.hidden + self.intermediate)
        return self.layers * recipe.rank * (attention + feed_forward)

    def fixed_bytes(self, recipe: Recipe, on_gpu: bool) -> int:
        """Return what weights, gradients and the optimiser take.

        Trained weights, their gradients and AdamW's two moments are kept in 32 bits each; frozen ones in 16 on a GPU.
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

        Of each layer and token: about eight vectors of the hidden size, four of the attention's and five of the
        feed-forward's; where activations are `checkpointed`, the hidden vector alone. Of each place where some answer
        that is computed together with it has a token to learn: the logits, their copy in 32 bits and their gradient.
        """
        width = 2 if on_gpu else 4
        one_layer = 8 * self.hidden + 4 * self.heads + 5 * self.intermediate
        kept = self.layers * self.hidden + one_layer if checkpointed else self.layers * one_layer
        return width * length * kept + 3 * 4 * places * self.vocabulary

    def operations(self, tokens: int, learned: int, method: str) -> float:
        """Return the floating-point operations of a training: 6 a parameter and token (Kaplan et al. 2020).

        2 of them are the forward pass, 2 the gradients that are passed on, 2 those of the weights, which frozen ones
        lack.
        """
        each = 6 if method == "full" else 4
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
    """What a training will take, before it has begun: seconds, and how it is fitted into the memory."""

    seconds: float
    plan: Plan


@dataclass(frozen=True)
class Machine:
    """What a training can use: whether there is a GPU, bytes that are free now, operations and bytes per second."""

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
        code = f"from ablations.tuning.sizing import *; print({figures})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=child_environment(), check=False
        )
        if done.returncode:
            raise ModelError(
                f"the {'GPU' if on_gpu else 'machine'} cannot be measured: {done.stderr.strip().splitlines()[-1]}; see "
                "what else runs on it"
            )
        free, speed, bandwidth = done.stdout.split()
        return cls(on_gpu, int(free), float(speed), float(bandwidth))


def estimate(shape: Shape, recipe: Recipe, samples: Sequence[Sample], machine: Machine) -> Estimate:
    """Return what training on these samples will take on a machine."""
    tokens, learned = (
        recipe.epochs * sum(len(some) for some in every)
        for every in ([one.tokens for one in samples], [one.target for one in samples])
    )
    operations = shape.operations(tokens, learned, recipe.method)
    return Estimate(
        operations / (EFFICIENCY * machine.speed), fit(shape, recipe, samples, machine.on_gpu, machine.free)
    )


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


def is_linear(kind: str) -> bool:
    """Whether a layer of this type multiplies by a matrix, as adapters do beside it."""
    return "Linear" in kind or kind == "Conv1D"


def remedy_of_targets(linear: Iterable[str]) -> str:
    """Return what to do where adapters have no layer to be put on, by the names of the linear layers there are."""
    names = sorted({name.rpartition(".")[2] for name in linear})
    return (
        f"its linear layers are {', '.join(names) or 'none'}: name some of them as tuning.target_modules, or use "
        "--tuning full"
    )


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


def machine_speed(on_gpu: bool, seconds: float = 0.3) -> float:
    """Return floating-point operations per second of a large matrix product, measured for about `seconds`."""
    import torch

    size, kind, device = (4096, torch.bfloat16, "cuda") if on_gpu else (768, torch.float32, "cpu")
    one: Any = torch.ones(size, size, dtype=kind, device=device)
    one @ one  # the first one sets things up
    products, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        (one @ one)[0, 0].item()  # waits for the product
        products += 1
    return products * 2.0 * size**3 / (time.perf_counter() - begun)


def memory_speed(on_gpu: bool, seconds: float = 0.1) -> float:
    """Return bytes per second that are read and written in copies larger than any cache, for about `seconds`."""
    import torch

    one: Any = torch.ones(1 << 28, dtype=torch.uint8, device="cuda" if on_gpu else "cpu")
    other = torch.empty_like(one)
    other.copy_(one)  # the first one sets things up
    copies, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        other.copy_(one)[0].item()  # waits for the copy
        copies += 1
    return copies * 2.0 * float(one.numel()) / (time.perf_counter() - begun)
