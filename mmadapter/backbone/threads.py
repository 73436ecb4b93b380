"""How many threads a CPU's arithmetic takes: as many as are free, if the model's products are large enough to gain.

PyTorch takes a thread for each core. On a machine that computes something else too, or for a small model, that can be
ten times slower than one thread: every product waits for the slowest of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil
import torch
from torch.nn.functional import linear, silu
from transformers import PreTrainedConfig, PreTrainedModel

from mmadapter.errors import UserError
from mmadapter.storage.progress import say

VARIABLE = "OMP_NUM_THREADS"
WATCHED_SECONDS = 0.3
"""How long other processes are watched. The load average alone still holds what ended a minute ago."""
TIMED_SECONDS = 0.2
"""Time for the products of each number of threads."""
TIMED_TOKENS = 512
GAIN = 1.15
"""How much faster than one thread several have to be."""


class Threads(NamedTuple):
    """A number of threads."""

    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.number} of {psutil.cpu_count()} ({self.reason})"


def choose_threads(llm: PreTrainedConfig) -> Threads:
    """Choose the number of threads for a language model of this size on this machine as it is now."""
    mine = torch.get_num_threads()
    if VARIABLE in os.environ:
        return Threads(mine, VARIABLE)
    from joblib import cpu_count  # knows affinity and the quotas of control groups

    allowed = min(mine, cpu_count()) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    cores, load = psutil.cpu_count() or 1, psutil.getloadavg()[0]
    busy = cores * psutil.cpu_percent(WATCHED_SECONDS) / 100
    free = free_threads(cores, allowed, load, busy)
    if free == 1:
        return Threads(1, f"{busy:.1f} of {cores} cores busy, load {load:.1f}" if allowed > 1 else "all it may use")
    gain = _seconds(llm, 1) / _seconds(llm, free)
    if gain < GAIN:
        return Threads(1, f"{free} are {gain:.1f} times as fast")
    return Threads(free, f"{gain:.1f} times as fast as 1")


def free_threads(cores: int, allowed: int, load: float, busy: float) -> int:
    """Return how many threads find a core of their own.

    Args:
        cores: of the machine.
        allowed: of them, by affinity and quota, for this process.
        load: processes that were running or waiting, over the last minute.
        busy: cores that others keep busy now.
    """
    if load > 1.5 * cores:  # a queue: a core that is idle for a moment is not free
        return 1
    return max(1, min(allowed, round(cores - busy)))


@contextmanager
def use_threads(threads: Threads) -> Iterator[None]:
    """Compute with so many threads until the block ends.

    Raises:
        UserError: PyTorch refuses the number.
    """
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads.number)
    except RuntimeError as error:
        raise UserError(f"--threads {threads.number}: {error}") from error
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def chosen_threads(model: PreTrainedModel, *, quiet: bool = False) -> Iterator[None]:
    """Choose threads for a loaded model, say how many on stderr, and compute with them until the block ends."""
    if model.device.type != "cpu":
        yield
        return
    threads = choose_threads(model.config)
    if not quiet:
        say(f"threads: {threads}")
    with use_threads(threads):
        yield


def _seconds(llm: PreTrainedConfig, threads: int) -> float:
    """Return the mean time of a layer's widest product and its activation."""
    width = llm.hidden_size
    inner = getattr(llm, "intermediate_size", 4 * width)
    inputs, weight = torch.ones(TIMED_TOKENS, width), torch.ones(inner, width)
    with use_threads(Threads(threads, "")), torch.no_grad():
        silu(linear(inputs, weight))
        started, done = time.perf_counter(), 0
        while (passed := time.perf_counter() - started) < TIMED_SECONDS:
            silu(linear(inputs, weight))
            done += 1
    return passed / done
