"""Compute the likelihood of every option of a question in one forward.

Axes: B batch, T tokens, R positions read, F features, V vocabulary.

A question is one row. The common beginning of its options follows the prompt once. Where the options part, each has a
branch of its own tokens, which sees the prompt and itself, at positions that continue the shared part:

    Answer: The answer is (    | letters part here: one position is read, and no branch token is computed
    Answer: | a blue | a green | option texts: the tokens of each branch are summed

Letters end where they differ, so their branches are empty; option texts are compared over all their tokens, the
end-of-text token included.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmadapter.adapter.parameters import Adaption
from mmadapter.inference.image_features import QuestionImages
from mmadapter.inference.rows import Row, compared_answers, pad_tokens, row_inputs, scored_row, trained_row
from mmadapter.inference.tokenising import Encoded
from mmadapter.model import MultimodalAdapter


def adaption_of(model: MultimodalAdapter, images: QuestionImages | None, batch: Sequence[Encoded]) -> Adaption:
    """Compute prompts, gates and, for a multimodal adapter, the image tokens of a batch of questions."""
    if model.adapter.text_only:
        return model.adapter()
    assert images is not None, "a multimodal adapter needs its images' features"
    features, has_image = images.of([question.pid for question in batch])
    device = model.llm.model.device
    return model.adapter(features.to(device), has_image.to(device))


def answer_loss(
    model: MultimodalAdapter,
    adaption: Adaption,
    batch: Sequence[Encoded],
    below: Float[Tensor, "B T C"] | None = None,
) -> Float[Tensor, ""]:
    """Sum the cross-entropy of a batch's answer tokens, in nats; the head computes nothing else.

    Args:
        below: input of the first adapted layer, if available.
    """
    device = model.llm.model.device
    row = [index for index, question in enumerate(batch) for _ in question.target]
    column = [len(question.prompt) - 1 + offset for question in batch for offset in range(len(question.target))]
    read = torch.tensor(row, device=device), torch.tensor(column, device=device)
    target = torch.tensor([token for question in batch for token in question.target], device=device)
    tokens = pad_tokens([question.read_tokens for question in batch]).to(device)
    logits = model.logits(adaption, tokens, read, below=None if below is None else below.to(device))
    return cross_entropy(logits, target, reduction="sum")


def option_log_likelihoods(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], below: Float[Tensor, "B T C"] | None = None
) -> list[Float[Tensor, " options"]]:
    """Compute the log-likelihood of each option of each question, exact up to the tokens that all options share.

    Args:
        below: input of the first adapted layer of each `scored_row`, if available.
    """
    with torch.no_grad():
        return _log_likelihoods(model, adaption, [scored_row(question) for question in batch], below)


def target_and_option_log_likelihoods(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], below: Float[Tensor, "B T C"] | None = None
) -> list[tuple[float, Float[Tensor, " options"]]]:
    """Compute each target's log-likelihood, in nats, and its options', in one forward.

    Args:
        below: input of the first adapted layer of each `trained_row`, if available.
    """
    with torch.no_grad():
        return [(float(target), options) for target, options in _target_and_options(model, adaption, batch, below)]


def answer_and_choice_loss(
    model: MultimodalAdapter,
    adaption: Adaption,
    batch: Sequence[Encoded],
    below: Float[Tensor, "B T C"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Compute two losses in one forward, in nats and summed over a batch: `answer_loss`, and the cross-entropy of the
    right option among all options by their log-likelihoods, by which scoring chooses.

    Args:
        below: input of the first adapted layer of each `trained_row`, if available.
    """
    scored = _target_and_options(model, adaption, batch, below)
    answer = -torch.stack([target for target, _ in scored]).sum()
    choices = [options.log_softmax(-1)[q.answer] for q, (_, options) in zip(batch, scored, strict=True)]
    return answer, -torch.stack(choices).sum()


def _target_and_options(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], below: Tensor | None = None
) -> list[tuple[Float[Tensor, ""], Float[Tensor, " options"]]]:
    rows = [trained_row(question, choices=True) for question in batch]
    return [
        (scores[compared_answers(question).index(question.target)], scores[: len(question.options)])
        for question, scores in zip(batch, _log_likelihoods(model, adaption, rows, below), strict=True)
    ]


def _log_likelihoods(
    model: MultimodalAdapter, adaption: Adaption, rows: Sequence[Row], below: Tensor | None = None
) -> list[Float[Tensor, " answers"]]:
    """Log-likelihoods of each row's answers, in float64."""
    device = model.llm.model.device
    cells = sorted({(index, column) for index, row in enumerate(rows) for _, column, _ in row.reads})
    read = tuple(torch.tensor(part, device=device) for part in zip(*cells, strict=True))
    tokens, inputs = row_inputs(rows, device)
    logits = model.logits(adaption, tokens, read, below=None if below is None else below.to(device), **inputs)
    where = {cell: index for index, cell in enumerate(cells)}
    reads = [(where[index, column], token) for index, row in enumerate(rows) for _, column, token in row.reads]
    cell, token = torch.tensor(reads, device=device).T
    found = logits.log_softmax(dim=-1)[cell, token].cpu().double()
    sizes = [1 + max(answer for answer, _, _ in row.reads) for row in rows]
    starts = [0, *accumulate(sizes)]
    answers = [starts[index] + answer for index, row in enumerate(rows) for answer, _, _ in row.reads]
    scores = torch.zeros(starts[-1], dtype=torch.float64).index_add(0, torch.tensor(answers), found)
    return list(scores.split(sizes))
