"""Files that are written whole or not at all, room on the disk, and saving the state of long work."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmadapter.errors import UserError

SAVING_SHARE = 0.02
"""Share of the time that may go into saving the state of long work."""
SAVE_SECONDS = 300.0
"""The most work that a killed process can lose, even with a slow disk."""


def write_whole(path: Path, write: Callable[[Path], object], *, previous: Path | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in its place in one step.

    With `previous`, the file that was at `path` is moved there first; then for a moment there is none at `path`.

    Raises:
        UserError: the folder cannot be written, or the disk is full; what was at `path` is still there.
    """
    part = None
    try:
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = _temporary(path)
            write(part)
            with part.open("rb") as file:
                os.fsync(file.fileno())  # without it a power failure may leave an empty file
            if previous is not None and path.exists():
                os.replace(path, previous)
            os.replace(part, path)
    except BaseException:
        if part is not None:
            with suppress(OSError):
                part.unlink()  # a full disk needs its room
        raise


def _temporary(path: Path) -> Path:
    """Create an empty file beside `path` for this writer alone, never through a link that somebody planted there.

    Those that killed processes left behind are removed.
    """
    for old in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        writer = old.name.removesuffix(".part").split(".")[-2]
        if not (writer.isdecimal() and _runs(int(writer))):
            with suppress(OSError):
                old.unlink()
    part = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o666))
    return part


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text with `write_whole`."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` in the block, which often does not name the file, into a `UserError` that does."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error  # pyarrow's errors have no strerror
        raise UserError(f"{path}: cannot be written: {reason}\n  what was there before is kept") from error


def free_room(folder: Path) -> int:
    """Return the free bytes on the disk that holds, or will hold, a folder."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.is_dir())).free


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise a UserError if the disk of `folder` has less than `needed` bytes free: hours of work would be lost."""
    if (room := free_room(folder)) < needed:
        raise UserError(f"{folder}: {what} take {needed / 1e9:.2f} GB, {room / 1e9:.2f} GB are free")


class PacedSaver:
    """Calls `save`, which writes the state of long work, as often as `SAVING_SHARE` of the time allows.

    So a quick save is never far behind, and a slow one does not hold up the work.
    """

    def __init__(self, save: Callable[[], object]) -> None:
        self._save, self._due = save, time.monotonic()

    def __call__(self) -> None:
        """Save if it is time."""
        if time.monotonic() >= self._due:
            self.now()

    def now(self) -> None:
        started = time.monotonic()
        self._save()
        ended = time.monotonic()
        self._due = ended + min(SAVE_SECONDS, (ended - started) / SAVING_SHARE)
