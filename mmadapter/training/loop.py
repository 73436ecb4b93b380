"""Training an adapter on a frozen model: answer loss, AdamW, warm-up and cosine, validation every epoch."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator

from mmadapter.config.settings import Recipe, Tracker
from mmadapter.errors import UserError
from mmadapter.inference.activations import Activations, stored_activations
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
from mmadapter.training.step import TrainingSet, adamw, backward, learning_rate, update_weights
from mmadapter.training.tracking import tracker
from mmadapter.training.validation import validate


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM during a training, after its checkpoint, if it has a folder, was written."""


def train(
    model: MultimodalAdapter,
    data: Dataset,
    recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    *,
    images: QuestionImages | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    track: Tracker | None = None,
    quiet: bool = False,
) -> list[EpochRecord]:
    """Train `model`'s adapter on the train split; keep the weights of the epoch with the best val accuracy.

    At equal accuracy, and for instructions, which have none, the lower loss wins; without val problems the last epoch
    does. The order of problems depends on the recipe's seed and their lengths alone: both variants see equal batches.

    Args:
        images: features of the data's images, if they are computed already.
        folder: for the log, the checkpoints and at the end the adapter.
        track: in the folder too, the log for another program.
        resume: go on from the folder's checkpoint, if there is one.

    Returns:
        One record an epoch.

    Raises:
        UserError: no training problems, a broken image, a damaged checkpoint, or a loss that is not finite.
        Interrupted: Ctrl-C or SIGTERM; with a folder the training can be resumed.
    """
    if images is None and model.tower is not None:
        images, data = question_images(model.tower, data, model.form, quiet=quiet)
    encode = Encoder(model.llm, model.form)
    questions = encode(data["train"])
    val_questions = encode(data["val"]) if "val" in data.splits else []
    if not questions:
        raise UserError(f"{data.name}: the train split has no problems")

    model.checkpointing = recipe.checkpointing
    accelerator = Accelerator(cpu=model.llm.model.device.type == "cpu")
    optimizer = accelerator.prepare(adamw(model, recipe))
    variant = VariantFolder(Path(folder)) if folder is not None else None
    found = load_checkpoint(variant, model.adapter, optimizer) if variant and resume else None
    progress, best = found or (Progress(), {})
    _whiten(model, images, questions)
    written = variant if accelerator.is_main_process else None

    def save() -> None:
        if written:
            log.sync()
            save_checkpoint(written, model.adapter, optimizer, progress, best)

    choices = bool(recipe.choice_loss)
    lengths = [scored_length(question) if choices else len(question.read_tokens) for question in questions]
    stored = _stored_activations(model, recipe, questions, choices=choices, quiet=quiet)
    train_set = TrainingSet(questions, lengths, images, stored)
    val_stored = _stored_activations(model, recipe, val_questions, choices=True, quiet=quiet)

    epoch_steps = math.ceil(len(questions) / recipe.batch_size)
    total = recipe.epochs * epoch_steps
    paced, started, stop = PacedSaver(save), time.monotonic(), False
    title = "training text-only" if model.adapter.text_only else "training multimodal"
    with (
        tracker(track, written, progress.step) as tracked,
        _stop_signal() as stopped,
        progress_bar(title, total, quiet=quiet) as update,
    ):
        log = TrainingLog(written, progress.step, progress.epoch, tracked)
        update(progress.step)
        while progress.epoch < recipe.epochs:
            for batch in epoch_batches(lengths, recipe.batch_size, recipe.seed, progress.epoch)[progress.batch :]:
                if stop:
                    paced.now()
                    raise Interrupted
                loss, tokens, stop = backward(model, train_set, batch, recipe, accelerator, stopped)
                rate = learning_rate(progress.step, total, recipe.warmup_epochs * epoch_steps, recipe.learning_rate)
                norm = update_weights(model, optimizer, rate, accelerator)
                progress.advance(loss, tokens)
                log.step(progress.step, loss=loss, learning_rate=rate, gradient_norm=norm)
                update(progress.step, f"loss {loss:.3f}")
                paced()
            update(progress.step, "validating")
            validated = validate(model, images, val_questions, val_stored)
            log.epoch(_record(progress, *validated, seconds=time.monotonic() - started))
            if progress.end_epoch(*validated):
                best = {name: tensor.detach().cpu().clone() for name, tensor in model.adapter.state_dict().items()}
            update(progress.step, f"loss {log.epochs[-1].train_loss:.3f}")
            paced.now()
            if stop:
                raise Interrupted
    model.adapter.load_state_dict(best)
    if written:
        model.save_pretrained(written.path)
    return log.epochs


def _stored_activations(
    model: MultimodalAdapter, recipe: Recipe, questions: Sequence[Encoded], *, choices: bool, quiet: bool
) -> Activations | None:
    if not (recipe.store_activations and model.first_adapted > 0 and questions):
        return None
    rows = {question.pid: trained_row(question, choices=choices) for question in questions}
    return stored_activations(model, rows, quiet=quiet)


def _record(progress: Progress, val_loss: float | None, val_accuracy: float | None, *, seconds: float) -> EpochRecord:
    return EpochRecord(
        epoch=progress.epoch + 1,
        step=progress.step,
        train_loss=progress.loss_sum / progress.tokens,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        seconds=round(seconds, 1),
    )


def _whiten(model: MultimodalAdapter, images: QuestionImages | None, questions: Sequence[Encoded]) -> None:
    """Fit the projection to the training images once; all processes take the first one's axes."""
    projection = model.adapter.projection
    if images is None or projection is None or not projection.unfitted:
        return
    features, has_image = images.of([question.pid for question in questions])
    if has_image.any():
        projection.whiten(*from_first(lambda: projection.whitening(features[has_image])))


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C or SIGTERM wait for the end of a step, not a second one. Yields whether one came."""
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
