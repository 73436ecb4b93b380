"""Lock a folder for one writer."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.storage.files import write_errors

LOCK_FILE = ".lock"
"""The lock's file. It stays in the folder; only the lock on it counts."""


@contextmanager
def sole_writer(folder: Path, *, wait: Callable[[str], object] | None = None) -> Iterator[None]:
    """Hold a folder, created if need be, for one writer. The hold of a killed process ends with it.

    Args:
        wait: for the end of another one's block, after this was told of it; otherwise that is an error.

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
