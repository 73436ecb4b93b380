"""mmadapter-convert: an adapter from one program's format to another's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmadapter.cli.common import command_parser, parse, run_command, wants_debug

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

NAME = "mmadapter-convert"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(NAME, lambda: _convert(argv), debug=wants_debug(argv))


def _convert(argv: Sequence[str] | None) -> None:
    args = parse(_parser(), argv)

    from mmadapter.interchange.convert import convert

    told = convert(args.source, Path(args.output), args.to, llm=args.llm, adapter_len=args.adapter_len, gate=args.gate)
    if not args.quiet:
        print("\n".join(told), file=sys.stderr)


def _parser() -> ArgumentParser:
    parser = command_parser(
        NAME,
        "An adapter from one program's format to another's: the authors' release, PEFT's adaption prompt, litgpt's "
        "(read only), mmadapter's. What cannot be said exactly is refused.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder of mmadapter or PEFT, or one on the hub; a file of the authors or litgpt",
    )
    parser.add_argument("output", metavar="OUTPUT", help="a new folder, or a new file for --to authors")
    parser.add_argument(
        "--to", choices=("mmadapter", "authors", "peft"), default="mmadapter", help="default: mmadapter"
    )
    parser.add_argument("--llm", metavar="NAME", help="the frozen language model, where SOURCE does not say it")
    parser.add_argument(
        "--adapter-len", type=int, metavar="K", help="prompts a layer of an authors' file (default: 10)"
    )
    parser.add_argument(
        "--gate",
        choices=("tanh", "identity"),
        help="what becomes of the gates in an authors' file: tanh in their training code (so it is read), identity in "
        "their inference code",
    )
    return parser
