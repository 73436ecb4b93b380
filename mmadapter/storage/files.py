"""Write files whole or not at all, check the room on a disk, and pace the saving of long work."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmadapter.errors import UserError

SAVING_SHARE = 0.02
"""Largest share of the time that goes into saving."""

SAVE_SECONDS = 300.0
"""Longest time between savings, however slow the disk is: the most work that a killed process loses."""


def write_whole(path: Path, write: Callable[[Path], object], *, previous: Path | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place in one step.

    Args:
        previous: where the file goes that was at `path`; for a moment there is none at `path` then.

    Raises:
        UserError: the folder cannot be written, or the disk is full; what was at `path` is still there.
    """
    part = path.with_name(path.name + ".part")
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(part)
            with part.open("rb") as file:
                os.fsync(file.fileno())  # or, after a power failure, the name may stand for an empty file
            if previous is not None and path.exists():
                os.replace(path, previous)
            os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()  # on a full disk its room is needed
        raise


def write_text(path: Path, text: str) -> None:
    """`write_whole` for a text."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Report the system's errors in the block as a `UserError`: `path` cannot be written.

    Raises:
        UserError: in place of an `OSError`, which often does not name the file.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error  # pyarrow's have no strerror
        raise UserError(f"{path}: cannot be written: {reason}\n  what was there before is kept") from error


def free_room(folder: Path) -> int:
    """Bytes free on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(next(each for each in (folder, *folder.absolute().parents) if each.is_dir())).free


def check_room(folder: Path, needed: int, what: str) -> None:
    """Check that a result will fit, before hours of work.

    Args:
        folder: where it will be written; it need not be there yet.
        needed: bytes.

    Raises:
        UserError: its disk has less room.
    """
    if (room := free_room(folder)) < needed:
        raise UserError(f"{folder}: {what} take {needed / 1e9:.2f} GB, {room / 1e9:.2f} GB are free")


class PacedSaver:
    """Save the state of long work as often as `SAVING_SHARE` of the time allows: often where it is quick, seldom where
    it is slow.

    Args:
        save: writes the state.
    """

    def __init__(self, save: Callable[[], object]) -> None:
        self._save, self._due = save, time.monotonic()

    def __call__(self) -> None:
        """Save if it is time."""
        if time.monotonic() >= self._due:
            self.now()

    def now(self) -> None:
        """Save."""
        started = time.monotonic()
        self._save()
        ended = time.monotonic()
        self._due = ended + min(SAVE_SECONDS, (ended - started) / SAVING_SHARE)
