"""mmadapter-convert: convert an adapter between the formats of several programs."""

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
    """Run the command and return its exit code."""
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
        "Convert an adapter between the formats of mmadapter, the authors' release, PEFT's adaption prompt and "
        "litgpt (read only). What a format cannot hold exactly is refused.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="A folder of mmadapter or PEFT, local or on the hub, or a file of the authors or litgpt.",
    )
    parser.add_argument("output", metavar="OUTPUT", help="A new folder, or a new file for --to authors.")
    parser.add_argument(
        "--to",
        choices=("mmadapter", "authors", "peft"),
        default="mmadapter",
        help="Format to write. Default: mmadapter.",
    )
    parser.add_argument("--llm", metavar="NAME", help="The frozen language model, where SOURCE does not name it.")
    parser.add_argument(
        "--adapter-len", type=int, metavar="K", help="Prompts in each layer of an authors' file. Default: 10."
    )
    parser.add_argument(
        "--gate",
        choices=("tanh", "identity"),
        help="Activation of the gates in an authors' file: tanh as in their training code (default), identity as in "
        "their inference code.",
    )
    return parser
