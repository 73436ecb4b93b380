"""Lay out a question for one forward, and batch questions of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmadapter.inference.tokenising import Encoded


def pad_tokens(rows: Sequence[Sequence[int]]) -> Int[Tensor, "B T"]:
    """Stack rows of different lengths, padded on the right."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


SCORING_TOKENS = 2048
"""Padded tokens of a batch without gradients; more leave a processor's cache."""

PADDING = 0.1
"""Largest share of padding in a row."""


@dataclass(frozen=True)
class Row:
    """A question laid out for one forward."""

    tokens: list[int]
    positions: list[int]
    branch: list[int]
    """0 for the part that all answers share, 1 + answer for a branch."""
    reads: list[tuple[int, int, int]]
    """(answer, column that predicts it, token) of every scored token."""


def _laid_out(prompt: list[int], answers: Sequence[list[int]], *, whole: bool) -> Row:
    shared = common_prefix(answers)
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


def scored_row(question: Encoded) -> Row:
    """Lay out a question to be answered."""
    return _laid_out(question.prompt, question.options, whole=False)


def trained_row(question: Encoded, *, choices: bool) -> Row:
    """Lay out a question for training: with its right answer or, with `choices`, with all options, as in validation."""
    return _laid_out(question.prompt, compared_answers(question) if choices else [question.target], whole=True)


def compared_answers(question: Encoded) -> list[list[int]]:
    """The options, and the target if it is none of them: letters are compared without their end."""
    return question.options if question.target in question.options else [*question.options, question.target]


def row_inputs(rows: Sequence[Row], device: torch.device) -> tuple[Int[Tensor, "B T"], dict[str, Tensor]]:
    """Build the decoder's inputs for rows in one forward: tokens, and positions and mask where rows branch."""
    tokens = pad_tokens([row.tokens for row in rows]).to(device)
    if not any(branch for row in rows for branch in row.branch):
        return tokens, {}
    positions = pad_tokens([row.positions for row in rows]).to(device)
    branch = pad_tokens([row.branch for row in rows]).to(device)
    return tokens, {"position_ids": positions, "attention_mask": _tree_mask(branch)}


def _tree_mask(branch: Tensor) -> Bool[Tensor, "B 1 T T"]:
    """Which token sees which: earlier ones of the shared part or of its own branch."""
    steps = torch.arange(branch.shape[1], device=branch.device)
    causal = steps[:, None] >= steps[None, :]
    visible = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    return (causal & visible)[:, None]


def common_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """The common beginning of all options; never a whole option, so that each keeps a token of its own."""
    prefix = []
    for tokens in zip(*(sequence[:-1] for sequence in sequences), strict=False):
        if len(set(tokens)) > 1:
            break
        prefix.append(tokens[0])
    return prefix


def length_batches(questions: Sequence[Encoded], max_tokens: int = SCORING_TOKENS) -> list[list[int]]:
    """Batch questions for scoring, by index."""
    return similar_lengths([scored_length(question) for question in questions], max_tokens)


def similar_lengths(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Batch rows of similar length, longest first: at most `max_tokens` padded tokens a batch (or a single row), and no
    row more than `PADDING` shorter than the longest."""
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
    """Tokens of a question with all its options, the shared ones counted once."""
    shared = len(common_prefix(question.options))
    return len(question.prompt) + shared + sum(len(option) - shared - 1 for option in question.options)
