"""From tokens to answers: the likelihood of every option in one forward a question.

Axes: B batch, T tokens, R positions read, F features, V vocabulary.

A question is one row. What its options share follows the prompt once; where they part, each option's own tokens
are a branch that sees the prompt and itself, at positions that count on from the shared part:

    Answer: The answer is (    | letters part here: one position is read, and no branch token is computed
    Answer: | a blue | a green | option texts: the tokens of each branch are summed

Letters end where they differ, so their branches are empty; option texts are compared over all their tokens, the
end-of-text token included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from mmadapter.adapter.adapter import Adaption
from mmadapter.encoding import Encoded
from mmadapter.features import QuestionImages
from mmadapter.model import MultimodalAdapter


def adaption_of(model: MultimodalAdapter, images: QuestionImages | None, batch: Sequence[Encoded]) -> Adaption:
    """The adapter's prompts, gates and, for a multimodal one, the image token of each question of a batch."""
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
    """Summed cross-entropy, in nats, of the answer tokens of a batch; nothing else is computed at the head.

    Args:
        below: what enters the first adapted layer, where it is at hand.
    """
    device = model.llm.model.device
    row = [index for index, question in enumerate(batch) for _ in question.target]
    column = [len(question.prompt) - 1 + offset for question in batch for offset in range(len(question.target))]
    read = torch.tensor(row, device=device), torch.tensor(column, device=device)
    target = torch.tensor([token for question in batch for token in question.target], device=device)
    tokens = pad_tokens([question.read_tokens for question in batch]).to(device)
    logits = model.logits(adaption, tokens, read, below=None if below is None else below.to(device))
    return cross_entropy(logits, target, reduction="sum")


def pad_tokens(rows: Sequence[Sequence[int]]) -> Int[Tensor, "B T"]:
    """Rows of different lengths as one tensor, padded on the right with what no row sees."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


SCORING_TOKENS = 2048
"""Padded tokens of a batch without gradients: more of them no longer fit into a processor's cache."""

PADDING = 0.1
"""Share of a row that may be padding."""


@dataclass(frozen=True)
class Row:
    """One question laid out for one forward."""

    tokens: list[int]
    positions: list[int]
    branch: list[int]
    """0 for what all answers share, then 1 + answer."""
    reads: list[tuple[int, int, int]]
    """(answer, column whose next token it is, token) of every token that is scored."""


def _layout(prompt: list[int], answers: Sequence[list[int]], *, whole: bool) -> Row:
    shared = _common_prefix(answers)
    start = len(prompt) + len(shared)
    row = Row(prompt + shared, list(range(start)), [0] * start, [])
    for index, tokens in enumerate(answers):
        first = answers.index(tokens)
        if first < index:  # equal answers are one branch: exactly as likely, and the first of them is chosen
            row.reads.extend([(index, column, token) for answer, column, token in row.reads if answer == first])
            continue
        branch = tokens[len(shared) :]
        columns = [start - 1, *range(len(row.tokens), len(row.tokens) + len(branch) - 1)]
        if whole:
            columns, branch = [*range(len(prompt) - 1, start - 1), *columns], tokens
        row.reads.extend(zip([index] * len(branch), columns, branch, strict=True))
        own = tokens[len(shared) : -1]
        row.tokens.extend(own)
        row.positions.extend(range(start, start + len(own)))
        row.branch.extend([index + 1] * len(own))
    return row


def option_log_likelihoods(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], below: Float[Tensor, "B T C"] | None = None
) -> list[Float[Tensor, " options"]]:
    """Log-likelihood of each option of each question, exact over all its tokens that others do not share.

    Args:
        below: what enters the first adapted layer of each `scored_row`, where it is at hand.
    """
    with torch.no_grad():
        return _log_likelihoods(model, adaption, [scored_row(question) for question in batch], below)


def target_and_option_log_likelihoods(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], below: Float[Tensor, "B T C"] | None = None
) -> list[tuple[float, Float[Tensor, " options"]]]:
    """Of each question the whole target's log-likelihood, in nats, and its options': a validation in one forward.

    Args:
        below: what enters the first adapted layer of each `trained_row`, where it is at hand.
    """
    with torch.no_grad():
        return [(float(target), options) for target, options in _target_and_options(model, adaption, batch, below)]


