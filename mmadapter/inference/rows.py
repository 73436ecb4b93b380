"""Questions laid out as rows of a forward, and rows of similar length gathered in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmadapter.inference.tokenising import Encoded

SCORING_TOKENS = 2048
"""Padded tokens of a batch without gradients: more no longer fit into a processor's cache."""

PADDING = 0.1
"""Largest share of padding in a row of a batch."""


@dataclass(frozen=True)
class Row:
    """One question with the answers to be scored, laid out for one forward."""

    tokens: list[int]
    positions: list[int]
    branch: list[int]
    """The branch of each token: 0 if all answers share it, else 1 + the index of its answer."""
    reads: list[tuple[int, int, int]]
    """(answer, column, token) of each scored token; the logits at the column predict it."""


def scored_row(question: Encoded) -> Row:
    """Lay out a question for answering; only tokens that its options do not share are scored."""
    return _laid_out(question.prompt, question.options, whole=False)


def trained_row(question: Encoded, *, choices: bool) -> Row:
    """Lay out a question for training: with its target, or with `choices` (as in validation) all `compared_answers`.

    All tokens of an answer are scored.
    """
    return _laid_out(question.prompt, compared_answers(question) if choices else [question.target], whole=True)


def compared_answers(question: Encoded) -> list[list[int]]:
    """Return the options, and the target if it is none of them: options that are letters have no end token."""
    return question.options if question.target in question.options else [*question.options, question.target]


def _laid_out(prompt: list[int], answers: Sequence[list[int]], *, whole: bool) -> Row:
    shared = common_prefix(answers)
    start = len(prompt) + len(shared)
    row = Row(prompt + shared, list(range(start)), [0] * start, [])
    for index, tokens in enumerate(answers):
        first = answers.index(tokens)
        if first < index:  # equal answers are one branch: equally likely, and scoring chooses the first
            row.reads.extend([(index, column, token) for answer, column, token in row.reads if answer == first])
            continue
        scored = tokens[len(shared) :]
        columns = [start - 1, *range(len(row.tokens), len(row.tokens) + len(scored) - 1)]
        if whole:
            columns, scored = [*range(len(prompt) - 1, start - 1), *columns], tokens
        row.reads.extend(zip([index] * len(scored), columns, scored, strict=True))
        branch = tokens[len(shared) : -1]
        row.tokens.extend(branch)
        row.positions.extend(range(start, start + len(branch)))
        row.branch.extend([index + 1] * len(branch))
    return row


def common_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Return the tokens that all sequences start with; never a whole sequence, so that each has a token to score."""
    prefix = []
    for tokens in zip(*(sequence[:-1] for sequence in sequences), strict=False):
        if len(set(tokens)) > 1:
            break
        prefix.append(tokens[0])
    return prefix


def row_inputs(rows: Sequence[Row], device: torch.device) -> tuple[Int[Tensor, "B T"], dict[str, Tensor]]:
    """Return the tokens of rows in one forward, and the decoder's other inputs if any row branches."""
    tokens = pad_tokens([row.tokens for row in rows]).to(device)
    if not any(branch for row in rows for branch in row.branch):
        return tokens, {}
    positions = pad_tokens([row.positions for row in rows]).to(device)
    branch = pad_tokens([row.branch for row in rows]).to(device)
    return tokens, {"position_ids": positions, "attention_mask": _tree_mask(branch)}


def _tree_mask(branch: Tensor) -> Bool[Tensor, "B 1 T T"]:
    """Let each token see the earlier ones that all answers share and those of its own branch."""
    steps = torch.arange(branch.shape[1], device=branch.device)
    causal = steps[:, None] >= steps[None, :]
    visible = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    return (causal & visible)[:, None]


def pad_tokens(rows: Sequence[Sequence[int]]) -> Int[Tensor, "B T"]:
    """Return rows of different lengths as one tensor, padded on the right, where no token of a row sees it."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def length_batches(questions: Sequence[Encoded], max_tokens: int = SCORING_TOKENS) -> list[list[int]]:
    """Return the indices of questions in batches for scoring."""
    return similar_lengths([scored_length(question) for question in questions], max_tokens)


def scored_length(question: Encoded) -> int:
    """Return the tokens of a question with all its options; those that they share count once."""
    shared = len(common_prefix(question.options))
    return len(question.prompt) + shared + sum(len(option) - shared - 1 for option in question.options)


def similar_lengths(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Return the indices of rows in batches of similar length, longest first.

    A batch has at most `max_tokens` padded tokens or a single row, and no row with more than `PADDING`.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        longest = lengths[batches[-1][0]] if batches else 0
        fits = batches and (len(batches[-1]) + 1) * longest <= max_tokens
        if fits and lengths[index] >= (1 - PADDING) * longest:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
