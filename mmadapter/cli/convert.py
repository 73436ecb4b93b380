"""mmadapter-convert: convert an adapter between the formats of several programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmadapter.cli.options import CommandSettings, command, option

NAME = "mmadapter-convert"
ABOUT = """Convert an adapter between the formats of mmadapter, the authors' release, PEFT's adaption prompt and litgpt
(read only). What a format cannot hold exactly is refused."""


@dataclass(frozen=True, kw_only=True)
class Settings(CommandSettings):
    """The flags of the command."""

    source: str = option("SOURCE", positional=True)
    """A folder of mmadapter or PEFT, local or on the hub, or a file of the authors or litgpt."""
    output: Path = option("OUTPUT", positional=True)
    """A new folder, or a new file for --to authors."""
    to: Literal["mmadapter", "authors", "peft"] = "mmadapter"
    """Format to write. Default: mmadapter."""
    llm: str | None = option("NAME", default=None)
    """The frozen language model, where SOURCE does not name it."""
    adapter_len: int | None = option("K", default=None)
    """Prompts in each layer of an authors' file. Default: 10."""
    gate: Literal["tanh", "identity"] | None = None
    """Activation of the gates in an authors' file: tanh as in their training code (default), identity as in their
    inference code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(NAME, ABOUT, Settings, _convert, argv)


def _convert(settings: Settings) -> None:
    from mmadapter.interchange.convert import convert

    told = convert(
        settings.source,
        settings.output,
        settings.to,
        llm=settings.llm,
        adapter_len=settings.adapter_len,
        gate=settings.gate,
    )
    if not settings.quiet:
        print("\n".join(told), file=sys.stderr)
