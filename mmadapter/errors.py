"""The one exception that a user's input can cause."""

import difflib
import importlib.util
import re
from collections.abc import Iterable

_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters that a terminal acts on, marks that reverse the direction of a line, and halves of surrogate
pairs, which no file and no terminal can hold."""


class UserError(Exception):
    """Something the user gave is wrong; the text says what, where (file, pid, field) and what to do.

    Commands print it on one or two lines and exit with 2. Any other exception is our bug and keeps its traceback. The
    text may quote names of files, pids and settings that anybody chose, so each of its lines is made `printable`.
    """

    def __init__(self, message: str):
        super().__init__("\n".join(map(printable, message.split("\n"))))


def require(package: str, *, extra: str, what: str) -> None:
    """Check that the package of an extra is installed.

    Raises:
        UserError: it is not; names the command that installs it.
    """
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{what}: needs {package}: pip install 'mmadapter[{extra}]'")


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ": did you mean NAME?" for the known name that is most like a misspelt one, or nothing."""
    close = difflib.get_close_matches(given, [*known], n=1)
    return f": did you mean {close[0]}?" if close else ""


def printable(text: str) -> str:
    """Replace white space by spaces, and other characters that a terminal obeys by escapes such as `\\x1b`."""
    return _NOT_PRINTABLE.sub(
        lambda found: " " if found[0].isspace() else found[0].encode("unicode_escape").decode("ascii"), text
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has no text."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
