"""Batches of an epoch, and each process' forwards of a batch: decided by lengths and seed alone, not by variant, resume
or machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmadapter.inference.rows import similar_lengths

BUCKET = 32
"""Batches among which problems are sorted by length: less padding, in an order that stays random."""


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return a random partition of problems, given their lengths, into batches of similar length."""
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
    """Cut one process' share of a batch into forwards of similar length, of at most `max_tokens` padded tokens.

    Args:
        lengths: of all problems, in tokens.
        share: (process, processes); each process takes every so many-th problem in order of length.
    """
    process, processes = share
    mine = sorted(batch, key=lambda index: lengths[index], reverse=True)[process::processes]
    return [[mine[at] for at in part] for part in similar_lengths([lengths[index] for index in mine], max_tokens)]


def parts_in_step(
    batch: Sequence[int], lengths: Sequence[int], max_tokens: int, share: tuple[int, int]
) -> list[tuple[list[int], bool]]:
    """Return `forward_parts` and whether each counts; every process gets equally many (see `storage.processes`)."""
    process, processes = share
    parts = [forward_parts(batch, lengths, max_tokens, (other, processes)) for other in range(processes)]
    idle = [min(batch, key=lengths.__getitem__)], False
    return [(part, True) for part in parts[process]] + [idle] * (max(map(len, parts)) - len(parts[process]))
