"""Save the state of a training between two steps in one file, whole or not at all, and keep the one before it.

A training is deterministic: from either of the two it goes on to the same adapter.
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
    """The position of a training."""

    epoch: int = 0
    """Epoch of the next step, from 0."""
    batch: int = 0
    """Batch within that epoch of the next step."""
    step: int = 0
    """Optimiser steps done."""
    loss_sum: float = 0.0
    """Summed loss of this epoch's answer tokens so far, in nats."""
    tokens: int = 0
    """Number of this epoch's answer tokens so far."""
    best_epoch: int | None = None
    best_accuracy: float | None = None
    best_loss: float | None = None

    def advance(self, loss: float, tokens: int) -> None:
        """Count a step with `tokens` answer tokens and a mean loss of `loss`."""
        self.step, self.batch = self.step + 1, self.batch + 1
        self.loss_sum, self.tokens = self.loss_sum + loss * tokens, self.tokens + tokens

    def end_epoch(self, val_loss: float | None, val_accuracy: float | None) -> bool:
        """Go to the next epoch, and return whether this one was the best so far; without validation the last one is."""
        self.epoch, self.batch, self.loss_sum, self.tokens = self.epoch + 1, 0, 0.0, 0
        if val_loss is None or self.best_loss is None:
            best = True
        elif val_accuracy is None or self.best_accuracy is None:
            best = val_loss < self.best_loss
        else:
            best = (val_accuracy, -val_loss) > (self.best_accuracy, -self.best_loss)
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
    """Write the adapter, the optimiser's moments and the best epoch's adapter, keeping the last checkpoint.

    Raises:
        UserError: the folder cannot be written; both checkpoints are as they were.
    """
    tensors = {f"adapter.{name}": tensor for name, tensor in adapter.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    about = {"progress": json.dumps(asdict(progress))}
    save_tensors(folder.checkpoint, tensors, about, previous=folder.previous_checkpoint)


def checkpoint_bytes(adapter: nn.Module) -> int:
    """Most bytes that a training writes: three checkpoints (the last, the one before, the one being written), each with
    the adapter, the best epoch's and two moments, and the adapter itself."""
    return (3 * 4 + 1) * sum(tensor.nbytes for tensor in adapter.state_dict().values())


def load_checkpoint(
    folder: VariantFolder, adapter: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Load the last checkpoint into `adapter` and `optimizer`, or the previous one if that is damaged.

    Returns:
        Where the training stood, and the best epoch's adapter (empty before the first epoch's end); None where there
        is no checkpoint.

    Raises:
        UserError: both are damaged, or they are of an adapter of another shape.
    """
    damaged = []
    for path in (folder.checkpoint, folder.previous_checkpoint):
        try:
            tensors, about = load_tensors(path)
        except FileNotFoundError:  # also of the last one alone: killed between the two renamings
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
        raise UserError(
            "\n".join(damaged) + "\n  without checkpoints this training starts anew: delete what is damaged"
        )
    return None


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
