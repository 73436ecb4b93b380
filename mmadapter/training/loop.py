"""Train an adapter on a frozen model: answer loss, AdamW, warm-up and cosine, validation every epoch."""

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

from mmadapter.config.settings import Recipe
from mmadapter.errors import UserError
from mmadapter.inference.activations import stored_activations
from mmadapter.inference.image_features import QuestionImages, question_images
from mmadapter.inference.rows import scored_length, trained_row
from mmadapter.inference.tokenising import Encoded, Encoder
from mmadapter.model import MultimodalAdapter
from mmadapter.runs.folder import VariantFolder
from mmadapter.scienceqa.problems import Dataset
from mmadapter.storage.files import PacedSaver
from mmadapter.storage.processes import from_first
from mmadapter.storage.progress import progress_bar
from mmadapter.training.batches import epoch_batches
from mmadapter.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from mmadapter.training.log import EpochRecord, TrainingLog
from mmadapter.training.schedule import BETAS, CLIP_NORM, learning_rate, parameter_groups
from mmadapter.training.step import backward, parts_in_step, sum_over_processes
from mmadapter.training.validation import validate


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

    The lower loss decides at equal accuracy, and for instructions, which have none; without val problems the last epoch
    counts. The order of the problems depends only on the recipe's seed and their lengths: both variants see the same
    batches.

    Args:
        images: features of the data's images, if available.
        folder: for the log, the checkpoints and at the end the adapter.
        resume: go on from the folder's checkpoint, if there is one.

    Returns:
        One record an epoch.

    Raises:
        UserError: no training problems, a broken image, a damaged checkpoint, a loss that is not finite.
        Interrupted: Ctrl-C or SIGTERM; with a folder the training can be resumed.
    """
    if images is None and model.tower is not None:
        images, data = question_images(model.tower, data, model.form, quiet=quiet)
    encode = Encoder(model.llm, model.form)
    train_set = encode(data["train"])
    val_set = encode(data["val"]) if "val" in data.splits else []
    if not train_set:
        raise UserError(f"{data.name}: the train split has no problems")

    model.checkpointing = recipe.checkpointing
    accelerator = Accelerator(cpu=model.llm.model.device.type == "cpu")
    optimizer = accelerator.prepare(
        torch.optim.AdamW(parameter_groups(model, recipe), betas=BETAS, weight_decay=recipe.weight_decay)
    )
    progress = Progress()
    best: dict[str, Tensor] = {}
    records = VariantFolder(Path(folder)) if folder is not None else None
    if records is not None:
        records.path.mkdir(parents=True, exist_ok=True)
        if resume and (found := load_checkpoint(records, model.adapter, optimizer)):
            progress, best = found
    _whiten(model, images, train_set)
    writer = accelerator.is_main_process
    log = TrainingLog(records if writer else None, progress.step, progress.epoch, tensorboard=tensorboard)

    def save() -> None:
        if records is not None and writer:
            log.sync()
            save_checkpoint(records, model.adapter, optimizer, progress, best)

    stored = stored_val = None
    if recipe.store_activations and model.first_adapted > 0:
        read = {question.pid: trained_row(question, choices=bool(recipe.choice_loss)) for question in train_set}
        stored = stored_activations(model, read, quiet=quiet)
        read = {question.pid: trained_row(question, choices=True) for question in val_set}
        stored_val = stored_activations(model, read, quiet=quiet) if val_set else None
    weights = list(model.adapter.parameters())
    lengths = [scored_length(q) if recipe.choice_loss else len(q.read_tokens) for q in train_set]
    epoch_steps = math.ceil(len(train_set) / recipe.batch_size)
    total = recipe.epochs * epoch_steps
    paced, started, stop = PacedSaver(save), time.monotonic(), False
    label = "text-only" if model.adapter.text_only else "multimodal"
    with _stop_signal() as stopped, progress_bar(f"training {label}", total, quiet=quiet) as update:
        while progress.epoch < recipe.epochs:
            for batch in epoch_batches(lengths, recipe.batch_size, recipe.seed, progress.epoch)[progress.batch :]:
                if stop:
                    paced.now()
                    raise Interrupted
                parts = [
                    ([train_set[index] for index in part], counts)
                    for part, counts in parts_in_step(batch, lengths, recipe.forward_tokens, accelerator)
                ]
                tokens = sum(len(train_set[index].target) for index in batch)
                loss = backward(model, images, stored, parts, (tokens, len(batch)), recipe.choice_loss, accelerator)
                loss, stop = sum_over_processes(weights, loss, stopped(), accelerator)
                if not math.isfinite(loss):
                    raise UserError(
                        "the training loss is no longer finite: lower --learning-rate, or use --dtype float32"
                    )
                norm = float(accelerator.clip_grad_norm_(weights, CLIP_NORM))
                rate = learning_rate(progress.step, total, recipe.warmup_epochs * epoch_steps, recipe.learning_rate)
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["share"]
                optimizer.step()
                optimizer.zero_grad()
                progress.advance(loss, tokens)
                log.step(progress.step, loss=loss, learning_rate=rate, gradient_norm=norm)
                update(progress.step, f"loss {loss:.3f}")
                paced()
            val_loss, val_accuracy = validate(model, images, val_set, stored_val)
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
            if stop:
                raise Interrupted
    model.adapter.load_state_dict(best)
    if records is not None and writer:
        model.save_pretrained(records.path)
    return log.epochs


def _whiten(model: MultimodalAdapter, images: QuestionImages | None, train_set: Sequence[Encoded]) -> None:
    """Fit the projection's components to the training images, once; all processes use the first one's."""
    projection = model.adapter.projection
    if images is None or projection is None or not projection.unfitted:
        return
    features, has_image = images.of([question.pid for question in train_set])
    if has_image.any():
        projection.whiten(*from_first(lambda: projection.whitening(features[has_image])))


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C and SIGTERM wait for the end of a step, but not a second one; yield whether one came."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set  # signals belong to the main thread
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: object) -> None:
        came.set()
        signal.signal(number, before[number])

    try:
        for number in before:
            signal.signal(number, stop)
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
