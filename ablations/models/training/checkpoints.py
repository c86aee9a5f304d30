"""Checkpoints: how far a training has come, in one safetensors file that is replaced as a whole.

Knows tensors and optimisers; not what is trained.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

Losses = tuple[tuple[int, float, float, int], ...]
"""A row a step: step, loss, learning rate, tokens read."""


@dataclass(frozen=True)
class Done:
    """How far a training has come: steps, their rows of losses (see `Outcome`), and seconds."""

    step: int = 0
    losses: Losses = ()
    seconds: float = 0.0


class Checkpoint:
    """One safetensors file with the trained weights, the optimiser's state and how far the training has come."""

    def __init__(self, path: Path, trained: dict[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        self._path, self._trained, self._optimizer = path, trained, optimizer

    def save(self, done: Done) -> None:
        """Replace the file; raise `OSError` or `SafetensorError` where that fails, and leave the old one."""
        tensors = {f"weights.{name}": one.detach() for name, one in self._trained.items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": one for name, one in state.items()}
        part = self._path.with_suffix(".part")
        try:
            text = json.dumps([done.step, done.losses, done.seconds])
            save_file({name: one.contiguous().cpu() for name, one in tensors.items()}, part, {"done": text})
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)

    def load(self) -> Done:
        """Put back what was saved; return how far it was, nothing where there is no whole file."""
        try:
            with safe_open(self._path, framework="pt") as file:
                step, losses, seconds = json.loads(file.metadata()["done"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return Done()
        with torch.no_grad():
            for name, one in self._trained.items():
                one.copy_(tensors[f"weights.{name}"])
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, number, kind = name.split(".")
                state.setdefault(int(number), {})[kind] = tensor
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": state})
        return Done(step, tuple((row[0], row[1], row[2], row[3]) for row in losses), seconds)
