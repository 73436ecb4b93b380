"""What a reader of other people's bytes is to the fuzzer, and what it may do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmadapter.errors import UserError, printable
from tests.fuzz.mutate import Mutation

LONGEST = 4000
"""Characters of a message."""


@dataclass(frozen=True)
class Reader:
    """One kind of file."""

    read: Callable[[bytes], object]
    """Reads a file with this content."""
    mutation: Mutation
    seeds: tuple[bytes, ...]
    """Valid contents."""
    folder: Path
    """Where the file lies: a message names it."""

    def check(self, data: bytes) -> UserError | None:
        """Read it. Returns how it was refused, if it was; raises whatever else happens."""
        try:
            self.read(data)
        except UserError as error:
            text = str(error)
            assert str(self.folder) in text, f"names no place: {text!r}"
            assert all(printable(line) == line for line in text.split("\n")), f"not printable: {text!r}"
            assert len(text) <= LONGEST, f"{len(text)} characters"
            return error
        return None


def of_file(name: str, read: Callable[[Path], object]) -> Callable[[Path], Callable[[bytes], object]]:
    """A reader of `name` in a folder."""

    def in_folder(folder: Path) -> Callable[[bytes], object]:
        def of_bytes(data: bytes) -> object:
            (folder / name).write_bytes(data)
            return read(folder / name)

        return of_bytes

    return in_folder
