"""The state of a training between two steps, in one file that is whole or absent; the file before it is kept.

Training is deterministic: it goes on from either file to the same adapter.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from mmadapter.errors import UserError
from mmadapter.runs.folder import VariantFolder
from mmadapter.storage.tensors import Damaged, load_tensors, save_tensors


@dataclass
class Progress:
    """Position of a training."""

    epoch: int = 0
    """Epoch of the next step, from 0."""
    batch: int = 0
    """Batch of that epoch that the next step takes."""
    step: int = 0
    """Optimiser steps done."""
    loss_sum: float = 0.0
    """Loss of this epoch so far, in nats over its answer tokens."""
    tokens: int = 0
    """Answer tokens of this epoch so far."""
    best_epoch: int | None = None
    best_accuracy: float | None = None
    best_loss: float | None = None

    def advance(self, loss: float, tokens: int) -> None:
        """Count a step with a mean loss of `loss` over `tokens` answer tokens."""
        self.step, self.batch = self.step + 1, self.batch + 1
        self.loss_sum, self.tokens = self.loss_sum + loss * tokens, self.tokens + tokens

    def end_epoch(self, val_loss: float | None, val_accuracy: float | None) -> bool:
        """Go to the next epoch; return whether this one was the best so far, as it always is without validation."""
        self.epoch, self.batch, self.loss_sum, self.tokens = self.epoch + 1, 0, 0.0, 0
        if val_loss is None or self.best_loss is None:
            best = True
        else:
            best = (val_accuracy or 0.0, -val_loss) > (self.best_accuracy or 0.0, -self.best_loss)
        if best:
            self.best_epoch, self.best_accuracy, self.best_loss = self.epoch, val_accuracy, val_loss
        return best


def save_checkpoint(
    folder: VariantFolder,
    adapter: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    best: dict[str, Tensor],
) -> None:
    """Write the adapter, the optimiser's moments and the best epoch's adapter; keep the last checkpoint too."""
    tensors = {f"adapter.{name}": tensor for name, tensor in adapter.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    about = {"progress": json.dumps(asdict(progress))}
    save_tensors(folder.checkpoint, tensors, about, previous=folder.previous_checkpoint)


def checkpoint_bytes(adapter: nn.Module) -> int:
    """Return the most bytes a training writes: the adapter, and the last checkpoint, the one before it and the one
    being written, each with two adapters and two moments."""
    return (3 * 4 + 1) * sum(tensor.nbytes for tensor in adapter.state_dict().values())


def load_checkpoint(
    folder: VariantFolder, adapter: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Put the last checkpoint into `adapter` and `optimizer`; if it is damaged, the one before it.

    Returns:
        The training's position and the best epoch's adapter (empty before the end of the first epoch); None without
        a checkpoint.

    Raises:
        UserError: both are damaged, or they belong to an adapter of another shape.
    """
    damaged = []
    for path in (folder.checkpoint, folder.previous_checkpoint):
        try:
            tensors, about = load_tensors(path)
        except FileNotFoundError:  # of the last one alone if killed between the two renamings
            continue
        except Damaged as error:
            damaged.append(f"{path}: this checkpoint is damaged ({error})")
            continue
        if damaged:
            print(f"{damaged[0]}; going on from {path.name}", file=sys.stderr)
        try:
            progress = Progress(**json.loads(about["progress"]))
            adapter.load_state_dict(_under("adapter.", tensors))
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _under("optimizer.", tensors).items():
                index, field = name.split(".")
                moments.setdefault(int(index), {})[field] = tensor
            optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: cannot resume from this checkpoint: {reason}") from error
        return progress, _under("best.", tensors)
    if damaged:
        raise UserError("\n".join(damaged) + "\n  delete the damaged checkpoints to start this training anew")
    return None


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
