"""Batch the training problems, the same way for every variant, resume and machine under one seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmadapter.inference.rows import similar_lengths

BUCKET = 32
"""Batches among which problems are sorted by length: less padding, still a random order."""


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Partition the problems at random into batches of similar length.

    Args:
        lengths: tokens of each problem.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(order), BUCKET * batch_size):
        bucket = sorted(order[start : start + BUCKET * batch_size].tolist(), key=lambda index: lengths[index])
        batches.extend(bucket[at : at + batch_size] for at in range(0, len(bucket), batch_size))
    return [batches[index] for index in random.permutation(len(batches))]


def forward_parts(
    batch: Sequence[int], lengths: Sequence[int], max_tokens: int, share: tuple[int, int]
) -> list[list[int]]:
    """Cut one process' part of a batch into forwards of similar length and at most `max_tokens` padded tokens.

    Args:
        lengths: tokens of each problem.
        share: (process, processes). In order of length, a process takes every `processes`-th problem.
    """
    process, processes = share
    own = sorted(batch, key=lambda index: lengths[index], reverse=True)[process::processes]
    return [[own[at] for at in part] for part in similar_lengths([lengths[index] for index in own], max_tokens)]
