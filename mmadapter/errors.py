"""The one exception that a user's input can cause."""

from __future__ import annotations

import re

_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys, that reverse a line's direction, or that no file can hold (halves of surrogate
pairs)."""


class UserError(Exception):
    """A mistake in the user's input. The text says what is wrong, where (file, pid, field) and what to do.

    Commands print it on one or two lines and exit with 2; anything else is our bug and keeps its traceback. Names
    of files, pids and settings in it are anybody's: it is `printable`, line by line.
    """

    def __init__(self, message: str):
        super().__init__("\n".join(map(printable, message.split("\n"))))


def printable(text: str) -> str:
    """Make a text safe for a terminal: white space becomes a space, control characters show as `\x1b`."""
    return _OBEYED.sub(lambda found: " " if found[0].isspace() else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
