"""mmadapter-eval: score runs and predictions, and print the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmadapter.cli.options import QuestionSettings, command, option
from mmadapter.config.presets import PRESETS
from mmadapter.errors import UserError, printable
from mmadapter.evaluation.rules import RuleName
from mmadapter.storage.processes import is_first
from mmadapter.storage.progress import status

if TYPE_CHECKING:
    from mmadapter.evaluation.reliance import Controls
    from mmadapter.experiment.lookups import Lookups
    from mmadapter.runs.collect import Scored

NAME = "mmadapter-eval"
ABOUT = """Score runs and predictions of any other system on the same questions, and print the paper's table. Where a
run has no answers yet (another --split or --scoring, --controls), its model is asked once."""


@dataclass(frozen=True, kw_only=True)
class Settings(QuestionSettings):
    """The flags of the command."""

    runs: tuple[Path, ...] = option("RUN", positional=True, default=())
    """Run directories of mmadapter-train."""
    predictions: tuple[Path, ...] = option("FILE", default=())
    """ScienceQA result files, LLaVA answers (.jsonl), CSV or parquet with pid and prediction, or logs of
    lm-evaluation-harness, lmms-eval (.jsonl), inspect_ai (.eval, .json) and VLMEvalKit (.tsv, .xlsx)."""
    scoring: Literal["likelihood", "generate", "both"] | None = None
    """How runs answer: by the likelihood of each option (chosen), by greedy generation (written, as in the paper), or
    both side by side. Default: as trained."""
    rule: RuleName | None = None
    """Read every text by this rule. Default: indices as filed, texts by strict."""
    intervals: bool = False
    """Show 95 percent intervals, and test the first system against each other one, question by question."""
    resample: Literal["wording", "question"] = "wording"
    """The unit of intervals and tests: wording, as questions that share one are not independent (default), or question,
    as if they were."""
    margin: float | None = option("POINTS", default=None)
    """With --intervals: points of accuracy that do not matter, stated before looking. Two systems shown to differ by
    less are called equivalent (two one-sided tests)."""
    baselines: bool = False
    """Add what needs no language model, looked up in the training split: the most frequent option, the prior of a
    wording's options, the nearest picture by pixels and by the run's image tower, a linear read-out of its features.
    Show accuracy by how often training asks the same words and whether it shows the same picture."""
    tower: str | None = option("NAME", default=None)
    """Image tower for --baselines, as --clip of mmadapter-train. Default: the first run's; without a run, none."""
    by: tuple[Literal["option-length", "option-count", "skill"], ...] = ()
    """Add accuracy by the words of the longest option, the number of options, or the skill (with 20 questions or more).
    """
    controls: bool = False
    """Ask the models of runs again with a blank, another and no image, and with the options rotated."""
    report: Path | None = option("FILE.html", default=None)
    """Also write a self-contained page with figures, calibration, stored controls and every question."""
    published: bool = False
    """Add the rows of the paper's Table 2."""
    format: Literal["table", "markdown", "latex", "csv", "json"] = "table"
    """Form of the table. Default: table."""

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: controls without a run, or a margin that nothing is tested against.
        """
        if self.controls and (self.sample is not None or self.allow_missing):
            raise UserError("--controls are over the whole split: leave out --sample and --allow-missing")
        if self.margin is not None and (not self.intervals or self.resample != "wording" or self.margin <= 0):
            raise UserError("--margin: must be above 0, and needs --intervals over wordings")
        if self.controls and not self.runs:
            raise UserError("--controls asks a model again: name its run directory")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command(NAME, ABOUT, Settings, _evaluate, argv)


def _evaluate(args: Settings) -> None:
    from mmadapter.evaluation.render import render
    from mmadapter.evaluation.table import result_table
    from mmadapter.evaluation.wordings import KINDS
    from mmadapter.runs.collect import collect, scorings, unanswered
    from mmadapter.runs.records import read_controls

    asked = args.questions()
    quiet = args.quiet or not is_first()
    for scoring in scorings(args.scoring):
        if unanswered(args.runs, split=args.split, scoring=scoring):
            from mmadapter.experiment.asking import ask_missing  # torch takes seconds

            ask_missing(args.runs, **asked, scoring=scoring, quiet=quiet)
    if not is_first() and not args.controls:
        return  # nothing is left but to print
    with status("reading questions and predictions", quiet=quiet):
        scored = collect(args.runs, args.predictions, **asked, **args.part(), scoring=args.scoring, rule=args.rule)
    seen = _from_training(args, scored, quiet=quiet) if args.baselines else None
    classes = dict(seen.classes) if seen else {}
    classes |= {kind.replace("-", " "): KINDS[kind](scored.questions) for kind in args.by}
    with status("scoring", quiet=quiet):
        table = result_table(
            scored.systems,
            scored.questions,
            title=scored.title,
            intervals=args.resample if args.intervals else None,
            published=args.published,
            margin=args.margin,
            baselines=seen.baselines if seen else None,
            classes=classes,
        )
    for each in () if quiet else scored.data.skipped:  # the title only counts them
        print(printable(f"{NAME}: left out: {each.where}: {each.reason}"), file=sys.stderr)
    controls: tuple[Controls, ...] = ()
    if args.controls or (args.report and args.sample is None and not args.allow_missing):
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
            write_report(scored, args.report, controls=controls, seen=seen)


def _from_training(args: Settings, scored: Scored, *, quiet: bool) -> Lookups:
    """Look up in the training split: baselines without a language model, and classes of what training shows already."""
    from mmadapter.experiment.lookups import look_up
    from mmadapter.runs.folder import RunFolder

    if not scored.train:
        raise UserError("--baselines looks questions up in the training split: this data set has none at hand")
    towers = {(c.clip, c.scales): None for run in args.runs if (c := RunFolder(run).config).variant != "text"}
    if args.tower:
        towers = {(args.tower, PRESETS["small"].scales): None}
    features = None
    if towers:
        from mmadapter.experiment.features import tower_features  # torch takes seconds

        features = tower_features(*next(iter(towers)), scored.data, scored.train, quiet=quiet)
    return look_up(scored.data, scored.train, features)
