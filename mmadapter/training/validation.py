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
    """Return loss (nats an answer token) and likelihood accuracy (percent) over all processes, which share the work.

    Both are None without questions. Accuracy is None too if no question has two options, as with instructions.
    """
    state = PartialState()
    if not questions:
        return None, None
    loss, correct = 0.0, 0
    for indices, counts in in_step(length_batches(questions)):
        batch = [questions[index] for index in indices]
        hidden = stored.of(batch) if stored else None
        scored = target_and_option_log_likelihoods(model, adaption_of(model, images, batch), batch, hidden)
        for question, (target, options) in zip(batch, scored, strict=True) if counts else ():
            loss -= float(target)
            correct += int(options.argmax()) == question.answer
    if state.num_processes > 1:
        loss, correct = reduce(torch.tensor([loss, correct], device=state.device), "sum").tolist()
    loss /= sum(len(question.target) for question in questions)
    chosen = any(len(question.options) > 1 for question in questions)
    return loss, 100 * correct / len(questions) if chosen else None
