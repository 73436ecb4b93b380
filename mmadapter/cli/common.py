"""What every command shares: its flags, its errors, its exit codes.

0 is success, 2 the user's mistake, told on one or two lines, 1 everything else. A traceback only shows with
`--debug`. Imports here are light: `--help` has to answer at once.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from mmadapter.errors import UserError, printable
from mmadapter.storage.processes import leave_process_group

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def run_command(name: str, body: Callable[[], int | None], *, debug: bool = False) -> int:
    """Calls the body of a command and returns the exit code.

    Args:
        name: of the command, which starts its messages.
        body: does the work; what it returns is the exit code, None is 0.
        debug: show the traceback of whatever goes wrong.
    """
    try:
        with _sigterm_interrupts():
            code = body() or 0
            leave_process_group()
        sys.stdout.flush()  # here, so that a closed pipe is noticed here
        return code
    except BrokenPipeError:  # as in `... | head`: nobody reads any more, and nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush fails again
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        print(f"{name}: {_told(error)}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1


def _told(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted; the same command goes on from here"
    if isinstance(error, OSError):
        return printable(f"{error.filename or 'the system'}: {error.strerror or error}") + "\n  --debug shows where"
    return f"{type(error).__name__}: {printable(str(error))}\n  this is a bug; --debug shows where"


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """A batch system's request to end is a Ctrl-C: what is under way is left in order, and the user is told."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def command_parser(name: str, description: str, **settings: Any) -> ArgumentParser:
    """A parser with the flags that every command has; its errors are `UserError`s."""
    from argparse import HelpFormatter
    from importlib.metadata import version

    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=name,
        description=description,
        version=version("mmadapter"),
        exit_on_error=False,
        formatter_class=HelpFormatter,
        **settings,
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing on stderr but errors")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_data_arguments(parser: ArgumentParser) -> None:
    """The flags that say which questions are asked."""
    parser.add_argument("--dataset", choices=("demo", "scienceqa"), help="left out: that of the run")
    parser.add_argument("--data-dir", nargs="+", metavar="DIR", help="where it lies; the first that has a pid wins")
    parser.add_argument("--split", help="left out: that of the run, or test")


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """The arguments, checked.

    Raises:
        UserError: an argument is not known, lacks its value or has a wrong one.
    """
    from jsonargparse import ArgumentError

    try:
        return parser.parse_args(argv)
    except ArgumentError as error:
        text = str(error)
        if wrong := re.search(r'key "(\w+)":.*<class \'(\w+)\'>. Got value: (.*)', text, re.DOTALL):
            text = f"--{wrong[1].replace('_', '-')}: {wrong[3]!r} is not of type {wrong[2]}"
        raise UserError(f"{text}\n  {parser.prog} --help lists the arguments") from error


@contextmanager
def status(text: str, *, quiet: bool) -> Iterator[None]:
    """Says on stderr what is being waited for, as long as it takes; only to a terminal, and not if quiet."""
    from rich.console import Console

    console = Console(stderr=True, quiet=quiet)
    with console.status(text) if console.is_terminal else nullcontext():
        yield


def wants_debug(argv: Sequence[str] | None) -> bool:
    """Whether `--debug` was given: known before parsing, which may fail."""
    return "--debug" in (sys.argv[1:] if argv is None else argv)
