"""Compute the gradient of an optimiser step, in parts and over processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from mmadapter.inference.activations import Activations
from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.likelihood import adaption_of, answer_and_choice_loss, answer_loss
from mmadapter.inference.tokenising import Encoded
from mmadapter.model import MultimodalAdapter
from mmadapter.training.batches import forward_parts


def parts_in_step(
    batch: Sequence[int], lengths: Sequence[int], max_tokens: int, accelerator: Accelerator
) -> list[tuple[list[int], bool]]:
    """Split a batch into this process' forwards, each with whether it counts: all processes have equally many."""
    everyone = range(accelerator.num_processes)
    parts = [forward_parts(batch, lengths, max_tokens, (process, len(everyone))) for process in everyone]
    own, idle = parts[accelerator.process_index], [min(batch, key=lengths.__getitem__)]
    return [(part, True) for part in own] + [(idle, False)] * (max(map(len, parts)) - len(own))


def backward(
    model: MultimodalAdapter,
    images: QuestionImages | None,
    stored: Activations | None,
    parts: Sequence[tuple[Sequence[Encoded], bool]],
    sizes: tuple[int, int],
    choice_loss: float,
    accelerator: Accelerator,
) -> Float[Tensor, ""]:
    """Accumulate the gradient of one process' parts of a batch, and return their loss.

    Loss and gradient are divided by the size of the whole batch: summed over parts and processes they are the batch's.

    Args:
        parts: forwards, each with whether it counts; one that does not adds 0.
        sizes: answer tokens and questions of the whole batch.
    """
    total = torch.zeros((), device=model.llm.model.device)
    for part, counts in parts:
        adaption = adaption_of(model, images, part)
        below = stored.of(part) if stored is not None else None
        if choice_loss:
            answer, choice = answer_and_choice_loss(model, adaption, part, below)
            loss = answer / sizes[0] + choice_loss * choice / sizes[1]
        else:
            loss = answer_loss(model, adaption, part, below) / sizes[0]
        loss = loss * float(counts)
        accelerator.backward(loss)
        total += loss.detach()
    return total


def sum_over_processes(
    weights: Sequence[nn.Parameter], loss: Float[Tensor, ""], stop: bool, accelerator: Accelerator
) -> tuple[float, bool]:
    """Sum gradients and loss over the processes, and stop all if one shall, in one exchange."""
    if accelerator.num_processes > 1:
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        told = torch.stack([loss, loss.new_tensor(float(stop))])
        flat = accelerator.reduce(torch.cat([part.flatten() for part in (*gradients, told)]), "sum")
        for weight, gradient in zip(weights, flat[:-2].split([w.numel() for w in weights]), strict=True):
            weight.grad = gradient.view_as(weight)
        loss, stop = flat[-2], bool(flat[-1] > 0)
    return loss.item(), stop
