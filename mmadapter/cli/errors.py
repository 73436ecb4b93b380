"""mmadapter-errors: show or write the per-question frame of one system or several."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmadapter.cli.options import QuestionSettings, command, option
from mmadapter.errors import UserError, printable
from mmadapter.evaluation.rules import RuleName
from mmadapter.storage.progress import status

if TYPE_CHECKING:
    import pandas as pd

NAME = "mmadapter-errors"
ABOUT = """Write the per-question frame of runs and of other systems' predictions to a file, or show the questions that
were answered wrong."""
SHOWN = 20
"""Questions printed; --output writes all."""


@dataclass(frozen=True, kw_only=True)
class Settings(QuestionSettings):
    """The flags of the command."""

    sources: tuple[Path, ...] = option("RUN_OR_PREDICTIONS", positional=True)
    """Run directories and prediction files."""
    rule: RuleName | None = None
    """Read every text by this rule."""
    query: str | None = option("EXPRESSION", default=None)
    """Keep questions for which it holds, such as 'not correct and grade > 6'. With several systems `correct` means that
    all are, and each has its own columns too, such as correct_text. It runs as code: do not paste other people's."""
    output: Path | None = option("FILE", default=None)
    """Write the frame to a .parquet or .csv file."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(NAME, ABOUT, Settings, _errors, argv)


def _errors(args: Settings) -> None:
    output = args.output
    if output is not None and output.suffix not in (".parquet", ".csv"):
        raise UserError(f"--output {output}: its name must end in .parquet or .csv")

    from mmadapter.evaluation.frame import error_frame, split_systems
    from mmadapter.runs.collect import collect, unanswered

    runs = [source for source in args.sources if source.is_dir()]
    files = [source for source in args.sources if not source.is_dir()]
    asked = args.questions()
    if unanswered(runs, split=args.split):
        from mmadapter.experiment.asking import ask_missing  # torch takes seconds

        ask_missing(runs, **asked, quiet=args.quiet)
    with status("reading questions and predictions", quiet=args.quiet):
        scored = collect(runs, files, **asked, **args.part(), rule=args.rule)
        frames = {system.name: system.frame for system in scored.systems}
        frame = error_frame(frames if len(frames) > 1 else next(iter(frames.values())), scored.data)
    chosen = frame if args.query is None else query(frame, args.query)
    if output is not None:
        write_frame(chosen, output)
        if not args.quiet:
            print(f"{output}: {len(chosen):,} of {len(frame):,} questions", file=sys.stderr)
        return
    systems = split_systems(chosen)
    if args.query is None:
        wrong = ~frame[[column for column in frame if column.split("_")[0] == "correct"]].all(axis=1)
        chosen, systems = frame[wrong], {name: each[wrong] for name, each in systems.items()}
        which = "that a system got wrong" if len(systems) > 1 else "answered wrong"
    else:
        which = f"where {args.query}"
    _print(chosen, systems, f"{scored.title}: {len(chosen):,} of {len(frame):,} questions {which}")


def query(frame: pd.DataFrame, expression: str) -> pd.DataFrame:
    """Select the rows for which a pandas expression over the columns is true.

    Raises:
        UserError: no valid expression, an unknown column, or no condition.
    """
    each = [column for column in frame if column.startswith("correct_")]
    asked = frame.assign(correct=frame[each].all(axis=1)) if each and "correct" not in frame else frame
    try:
        holds = asked.eval(expression)
    except Exception as error:  # of any kind: the expression is a program
        raise UserError(f"--query {expression!r}: {error}\n  columns: {', '.join(frame.columns)}") from error
    if getattr(holds, "dtype", None) not in (bool, "boolean"):
        raise UserError(f"--query {expression!r} is no condition\n  one is: 'grade > 6 and has_image'")
    return frame[holds.fillna(False)]


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame. Parquet keeps every dtype; a CSV has lists as JSON and unknown values as empty cells.

    Raises:
        UserError: the file cannot be written.
    """
    import json

    from mmadapter.storage.files import write_whole

    def write(part: Path) -> None:
        if path.suffix == ".parquet":
            frame.to_parquet(part)
            return
        lists = [column for column in frame if frame[column].dtype == object]
        text = {column: frame[column].map(json.dumps, na_action="ignore") for column in lists}
        frame.assign(**text).to_csv(part)

    if not path.parent.is_dir():
        raise UserError(f"{path}: cannot be written: there is no such folder")
    write_whole(path, write)


def _print(frame: pd.DataFrame, systems: dict[str, pd.DataFrame], title: str) -> None:
    from textwrap import shorten

    import pandas as pd
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mmadapter.evaluation.frame import letter

    def said(prediction: Any) -> str:
        return "-" if pd.isna(prediction) else letter(prediction)

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for header in ("pid", "topic", "answer", *systems, "question"):
        table.add_column(Text(printable(header)), no_wrap=header != "question")
    for pid, row in frame.head(SHOWN).iterrows():
        told = [pid, "-" if pd.isna(row["topic"]) else row["topic"], letter(row["answer"])]
        told += [said(each.loc[pid, "prediction"]) for each in systems.values()]
        table.add_row(*(Text(printable(cell)) for cell in (*told, shorten(row["question"], 60, placeholder=" ..."))))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160  # rich would assume 80 and cut
    console.print(Text(printable(title), style="bold"), "", table, sep="\n")
    if len(frame) > SHOWN:
        console.print(Text(f"... {len(frame) - SHOWN:,} more; --output writes all to a file", style="dim"))
