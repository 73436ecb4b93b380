"""Loss and accuracy on the validation split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from accelerate import PartialState
from accelerate.utils import reduce

from mmadapter.inference.activations import Activations
from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.likelihood import adaption_of, target_and_option_log_likelihoods
from mmadapter.inference.rows import length_batches
from mmadapter.inference.tokenising import Encoded
from mmadapter.model import MultimodalAdapter
from mmadapter.storage.processes import in_step


@torch.no_grad()
def validate(
    model: MultimodalAdapter,
    images: QuestionImages | None,
    questions: Sequence[Encoded],
    stored: Activations | None = None,
) -> tuple[float | None, float | None]:
    """Compute loss (nats an answer token) and likelihood accuracy (percent); None without questions.

    Instructions have no accuracy: their questions have one option. Processes share the questions, and each returns the
    result of all.
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
