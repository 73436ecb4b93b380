"""Several processes at one work, as torchrun or `accelerate launch` start them: who does what, and what all know then.

One process is the case of a single share. What is shared goes on in step: every process does equally many pieces, for a
forward of a sharded model (`sharding`) is one of all processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process writes and prints; known before any of them has met another."""
    return os.environ.get("RANK", "0") == "0"


def in_step(pieces: Sequence[T]) -> Iterator[tuple[T, bool]]:
    """This process' pieces, and of each whether it counts: where they do not divide, the last one is somebody else's
    and done for company."""
    from accelerate import PartialState

    state = PartialState()
    for start in range(0, len(pieces), state.num_processes):
        at = start + state.process_index
        yield pieces[min(at, len(pieces) - 1)], at < len(pieces)


def gathered(own: list[T]) -> list[T]:
    """What all processes bring, the first one's first; every one gets all of it."""
    from accelerate.utils import gather_object

    return gather_object(own)


def from_first(find: Callable[[], T]) -> T:
    """What the first process finds; the others wait for it and look for nothing."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    found = [find() if PartialState().is_main_process else None]
    return broadcast_object_list(found)[0]


def leave_process_group() -> None:
    """Ends the exchange, once all work is done: a process that takes it along to its end may be aborted there, by gloo.

    Not after an error: others may be in the midst of an exchange then, which this would wait for.
    """
    distributed = sys.modules.get("torch.distributed")  # a command without it has nothing to leave
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
