"""Share work among several processes, as torchrun or `accelerate launch` start them.

A single process has a share of one. All processes work in step, on equally many pieces, because a forward of a sharded
model needs all of them (`backbone.sharding`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process writes and prints; known before the processes connect."""
    return os.environ.get("RANK", "0") == "0"


def in_step(pieces: Sequence[T]) -> Iterator[tuple[T, bool]]:
    """Yield this process' pieces, each with whether it counts: where they do not divide evenly, some repeat the last
    one."""
    from accelerate import PartialState

    state = PartialState()
    for start in range(0, len(pieces), state.num_processes):
        at = start + state.process_index
        yield pieces[min(at, len(pieces) - 1)], at < len(pieces)


def gathered(own: list[T]) -> list[T]:
    """Collect lists from all processes, the first one's first, and give all of it to each."""
    from accelerate.utils import gather_object

    return gather_object(own)


def from_first(find: Callable[[], T]) -> T:
    """Compute a value in the first process and give it to all."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    found = [find() if PartialState().is_main_process else None]
    return broadcast_object_list(found)[0]


def leave_process_group() -> None:
    """Leave the process group once all work is done; gloo may abort a process that does not.

    Do not call it after an error: others may be exchanging data, and this would wait for them.
    """
    distributed = sys.modules.get("torch.distributed")  # a command without it has nothing to leave
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
