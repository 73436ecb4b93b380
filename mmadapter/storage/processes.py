"""Sharing work among the processes that torchrun or `accelerate launch` start; a single process has one share.

Every process does equally many pieces, in step, because a forward of a sharded model (`sharding`) takes all processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def is_first() -> bool:
    """Tell whether this process is the one that writes and prints; works before the process group exists."""
    return os.environ.get("RANK", "0") == "0"


def in_step(pieces: Sequence[T]) -> Iterator[tuple[T, bool]]:
    """Yield this process's pieces and whether each counts: a process without a piece left repeats the last one."""
    from accelerate import PartialState

    state = PartialState()
    for start in range(0, len(pieces), state.num_processes):
        at = start + state.process_index
        yield pieces[min(at, len(pieces) - 1)], at < len(pieces)


def gathered(items: list[T]) -> list[T]:
    """Return the items of all processes, in the processes' order, to every process."""
    from accelerate.utils import gather_object

    return gather_object(items)


def from_first(find: Callable[[], T]) -> T:
    """Return to every process what `find` returns in the first one; the others wait and do not call it."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    found = [find() if PartialState().is_main_process else None]
    return broadcast_object_list(found)[0]


def leave_process_group() -> None:
    """Destroy the process group once all work is done.

    gloo's threads outlive a group that is not destroyed; when the interpreter ends, one that wants its lock aborts the
    process ("terminate called without an active exception").

    Not to be called after an error: this would wait for a process that is in the middle of an exchange.
    """
    if (distributed := _group()) is not None:
        distributed.destroy_process_group()


def exit_from_group(code: int) -> None:
    """End this process after an error if it is in a process group, without the interpreter's own end; else return."""
    if _group() is not None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _group() -> ModuleType | None:
    """Return torch.distributed if this process is in a group."""
    distributed = sys.modules.get("torch.distributed")  # not imported: no group
    return distributed if distributed and distributed.is_available() and distributed.is_initialized() else None
