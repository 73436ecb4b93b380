"""mmadapter-eval: score runs and predictions, and print the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmadapter.cli.common import add_data_arguments, command_parser, parse, run_command, status, wants_debug
from mmadapter.errors import UserError, printable
from mmadapter.evaluation.rules import RULES
from mmadapter.storage.processes import is_first

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from mmadapter.evaluation.reliance import Controls
    from mmadapter.runs.collect import Scored

NAME = "mmadapter-eval"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(NAME, lambda: _evaluate(argv), debug=wants_debug(argv))


def _evaluate(argv: Sequence[str] | None) -> None:
    args = parse(_parser(), argv)

    runs = [Path(run) for run in args.runs]
    if args.controls and not runs:
        raise UserError("--controls asks a model again: name its run directory")

    from mmadapter.evaluation.render import render
    from mmadapter.evaluation.table import result_table
    from mmadapter.runs.collect import collect, unanswered
    from mmadapter.runs.records import read_controls

    asked = {
        "dataset": args.dataset,
        "data_dir": args.data_dir and [Path(folder) for folder in args.data_dir],
        "split": args.split,
        "resplit": args.resplit,
        "scoring": args.scoring,
    }
    quiet = args.quiet or not is_first()
    if unanswered(runs, split=args.split, scoring=args.scoring):
        from mmadapter.experiment.asking import ask_missing  # torch takes seconds

        ask_missing(runs, **asked, quiet=quiet)
    if not is_first() and not args.controls:
        return  # nothing is left but to print
    with status("reading questions and predictions", quiet=quiet):
        scored = collect(runs, [Path(file) for file in args.predictions or ()], **asked, rule=args.rule)
        table = result_table(
            scored.systems,
            scored.questions,
            title=scored.title,
            intervals=args.resample if args.intervals else None,
            published=args.published,
            **(_from_training(scored) if args.baselines else {}),
        )
    for each in () if quiet else scored.data.skipped:  # the title only counts them
        print(printable(f"{NAME}: left out: {each.where}: {each.reason}"), file=sys.stderr)
    controls: tuple[Controls, ...] = ()
    if args.controls or args.report:
        for system in scored.systems:
            if (stored := scored.stored.get(system.name)) is None:
                continue  # there is no model to ask
            found = read_controls(system, stored, scored.questions)
            if found is None and args.controls:
                from mmadapter.experiment.asking import ask_controls  # torch takes seconds

                found = ask_controls(system, stored, scored.questions, scored.data, quiet=quiet)
            controls += () if found is None else (found,)
    if not is_first():
        return
    table = replace(table, controls=controls if args.controls else ())
    sys.stdout.write(render(table, args.format, terminal=sys.stdout.isatty()))
    if args.report:
        from mmadapter.report.page import write_report

        with status("writing the report", quiet=quiet):
            write_report(scored, Path(args.report), controls=controls)


def _from_training(scored: Scored) -> dict[str, Any]:
    """Look up in the training split: baselines without a model, and classes of what training shows already."""
    from mmadapter.evaluation.baselines import baselines
    from mmadapter.evaluation.frame import question_frame
    from mmadapter.evaluation.wordings import asked_classes, picture_classes
    from mmadapter.storage.paths import cache_dir
    from mmadapter.vision.pictures import question_pictures, read_pictures

    if not scored.train:
        raise UserError("--baselines looks questions up in the training split: this data set has none at hand")
    pictures = read_pictures(question_pictures(scored.data, scored.train), cache_dir() / "pictures.npz")
    asked, train = scored.questions, question_frame(scored.train)
    return {
        "baselines": baselines(asked, train, pixels=pictures.grey),
        "classes": asked_classes(asked, train) | picture_classes(asked, pictures.hashes, train),
    }


def _parser() -> ArgumentParser:
    parser = command_parser(
        NAME,
        "Score runs and predictions of any other system on the same questions, and print the paper's table. Where a "
        "run has no answers yet (another --split or --scoring, --controls), its model is asked once.",
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="Run directories of mmadapter-train.")
    parser.add_argument(
        "--predictions",
        nargs="+",
        metavar="FILE",
        help="ScienceQA result files, LLaVA answers (.jsonl), CSV or parquet with pid and prediction.",
    )
    add_data_arguments(parser)
    parser.add_argument(
        "--scoring",
        choices=("likelihood", "generate"),
        help="How runs answer: by the likelihood of each option or by greedy generation. Default: as trained.",
    )
    parser.add_argument(
        "--rule",
        choices=tuple(RULES),
        help="Read every text by this rule. Default: indices as filed, texts by strict.",
    )
    parser.add_argument(
        "--intervals",
        action="store_true",
        help="Show 95 percent intervals, and test the first system against each other one, question by question.",
    )
    parser.add_argument(
        "--resample",
        choices=("wording", "question"),
        default="wording",
        help="The unit of intervals and tests: wording, as questions that share one are not independent (default), or "
        "question, as if they were.",
    )
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="Add what needs no model: the most frequent option, the prior of a wording's options and the nearest "
        "picture, all looked up in the training split; and show accuracy by how often training asks the same words "
        "and whether it shows the same picture.",
    )
    parser.add_argument(
        "--controls",
        action="store_true",
        help="Ask the models of runs again with a blank, another and no image, and with the options rotated.",
    )
    parser.add_argument(
        "--report",
        metavar="FILE.html",
        help="Also write a self-contained page with figures, calibration, stored controls and every question.",
    )
    parser.add_argument("--published", action="store_true", help="Add the rows of the paper's Table 2.")
    parser.add_argument(
        "--format", choices=("table", "markdown", "latex", "csv", "json"), default="table", help="Default: table."
    )
    return parser
