"""mmadapter-train: train on a data set, and print the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmadapter.cli.common import command_parser, parse, run_command, wants_debug
from mmadapter.cli.options import CommandSettings, add_options, option, values_of
from mmadapter.config.presets import PRESET_NEEDS, PRESETS, preset_config
from mmadapter.config.settings import RunConfig
from mmadapter.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

NAME = "mmadapter-train"
GROUPS = ("data", "model", "adapter", "recipe", "placement", "evaluation", "run")


@dataclass(frozen=True, kw_only=True)
class Settings(CommandSettings):
    """The command's own flags, beside those of a `RunConfig`."""

    config: Path | None = option("FILE.yaml", default=None)
    """Settings that override the preset's."""
    print_config: bool = False
    """Print every setting with its value, and stop."""
    dry_run: bool = False
    """Print what the run is going to do and need, and stop before the language model is loaded."""
    resume: bool = False
    """Go on with the run in the output folder."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(NAME, lambda: _train(argv), debug=wants_debug(argv))


def _train(argv: Sequence[str] | None) -> int:
    args = vars(parse(_parser(), argv))
    config = _configuration(args)
    from mmadapter.config.files import config_yaml

    if args["print_config"]:
        if config.llm == PRESETS[config.preset].llm:
            print(f"# {config.preset}, as it stands: {PRESET_NEEDS[config.preset]}")
        print(config_yaml(config), end="")
        return 0
    if args["dry_run"]:
        from mmadapter.experiment.plan import make_plan
        from mmadapter.experiment.prepare import prepare

        print(make_plan(prepare(config, resume=args["resume"])))
        return 0
    from mmadapter.evaluation.grid import Grid, format_grid
    from mmadapter.evaluation.render import render
    from mmadapter.experiment.run import run_experiment
    from mmadapter.runs.folder import RunFolder

    try:
        table = run_experiment(config, resume=args["resume"], quiet=args["quiet"])
    except KeyboardInterrupt as error:
        begun = RunFolder(config.folder).config_file.exists()  # not before all images are encoded
        command = f"`{NAME} --resume --output-dir {config.folder}`" if begun else "the same command"
        raise KeyboardInterrupt(f"interrupted; {command} goes on from here") from error
    if table is not None:
        show = partial(format_grid, table, "table") if isinstance(table, Grid) else partial(render, table)
        sys.stdout.write(show(terminal=sys.stdout.isatty()))
        print(f"Run: {config.folder}")
    return 0


def _configuration(args: dict[str, Any]) -> RunConfig:
    """The preset's settings, over them the file's of `--config` or `--resume`, over them the command line's."""
    from mmadapter.config.files import read_settings
    from mmadapter.runs.folder import RunFolder

    file = args["config"]
    if args["resume"] and file is None:
        if args["output_dir"] is None:
            raise UserError("--resume needs --output-dir, the folder of the run to go on with")
        file = RunFolder(args["output_dir"]).config_file
    given = {name: value for name, value in values_of(RunConfig, args).items() if value is not None}
    saved = read_settings(file) if file else {}
    settings = saved | given
    base = preset_config(settings.get("preset"), settings.get("dataset"))
    if settings.get("llm", base.llm) != base.llm:
        base = replace(base, adapter_layers=None)  # keep the share of the depth, not the number
    try:
        config = replace(base, **settings)
    except UserError as error:
        name = str(error).partition(" is ")[0]
        where = f"{file}: " if name in saved.keys() - given.keys() else ""
        raise UserError(f"{where}{error}") from error
    return replace(config, output_dir=config.folder)


def _parser() -> ArgumentParser:
    parser = command_parser(
        NAME,
        "Train a LLaMA-Adapter and its text-only baseline on a frozen language model and image tower, and print the "
        "paper's table. A setting that is not given has the preset's value: --print-config shows all.",
        usage=f"{NAME} [--dataset NAME] [--data-dir DIR ...] [--preset NAME] [SETTINGS]",
    )
    add_options(parser, Settings, defaults=True)
    add_options(parser, RunConfig, GROUPS)
    return parser
