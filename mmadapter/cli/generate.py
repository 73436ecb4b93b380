"""mmadapter-generate: print an adapted model's answer word by word."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmadapter.cli.common import command_parser, parse, run_command, status, wants_debug
from mmadapter.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

NAME = "mmadapter-generate"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(NAME, lambda: _generate(argv), debug=wants_debug(argv))


def _generate(argv: Sequence[str] | None) -> None:
    args = parse(_parser(), argv)
    if args.prompt is not None and args.interactive:
        raise UserError("--prompt and --interactive: choose one")
    if args.max_new_tokens < 1 or not 0 < args.top_p <= 1 or (args.temperature or 0.0) < 0:
        raise UserError("--max-new-tokens must be at least 1, --top-p above 0 and at most 1, --temperature at least 0")

    with status("loading the model", quiet=args.quiet):
        from mmadapter.experiment.reload import load_run_or_adapter
        from mmadapter.inference.responder import Responder

        speaker = Responder(
            load_run_or_adapter(Path(args.adapter)),
            image=Path(args.image) if args.image is not None else None,
            max_new_tokens=args.max_new_tokens,
            temperature=args.temperature,
            top_p=args.top_p,
            seed=args.seed,
            quiet=args.quiet,
        )
    terminal = sys.stdin.isatty()
    with speaker.ready():
        for line in [args.prompt] if args.prompt is not None else _lines(terminal, speaker.usage):
            try:
                speaker.say(line, args.context)
            except KeyboardInterrupt:
                if args.prompt is not None or not terminal:
                    raise KeyboardInterrupt("interrupted") from None
                print(" ...")
            except UserError as error:
                if args.prompt is not None or not terminal:
                    raise
                print(error, file=sys.stderr)


def _lines(terminal: bool, usage: str) -> Iterator[str]:
    """Yield the lines that the user types, until Ctrl-D or Ctrl-C, or the lines of a file or pipe."""
    if not terminal:
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    import readline  # noqa: F401 (lets a line be edited, and recalls earlier ones)

    print(f"{usage}; Ctrl-C stops a response, Ctrl-D ends", file=sys.stderr)
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if line:
            yield line


def _parser() -> ArgumentParser:
    parser = command_parser(
        NAME,
        "Ask an adapted model to follow an instruction or to answer a question: from --prompt, typed at a terminal, or "
        "one line each from standard input. Words are printed as they come.",
    )
    parser.add_argument(
        "adapter", metavar="RUN", help="A run directory, a variant's folder in it, or an adapter's folder."
    )
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help="An instruction, or 'question | option | option' for an adapter that answers questions.",
    )
    parser.add_argument(
        "--context", metavar="TEXT", default="", help="The instruction's input, or the question's hint."
    )
    parser.add_argument("--image", metavar="FILE", help="A picture, for a multimodal adapter.")
    parser.add_argument(
        "--interactive", action="store_true", help="Read lines from the terminal: the default without --prompt."
    )
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="0 is greedy. Default: 0.1 for instructions, 0 for questions."
    )
    parser.add_argument(
        "--top-p", type=float, metavar="P", default=0.75, help="Draw from this share of the probability. Default: 0.75."
    )
    parser.add_argument(
        "--max-new-tokens", type=int, metavar="N", default=256, help="Longest answer, in tokens. Default: 256."
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of what is drawn. Default: 0.")
    return parser