def answer_and_choice_loss(
    model: MultimodalAdapter,
    adaption: Adaption,
    batch: Sequence[Encoded],
    below: Float[Tensor, "B T C"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Two losses of one forward, in nats and summed over a batch: `answer_loss`, and the cross-entropy of the right
    option among a question's options by their log-likelihoods, which is what scoring compares.

    Args:
        below: what enters the first adapted layer of each `trained_row`, where it is at hand.
    """
    scored = _target_and_options(model, adaption, batch, below)
    answer = -torch.stack([target for target, _ in scored]).sum()
    choices = [options.log_softmax(-1)[q.answer] for q, (_, options) in zip(batch, scored, strict=True)]
    return answer, -torch.stack(choices).sum()


def scored_row(question: Encoded) -> Row:
    """What the model reads of a question to answer it."""
    return _layout(question.prompt, question.options, whole=False)


def trained_row(question: Encoded, *, choices: bool) -> Row:
    """What the model reads of a question in training: its right answer, or with `choices` all that it compares, as in
    validation."""
    return _layout(question.prompt, _compared(question) if choices else [question.target], whole=True)


def _compared(question: Encoded) -> list[list[int]]:
    """The options, and the target where it is none of them: letters are compared without their end."""
    return question.options if question.target in question.options else [*question.options, question.target]


def _target_and_options(
    model: MultimodalAdapter, adaption: Adaption, batch: Sequence[Encoded], below: Tensor | None = None
) -> list[tuple[Float[Tensor, ""], Float[Tensor, " options"]]]:
    rows = [trained_row(question, choices=True) for question in batch]
    return [
        (scores[_compared(question).index(question.target)], scores[: len(question.options)])
        for question, scores in zip(batch, _log_likelihoods(model, adaption, rows, below), strict=True)
    ]


def row_inputs(rows: Sequence[Row], device: torch.device) -> tuple[Int[Tensor, "B T"], dict[str, Tensor]]:
    """What the decoder takes to read these rows in one forward: tokens, and its other inputs where rows branch."""
    tokens = pad_tokens([row.tokens for row in rows]).to(device)
    if not any(branch for row in rows for branch in row.branch):
        return tokens, {}
    positions = pad_tokens([row.positions for row in rows]).to(device)
    branch = pad_tokens([row.branch for row in rows]).to(device)
    return tokens, {"position_ids": positions, "attention_mask": _tree_mask(branch)}


def _log_likelihoods(
    model: MultimodalAdapter, adaption: Adaption, rows: Sequence[Row], below: Tensor | None = None
) -> list[Float[Tensor, " answers"]]:
    """Of each row's answers, in float64."""
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


def _tree_mask(branch: Tensor) -> Bool[Tensor, "B 1 T T"]:
    """Which token sees which: earlier ones, of the shared part or of its own branch."""
    steps = torch.arange(branch.shape[1], device=branch.device)
    causal = steps[:, None] >= steps[None, :]
    visible = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    return (causal & visible)[:, None]


def _common_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """What all options start with; never a whole option, so that each has a token to be told by."""
    prefix = []
    for tokens in zip(*(sequence[:-1] for sequence in sequences), strict=False):
        if len(set(tokens)) > 1:
            break
        prefix.append(tokens[0])
    return prefix


def length_batches(questions: Sequence[Encoded], max_tokens: int = SCORING_TOKENS) -> list[list[int]]:
    """Indices of questions in batches for scoring."""
    return similar_lengths([scored_length(question) for question in questions], max_tokens)


def similar_lengths(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices of rows in batches of similar length, longest first: at most `max_tokens` padded tokens a batch (or a
    single row), and no row more than `PADDING` shorter than the longest."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        longest = lengths[batches[-1][0]] if batches else 0
        fits = batches and (len(batches[-1]) + 1) * longest <= max_tokens
        if fits and lengths[index] >= (1 - PADDING) * longest:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def scored_length(question: Encoded) -> int:
    """Tokens of a question with all its options, what they share once."""
    shared = len(_common_prefix(question.options))
    return len(question.prompt) + shared + sum(len(option) - shared - 1 for option in question.options)
