"""mmadapter-generate: print an adapted model's answer word by word."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmadapter.cli.options import CommandSettings, command, option
from mmadapter.errors import UserError
from mmadapter.storage.progress import status

NAME = "mmadapter-generate"
ABOUT = """Ask an adapted model to follow an instruction or to answer a question: from --prompt, typed at a terminal, or
one line each from standard input. Words are printed as they come."""


@dataclass(frozen=True, kw_only=True)
class Settings(CommandSettings):
    """The flags of the command."""

    adapter: Path = option("RUN", positional=True)
    """A run directory, a variant's folder in it, or an adapter's folder."""
    prompt: str | None = option("TEXT", default=None)
    """An instruction, or 'question | option | option' for an adapter that answers questions."""
    context: str = option("TEXT", default="")
    """The instruction's input, or the question's hint."""
    image: Path | None = option("FILE", default=None)
    """A picture, for a multimodal adapter."""
    interactive: bool = False
    """Read lines from the terminal: the default without --prompt."""
    temperature: float | None = option("T", default=None)
    """0 is greedy. Default: 0.1 for instructions, 0 for questions."""
    top_p: float = option("P", default=0.75)
    """Draw from this share of the probability. Default: 0.75."""
    max_new_tokens: int = option("N", default=256)
    """Longest answer, in tokens. Default: 256."""
    seed: int = 0
    """Seed of what is drawn. Default: 0."""

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: two sources of prompts, or a number out of its range.
        """
        if self.prompt is not None and self.interactive:
            raise UserError("--prompt and --interactive: choose one")
        if self.max_new_tokens < 1 or not 0 < self.top_p <= 1 or (self.temperature or 0.0) < 0:
            raise UserError(
                "--max-new-tokens must be at least 1, --top-p above 0 and at most 1, --temperature at least 0"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(NAME, ABOUT, Settings, _generate, argv)


def _generate(args: Settings) -> None:
    try:
        _respond(args)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted") from None  # there is nothing to go on with


def _respond(args: Settings) -> None:
    with status("loading the model", quiet=args.quiet, lasting=True):
        from mmadapter.backbone.threads import chosen_threads
        from mmadapter.experiment.reload import load_run_or_adapter
        from mmadapter.inference.responder import Responder

        speaker = Responder(
            load_run_or_adapter(args.adapter),
            image=args.image,
            max_new_tokens=args.max_new_tokens,
            temperature=args.temperature,
            top_p=args.top_p,
            seed=args.seed,
            quiet=args.quiet,
        )
    terminal = sys.stdin.isatty()
    with chosen_threads(speaker.model.llm.model, quiet=True), speaker.ready():
        for line in [args.prompt] if args.prompt is not None else _lines(terminal, speaker.usage):
            try:
                speaker.say(line, args.context)
            except KeyboardInterrupt:
                if args.prompt is not None or not terminal:
                    raise
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
