"""Training an adapter on a frozen model: answer loss, AdamW, warm-up and cosine, validation every epoch."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from mmadapter.config import Recipe
from mmadapter.encoding import Encoded, Encoder
from mmadapter.errors import UserError
from mmadapter.features import QuestionImages, question_images
from mmadapter.files import Paced
from mmadapter.model import MultimodalAdapter
from mmadapter.progress import progress_bar
from mmadapter.scienceqa.problems import Dataset
from mmadapter.scoring import adaption_of, answer_loss, length_batches, option_log_likelihoods
from mmadapter.training.batches import epoch_batches
from mmadapter.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from mmadapter.training.log import EpochRecord, TrainingLog

BETAS = (0.9, 0.95)
"""Of AdamW, as in the authors' code."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during a training; its checkpoint, if it has a folder, is written."""


def train(
    model: MultimodalAdapter,
    data: Dataset,
    recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    *,
    images: QuestionImages | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    quiet: bool = False,
) -> list[EpochRecord]:
    """Train `model`'s adapter on the train split; it ends as that of the epoch with the best val accuracy.

    At equal accuracy the lower loss is the better; without val problems the last epoch is taken. The order of the
    problems depends on the recipe's seed and their lengths alone: both variants see the same batches.

    Args:
        images: features of the data's images, if they are at hand.
        folder: where the log, the checkpoint and at the end the adapter are written.
        resume: go on from the folder's checkpoint, if there is one.

    Returns:
        One record an epoch.

    Raises:
        UserError: no training problems, a broken image, a damaged checkpoint, a loss that is not finite.
        Interrupted: Ctrl-C or SIGTERM; with a folder the training can be resumed.
    """
    if images is None and not model.adapter.text_only:
        images, data = question_images(model.tower, data, model.form, quiet=quiet)
    encode = Encoder(model.llm, model.form)
    train_set = encode(data["train"])
    val_set = encode(data["val"]) if "val" in data.splits else []
    if not train_set:
        raise UserError(f"{data.name}: the train split has no problems")

    accelerator = Accelerator(cpu=model.llm.model.device.type == "cpu")
    optimizer = accelerator.prepare(
        torch.optim.AdamW(model.adapter.parameters(), betas=BETAS, weight_decay=recipe.weight_decay)
    )
    progress, best = Progress(), {}
    folder = Path(folder) if folder is not None else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if resume and (found := load_checkpoint(folder, model.adapter, optimizer)):
            progress, best = found
    log = TrainingLog(folder, progress.step, progress.epoch, tensorboard=tensorboard)

    def save() -> None:
        if folder is not None:
            log.sync()
            save_checkpoint(folder, model.adapter, optimizer, progress, best)

    lengths = [len(question.prompt) + len(question.target) for question in train_set]
    epoch_steps = math.ceil(len(train_set) / recipe.batch_size)
    total = recipe.epochs * epoch_steps
    paced, started = Paced(save), time.monotonic()
    label = "text-only" if model.adapter.text_only else "multimodal"
    with _stop_signal() as stopped, progress_bar(f"training {label}", total, quiet=quiet) as update:
        while progress.epoch < recipe.epochs:
            for batch in epoch_batches(lengths, recipe.batch_size, recipe.seed, progress.epoch)[progress.batch :]:
                if stopped():
                    paced.now()
                    raise Interrupted
                rate = learning_rate(progress.step, total, recipe.warmup_epochs * epoch_steps, recipe.learning_rate)
                loss, norm = _step(
                    model, images, [train_set[index] for index in batch], optimizer, accelerator, rate, recipe
                )
                progress.advance(loss, sum(len(train_set[index].target) for index in batch))
                log.step(progress.step, loss=loss, learning_rate=rate, gradient_norm=norm)
                update(progress.step, f"loss {loss:.3f}")
                paced()
            val_loss, val_accuracy = validate(model, images, val_set)
            record = EpochRecord(
                epoch=progress.epoch + 1,
                step=progress.step,
                train_loss=progress.loss_sum / progress.tokens,
                val_loss=val_loss,
                val_accuracy=val_accuracy,
                seconds=round(time.monotonic() - started, 1),
            )
            if progress.end_epoch(val_loss, val_accuracy):
                best = {name: tensor.detach().cpu().clone() for name, tensor in model.adapter.state_dict().items()}
            log.epoch(record)
            paced.now()
            if stopped():
                raise Interrupted
    model.adapter.load_state_dict(best)
    if folder is not None:
        model.save_pretrained(folder)
    return log.epochs


def _step(
    model: MultimodalAdapter,
    images: QuestionImages | None,
    batch: Sequence[Encoded],
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    rate: float,
    recipe: Recipe,
) -> tuple[float, float]:
    """One optimiser step. Returns the loss (nats an answer token) and the gradient's norm before clipping.

    Each part of an accumulated batch is weighted by its answer tokens, so the parts sum up to the whole's gradient.
    """
    tokens = sum(len(question.target) for question in batch)
    part_size = math.ceil(len(batch) / recipe.accumulation)
    total = 0.0
    for start in range(0, len(batch), part_size):
        part = batch[start : start + part_size]
        loss = answer_loss(model, adaption_of(model, images, part), part) / tokens
        accelerator.backward(loss)
        total += loss.item()
    if not math.isfinite(total):
        raise UserError("the training loss is no longer finite: lower --learning-rate, or use --dtype float32")
    norm = accelerator.clip_grad_norm_(model.adapter.parameters(), recipe.clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()
    return total, float(norm)


def learning_rate(step: int, total: int, warmup: float, peak: float) -> float:
    """Of step `step` (from 0) of `total`: linear from 0 over `warmup` steps, then a half cosine to 0."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


@torch.no_grad()
def validate(
    model: MultimodalAdapter, images: QuestionImages | None, questions: Sequence[Encoded]
) -> tuple[float | None, float | None]:
    """Loss (nats an answer token) and likelihood accuracy (percent); None for no questions."""
    if not questions:
        return None, None
    loss, correct = 0.0, 0
    for indices in length_batches(questions):
        batch = [questions[index] for index in indices]
        adaption = adaption_of(model, images, batch)
        loss += answer_loss(model, adaption, batch).item()
        scores: list[Tensor] = option_log_likelihoods(model, adaption, batch)
        correct += sum(int(score.argmax()) == question.answer for score, question in zip(scores, batch, strict=True))
    return loss / sum(len(question.target) for question in questions), 100 * correct / len(questions)


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM wait for the end of a step; a second one does not. Yields whether one came."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set  # signals belong to the main thread
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def stop(number: int, frame: object) -> None:
        came.set()
        signal.signal(number, before[number])

    try:
        for number in signals:
            signal.signal(number, stop)
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
