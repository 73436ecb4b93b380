"""Folders with one writer."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.storage.files import write_errors

LOCK_FILE = ".lock"
"""In a folder with one writer. The file stays when the writer has gone; only a held lock counts."""


@contextmanager
def sole_writer(folder: Path, *, wait: Callable[[str], object] | None = None) -> Iterator[None]:
    """Be the only process in such a block for `folder`, which is created if need be; a killed process holds nothing.

    With `wait`, another writer is awaited after `wait` got a message about it; without, it is an error.

    Raises:
        UserError: another process writes there, or this one may not.
    """
    from filelock import FileLock, Timeout

    file = folder / LOCK_FILE
    with write_errors(file):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            holder = file.read_text(encoding="utf-8") or "another process"
            if wait is None:
                raise UserError(
                    f"{folder}: {holder} is writing there\n  wait until it has ended, stop it, or name another folder"
                ) from error
            wait(f"waiting for {holder}")
            lock.acquire()
        try:
            file.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        except BaseException:
            lock.release()
            raise
    try:
        yield
    finally:
        lock.release()
