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
from accelerate import Accelerator, PartialState
from accelerate.utils import reduce
from jaxtyping import Float
from torch import Tensor, nn

from mmadapter.activations import Activations, stored_activations
from mmadapter.config import Recipe
from mmadapter.encoding import Encoded, Encoder
from mmadapter.errors import UserError
from mmadapter.features import QuestionImages, question_images
from mmadapter.files import Paced
from mmadapter.model import MultimodalAdapter
from mmadapter.processes import in_step, of_first
from mmadapter.progress import progress_bar
from mmadapter.scienceqa.problems import Dataset
from mmadapter.scoring import (
    adaption_of,
    answer_and_choice_loss,
    answer_loss,
    length_batches,
    scored_length,
    target_and_option_log_likelihoods,
    trained_row,
)
from mmadapter.training.batches import epoch_batches, forward_parts
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

    At equal accuracy, and for instructions, which have none, the lower loss is the better; without val problems the
    last epoch is taken. The order of the problems depends on the recipe's seed and their lengths alone: both variants
    see the same batches.

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
        torch.optim.AdamW(_parameter_groups(model, recipe), betas=BETAS, weight_decay=recipe.weight_decay)
    )
    progress = Progress()
    best: dict[str, Tensor] = {}
    folder = Path(folder) if folder is not None else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if resume and (found := load_checkpoint(folder, model.adapter, optimizer)):
            progress, best = found
    _whiten(model, images, train_set)
    writer = accelerator.is_main_process
    log = TrainingLog(folder if writer else None, progress.step, progress.epoch, tensorboard=tensorboard)

    def save() -> None:
        if folder is not None and writer:
            log.sync()
            save_checkpoint(folder, model.adapter, optimizer, progress, best)

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
    paced, started, stop = Paced(save), time.monotonic(), False
    label = "text-only" if model.adapter.text_only else "multimodal"
    with _stop_signal() as stopped, progress_bar(f"training {label}", total, quiet=quiet) as update:
        while progress.epoch < recipe.epochs:
            for batch in epoch_batches(lengths, recipe.batch_size, recipe.seed, progress.epoch)[progress.batch :]:
                if stop:
                    paced.now()
                    raise Interrupted
                parts = [
                    ([train_set[index] for index in part], counts)
                    for part, counts in _parts_in_step(batch, lengths, recipe.forward_tokens, accelerator)
                ]
                tokens = sum(len(train_set[index].target) for index in batch)
                loss = _backward(model, images, stored, parts, (tokens, len(batch)), recipe.choice_loss, accelerator)
                loss, stop = _summed_over_processes(weights, loss, stopped(), accelerator)
                if not math.isfinite(loss):
                    raise UserError(
                        "the training loss is no longer finite: lower --learning-rate, or use --dtype float32"
                    )
                norm = float(accelerator.clip_grad_norm_(weights, recipe.clip_norm))
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
    if folder is not None and writer:
        model.save_pretrained(folder)
    return log.epochs


def _whiten(model: MultimodalAdapter, images: QuestionImages | None, train_set: Sequence[Encoded]) -> None:
    """Fit the projection to the training images, once; all processes take the first one's axes."""
    projection = model.adapter.projection
    if images is None or projection is None or not projection.unfitted:
        return
    features, has_image = images.of([question.pid for question in train_set])
    if has_image.any():
        projection.whiten(*of_first(lambda: projection.whitening(features[has_image])))


def _parameter_groups(model: MultimodalAdapter, recipe: Recipe) -> list[dict]:
    """Prompts and gates at the learning rate, the projection at its share of it."""
    weights = dict(model.adapter.named_parameters())
    projection = [weights.pop(name) for name in list(weights) if name.startswith("projection.")]
    groups = [(list(weights.values()), 1.0), (projection, recipe.projection_rate)]
    return [{"params": params, "share": share} for params, share in groups if params]


def _parts_in_step(
    batch: Sequence[int], lengths: Sequence[int], max_tokens: int, accelerator: Accelerator
) -> list[tuple[list[int], bool]]:
    """This process' forwards of a batch, and whether each counts: all processes have equally many (`processes`)."""
    everyone = range(accelerator.num_processes)
    parts = [forward_parts(batch, lengths, max_tokens, (process, len(everyone))) for process in everyone]
    own, idle = parts[accelerator.process_index], [min(batch, key=lengths.__getitem__)]
    return [(part, True) for part in own] + [(idle, False)] * (max(map(len, parts)) - len(own))


def _backward(
    model: MultimodalAdapter,
    images: QuestionImages | None,
    stored: Activations | None,
    parts: Sequence[tuple[Sequence[Encoded], bool]],
    sizes: tuple[int, int],
    choice_loss: float,
    accelerator: Accelerator,
) -> Float[Tensor, ""]:
    """Adds up the gradient of one process' parts of a batch. Returns their loss.

    Both are divided by what the whole batch has: summed over parts and processes they are the batch's.

    Args:
        sizes: answer tokens and questions of the whole batch.
        parts: and whether each counts; to the loss and the gradient of one that does not, 0 is added.
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


def _summed_over_processes(
    weights: Sequence[nn.Parameter], loss: Float[Tensor, ""], stop: bool, accelerator: Accelerator
) -> tuple[float, bool]:
    """Sums the gradients and the loss, and lets all stop if one shall: all of it in one exchange."""
    if accelerator.num_processes > 1:
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        told = torch.stack([loss, loss.new_tensor(float(stop))])
        flat = accelerator.reduce(torch.cat([part.flatten() for part in (*gradients, told)]), "sum")
        for weight, gradient in zip(weights, flat[:-2].split([w.numel() for w in weights]), strict=True):
            weight.grad = gradient.view_as(weight)
        loss, stop = flat[-2], bool(flat[-1] > 0)
    return loss.item(), stop


def learning_rate(step: int, total: int, warmup: float, peak: float) -> float:
    """Of step `step` (from 0) of `total`: linear from 0 over `warmup` steps, then a half cosine to 0."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))


@torch.no_grad()
def validate(
    model: MultimodalAdapter,
    images: QuestionImages | None,
    questions: Sequence[Encoded],
    stored: Activations | None = None,
) -> tuple[float | None, float | None]:
    """Loss (nats an answer token) and likelihood accuracy (percent); None for no questions.

    Nor is there an accuracy where no question has two options, as instructions have.

    Processes share the questions, and each returns what all have found.
    """
    state = PartialState()
    if not questions:
        return None, None
    loss, correct = 0.0, 0
    for indices, counts in in_step(length_batches(questions)):
        batch = [questions[index] for index in indices]
        below = stored.of(batch) if stored is not None else None
        scored = target_and_option_log_likelihoods(model, adaption_of(model, images, batch), batch, below)
        for question, (target, options) in zip(batch, scored, strict=True) if counts else ():
            loss -= target
            correct += int(options.argmax()) == question.answer
    if state.num_processes > 1:
        loss, correct = reduce(torch.tensor([loss, correct], device=state.device), "sum").tolist()
    loss /= sum(len(question.target) for question in questions)
    chosen = any(len(question.options) > 1 for question in questions)
    return loss, 100 * correct / len(questions) if chosen else None


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM wait for the end of a step; a second one does not. Yields whether one came."""
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
