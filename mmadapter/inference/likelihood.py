"""Likelihoods of answers, all options of a question in one forward, and the losses made of them.

Axes: B batch, T tokens, C hidden size.

A question is one row. Tokens that its options share follow the prompt once; where they part, each option's tokens are a
branch that sees the prompt and itself, at positions that count on from the shared part:

    Answer: The answer is (    | letters part here: one position is read, and no branch token is computed
    Answer: | a blue | a green | option texts: the tokens of each branch are summed

Letters end where they differ, so their branches are empty. Option texts are compared over all their tokens, the
end-of-text token included.

Every function takes `hidden`, the hidden states that enter the first adapted layer, if they are stored (`activations`).
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
from mmadapter.scienceqa.problems import Problem


def adaption_of(
    model: MultimodalAdapter, images: QuestionImages | None, batch: Sequence[Encoded | Problem]
) -> Adaption:
    """Return the adapter's prompts, gates and, unless it is text-only, the image token of each question."""
    if model.adapter.text_only:
        return model.adapter()
    assert images is not None, "a multimodal adapter needs its images' features"
    features, has_image = images.of([question.pid for question in batch])
    device = model.llm.model.device
    return model.adapter(features.to(device), has_image.to(device))


def answer_loss(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], hidden: Float[Tensor, "B T C"] | None = None
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the targets' tokens, in nats, summed over a batch.

    The head computes logits for these tokens alone.
    """
    device = model.llm.model.device
    row = [index for index, question in enumerate(batch) for _ in question.target]
    column = [len(question.prompt) - 1 + offset for question in batch for offset in range(len(question.target))]
    read = torch.tensor(row, device=device), torch.tensor(column, device=device)
    target = torch.tensor([token for question in batch for token in question.target], device=device)
    tokens = pad_tokens([question.read_tokens for question in batch]).to(device)
    logits = model.logits(adaption, tokens, read, below=None if hidden is None else hidden.to(device))
    return cross_entropy(logits, target, reduction="sum")


@torch.no_grad()
def option_log_likelihoods(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], hidden: Float[Tensor, "B T C"] | None = None
) -> list[Float[Tensor, " options"]]:
    """Return the log-likelihood of each question's options, in nats, without the tokens that all of them share.

    Args:
        hidden: of the questions' `scored_row`s.
    """
    return _log_likelihoods(model, adaption, [scored_row(question) for question in batch], hidden)


def target_and_option_log_likelihoods(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], hidden: Float[Tensor, "B T C"] | None = None
) -> list[tuple[Float[Tensor, ""], Float[Tensor, " options"]]]:
    """Return the log-likelihoods, in nats, of each question's target and of its options, over all their tokens.

    Args:
        hidden: of the questions' `trained_row`s with `choices`.
    """
    scores = _log_likelihoods(model, adaption, [trained_row(question, choices=True) for question in batch], hidden)
    return [
        (answers[compared_answers(question).index(question.target)], answers[: len(question.options)])
        for question, answers in zip(batch, scores, strict=True)
    ]


def answer_and_choice_loss(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], hidden: Float[Tensor, "B T C"] | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return `answer_loss`, and the cross-entropy of the right option among its question's options by their
    log-likelihoods, both in nats and summed over a batch.

    Args:
        hidden: of the questions' `trained_row`s with `choices`.
    """
    scored = target_and_option_log_likelihoods(model, adaption, batch, hidden)
    answer = -torch.stack([target for target, _ in scored]).sum()
    choices = [options.log_softmax(-1)[q.answer] for q, (_, options) in zip(batch, scored, strict=True)]
    return answer, -torch.stack(choices).sum()


def _log_likelihoods(
    model: MultimodalAdapter, adaption: Adaption, rows: Sequence[Row], hidden: Tensor | None
) -> list[Float[Tensor, " answers"]]:
    """Return the log-likelihood of each row's answers, in float64."""
    device = model.llm.model.device
    cells = sorted({(index, column) for index, row in enumerate(rows) for _, column, _ in row.reads})
    read = tuple(torch.tensor(part, device=device) for part in zip(*cells, strict=True))
    tokens, inputs = row_inputs(rows, device)
    logits = model.logits(adaption, tokens, read, below=None if hidden is None else hidden.to(device), **inputs)
    place = {cell: index for index, cell in enumerate(cells)}
    reads = [(place[index, column], token) for index, row in enumerate(rows) for _, column, token in row.reads]
    cell, token = torch.tensor(reads, device=device).T
    found = logits.log_softmax(dim=-1)[cell, token].cpu().double()
    sizes = [1 + max(answer for answer, _, _ in row.reads) for row in rows]
    starts = [0, *accumulate(sizes)]
    answers = [start + answer for start, row in zip(starts, rows, strict=False) for answer, _, _ in row.reads]
    scores = torch.zeros(starts[-1], dtype=torch.float64).index_add(0, torch.tensor(answers), found)
    return list(scores.split(sizes))
