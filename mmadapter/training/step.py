"""One optimiser step: the gradient, accumulated over the parts of a batch and summed over processes, and AdamW."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from mmadapter.config.settings import Recipe
from mmadapter.errors import UserError
from mmadapter.inference.activations import Activations
from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.likelihood import adaption_of, answer_and_choice_loss, answer_loss
from mmadapter.inference.tokenising import Encoded
from mmadapter.model import MultimodalAdapter
from mmadapter.training.batches import parts_in_step

BETAS = (0.9, 0.95)
"""AdamW's, as in the authors' code."""
CLIP_NORM = 1.0
"""Bound on the gradient's norm."""


@dataclass(frozen=True)
class TrainingSet:
    """The training questions, with the length of each in tokens."""

    questions: list[Encoded]
    lengths: list[int]
    images: QuestionImages | None
    stored: Activations | None


def adamw(model: MultimodalAdapter, recipe: Recipe) -> torch.optim.AdamW:
    """Return AdamW over the adapter; a group's `share` of the learning rate is below 1 for the projection."""
    weights = dict(model.adapter.named_parameters())
    projection = [weights.pop(name) for name in list(weights) if name.startswith("projection.")]
    shares = [(list(weights.values()), 1.0), (projection, recipe.projection_rate)]
    groups = [{"params": params, "share": share} for params, share in shares if params]
    return torch.optim.AdamW(groups, betas=BETAS, weight_decay=recipe.weight_decay)


def learning_rate(step: int, total: int, warmup: float, peak: float) -> float:
    """Return the rate of a step, from 0: linear from 0 to `peak` over `warmup` steps, then a half cosine to 0."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


def backward(
    model: MultimodalAdapter,
    train_set: TrainingSet,
    batch: Sequence[int],
    recipe: Recipe,
    accelerator: Accelerator,
    stopped: Callable[[], bool],
) -> tuple[float, int, bool]:
    """Accumulate the gradient of a batch, given as indices of questions.

    Returns:
        The loss (nats an answer token, plus `choice_loss` times nats a question), the number of answer tokens, and
        whether any process is to stop.

    Raises:
        UserError: the loss is not finite.
    """
    tokens = sum(len(train_set.questions[index].target) for index in batch)
    total = torch.zeros((), device=model.llm.model.device)
    share = accelerator.process_index, accelerator.num_processes
    for indices, counts in parts_in_step(batch, train_set.lengths, recipe.forward_tokens, share):
        part = [train_set.questions[index] for index in indices]
        adaption = adaption_of(model, train_set.images, part)
        hidden = train_set.stored.of(part) if train_set.stored else None
        if recipe.choice_loss:
            answer, choice = answer_and_choice_loss(model, adaption, part, hidden)
            loss = answer / tokens + recipe.choice_loss * choice / len(batch)
        else:
            loss = answer_loss(model, adaption, part, hidden) / tokens
        loss = loss * float(counts)
        accelerator.backward(loss)
        total += loss.detach()
    mean, stop = _over_processes(model, total, stopped(), accelerator)
    if not math.isfinite(mean):
        raise UserError("the training loss is no longer finite: lower --learning-rate, or use --dtype float32")
    return mean, tokens, stop


def _over_processes(
    model: MultimodalAdapter, loss: Float[Tensor, ""], stop: bool, accelerator: Accelerator
) -> tuple[float, bool]:
    """Sum the gradients and the loss, and stop all processes if one is to, in a single exchange."""
    if accelerator.num_processes > 1:
        weights = list(model.adapter.parameters())
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        parts = [*gradients, loss, loss.new_tensor(float(stop))]
        flat = accelerator.reduce(torch.cat([part.flatten() for part in parts]), "sum")
        for weight, gradient in zip(weights, flat[:-2].split([w.numel() for w in weights]), strict=True):
            weight.grad = gradient.view_as(weight)
        loss, stop = flat[-2], bool(flat[-1] > 0)
    return loss.item(), stop


def update_weights(
    model: MultimodalAdapter, optimizer: torch.optim.Optimizer, rate: float, accelerator: Accelerator
) -> float:
    """Take the step with the accumulated gradient, clipped, and clear it; return its norm before clipping."""
    norm = float(accelerator.clip_grad_norm_(list(model.adapter.parameters()), CLIP_NORM))
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    optimizer.step()
    optimizer.zero_grad()
    return norm
