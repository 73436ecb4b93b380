"""The state of a training between two steps, in one safetensors file that is whole or not there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mmadapter.errors import UserError
from mmadapter.files import write_whole

FILE = "checkpoint.safetensors"


@dataclass
class Progress:
    """Where a training stands."""

    epoch: int = 0
    """Epoch of the next step, from 0."""
    batch: int = 0
    """Batch of that epoch with which the next step begins."""
    step: int = 0
    """Optimiser steps done."""
    loss_sum: float = 0.0
    """Of the answer tokens of this epoch so far, in nats."""
    tokens: int = 0
    """Answer tokens of this epoch so far."""
    best_epoch: int | None = None
    best_accuracy: float | None = None
    best_loss: float | None = None

    def advance(self, loss: float, tokens: int) -> None:
        """One step, of `tokens` answer tokens with a mean loss of `loss`."""
        self.step, self.batch = self.step + 1, self.batch + 1
        self.loss_sum, self.tokens = self.loss_sum + loss * tokens, self.tokens + tokens

    def end_epoch(self, val_loss: float | None, val_accuracy: float | None) -> bool:
        """To the next epoch. Returns whether this one was the best: the last one, where nothing validates."""
        self.epoch, self.batch, self.loss_sum, self.tokens = self.epoch + 1, 0, 0.0, 0
        best = (
            val_accuracy is None
            or self.best_accuracy is None
            or (val_accuracy, -val_loss) > (self.best_accuracy, -self.best_loss)
        )
        if best:
            self.best_epoch, self.best_accuracy, self.best_loss = self.epoch, val_accuracy, val_loss
        return best


def save_checkpoint(
    folder: Path, adapter: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, best: dict[str, Tensor]
) -> None:
    """Write the adapter, the optimiser's moments and the best epoch's adapter; replaces the last checkpoint."""
    tensors = {f"adapter.{name}": tensor for name, tensor in adapter.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"progress": json.dumps(asdict(progress))}
    write_whole(folder / FILE, lambda part: save_file(tensors, part, metadata=metadata))


def load_checkpoint(
    folder: Path, adapter: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    """Put a checkpoint's state into `adapter` and `optimizer`.

    Returns:
        Where the training stood, and the best epoch's adapter (empty before the first epoch's end).

    Raises:
        UserError: the file is damaged, or is of an adapter of another shape.
    """
    path = folder / FILE
    try:
        with safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        adapter.load_state_dict(_under("adapter.", tensors))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, field = name.split(".")
            moments.setdefault(int(index), {})[field] = tensor
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    except (SafetensorError, OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot resume from this checkpoint: {reason}; start anew without --resume") from error
    return progress, _under("best.", tensors)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
