"""Flags, errors and exit codes that all commands share.

Exit code 0 is success, 2 a mistake of the user, explained in a line or two, 1 anything else. Only `--debug` shows a
traceback. Imports here are light: `--help` has to answer at once.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmadapter.errors import UserError, did_you_mean, printable
from mmadapter.storage.processes import exit_from_group, leave_process_group

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def run_command(name: str, body: Callable[[], int | None], *, debug: bool = False) -> int:
    """Run the body of a command and return the exit code.

    Args:
        name: the command's, which opens its messages.
        body: does the work and returns the exit code; None means 0.
        debug: show tracebacks.
    """
    _make_printable()
    try:
        _check_launcher()
        with _sigterm_interrupts():
            code = body() or 0
            leave_process_group()
        sys.stdout.flush()  # here, so that a closed pipe is noticed here
        return code
    except BrokenPipeError:  # `... | head` has read enough: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush fails again
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exc()
        print(f"{name}: {_message(error)}", file=sys.stderr)
        code = 2 if isinstance(error, UserError) else 1
        exit_from_group(code)
        return code


def _make_printable() -> None:
    """Let a table be printed wherever the output goes: nowhere, if it is closed, or to a terminal of few characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _check_launcher() -> None:
    """Refuse an environment that a launcher left half behind: the process would wait for others that never come."""
    size = os.environ.get("WORLD_SIZE", "1")
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if size != "1" and lacking:
        raise UserError(
            f"WORLD_SIZE is {size} in the environment, but {' and '.join(lacking)} are not\n"
            "  unset WORLD_SIZE, or start several processes with torchrun"
        )


def _message(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted; the same command goes on from here"
    if isinstance(error, OSError):
        return printable(f"{error.filename or 'the system'}: {error.strerror or error}") + "\n  --debug shows where"
    return f"{type(error).__name__}: {printable(str(error))}\n  this is a bug; --debug shows where"


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Treat a batch system's request to end like Ctrl-C, so that work under way is left in order."""

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
    """Return a parser with the flags of every command; its errors are `UserError`s."""
    from argparse import HelpFormatter
    from importlib.metadata import version

    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=name,
        description=description,
        version=version("mmadapter"),
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
        **settings,
    )
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    return parser


def parse(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """Parse and check the arguments.

    Raises:
        UserError: an unknown argument, a missing or a wrong value.
    """
    from jsonargparse import ArgumentError

    try:
        return parser.parse_args(argv)
    except ArgumentError as error:
        text = str(error)
        if wrong := re.search(r'key "(\w+)":.*<class \'(\w+)\'>. Got value: (.*)', text, re.DOTALL):
            text = f"--{wrong[1].replace('_', '-')}: {wrong[3]!r} is not of type {wrong[2]}"
        if unknown := re.match(r"unrecognized arguments: .*?(--[\w-]+)", text):
            flags = [flag for action in parser._actions for flag in action.option_strings]
            text += did_you_mean(unknown[1], flags)
        raise UserError(f"{text}\n  {parser.prog} --help lists the arguments") from error


def wants_debug(argv: Sequence[str] | None) -> bool:
    """Whether `--debug` was given. Known before parsing, which may fail."""
    return "--debug" in (sys.argv[1:] if argv is None else argv)
