"""mmadapter-train: from data to a run's folder and its table."""

from __future__ import annotations

import ast
import inspect
import sys
from argparse import BooleanOptionalAction
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

from mmadapter.cli.common import command_parser, parse, run_command, wants_debug
from mmadapter.config.presets import PRESET_NEEDS, PRESETS, preset_config
from mmadapter.config.settings import InputFormat, Recipe, RunConfig
from mmadapter.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

NAME = "mmadapter-train"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run_command(NAME, lambda: _train(argv), debug=wants_debug(argv))


def _train(argv: Sequence[str] | None) -> int:
    parser = _parser()
    config, args = _configuration(parser, argv)
    from mmadapter.config.files import config_yaml

    if args.print_config:
        if config.llm == PRESETS[config.preset].llm:
            print(f"# {config.preset}, as it stands: {PRESET_NEEDS[config.preset]}")
        print(config_yaml(config), end="")
        return 0
    from mmadapter.evaluation.grid import Grid, format_grid
    from mmadapter.evaluation.render import render
    from mmadapter.experiment.run import run_experiment
    from mmadapter.runs.folder import RunFolder

    try:
        table = run_experiment(config, quiet=args.quiet)
    except KeyboardInterrupt as error:
        begun = RunFolder(config.folder).config_file.exists()  # not before all images are encoded
        command = f"`{NAME} --resume --output-dir {config.folder}`" if begun else "the same command"
        raise KeyboardInterrupt(f"interrupted; {command} goes on from here") from error
    if table is not None:
        show = partial(format_grid, table, "table") if isinstance(table, Grid) else partial(render, table)
        sys.stdout.write(show(terminal=sys.stdout.isatty()))
        print(f"Run: {config.folder}")
    return 0


def _configuration(parser: ArgumentParser, argv: Sequence[str] | None):
    """The preset's settings, over them the file's of `--config` or `--resume`, over them the command line's."""
    from mmadapter.config.files import read_settings
    from mmadapter.runs.folder import RunFolder

    given = vars(parse(parser, argv))
    file = given["config"]
    if given["resume"] and file is None:
        if given["output_dir"] is None:
            raise UserError("--resume needs --output-dir, the folder of the run to go on with")
        file = RunFolder(given["output_dir"]).config_file
    from_file = read_settings(file) if file else {}
    preset, dataset, llm = (given[name] or from_file.get(name) for name in ("preset", "dataset", "llm"))
    base = preset_config(preset, dataset)
    if llm not in (None, base.llm):
        base = replace(base, adapter_layers=None)  # keep the share of the depth, not the number
    parser.set_defaults(asdict(base))
    args = parse(parser, [*_as_arguments(from_file), *(sys.argv[1:] if argv is None else argv)])
    values = {field.name: getattr(args, field.name) for field in fields(RunConfig)}
    config = RunConfig(**{**values, "data_dir": tuple(Path(folder) for folder in args.data_dir)})
    return replace(config, output_dir=config.folder), args


def _as_arguments(settings: dict) -> list[str]:
    """A file's settings as if they stood on the command line, where they are checked."""
    arguments = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif value not in (None, []):
            arguments += [f"--{flag}", *map(str, value if isinstance(value, list) else [value])]
    return arguments


def _parser() -> ArgumentParser:
    parser = command_parser(
        NAME,
        "Trains a LLaMA-Adapter and its text-only baseline on a frozen language model and image tower, "
        "and prints the paper's table. A setting that is not given is the preset's: --print-config shows them.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE.yaml", help="settings, over the preset's")
    parser.add_argument("--print-config", action="store_true", help="print every setting and its value, and stop")
    hints = get_type_hints(RunConfig)
    for title, kind in (("what to run", RunConfig), ("the prompt", InputFormat), ("training", Recipe)):
        group = parser.add_argument_group(title)
        for name, text in _field_texts(kind).items():
            flag, hint = "--" + name.replace("_", "-"), hints[name]
            if hint is bool:
                group.add_argument(flag, action=BooleanOptionalAction, help=text)
            elif name == "data_dir":
                group.add_argument(flag, nargs="+", metavar="DIR", help=text)
            elif get_origin(hint) is Literal:
                group.add_argument(flag, choices=get_args(hint), help=text)
            else:
                kind = next(part for part in (*get_args(hint), hint) if part is not NoneType)
                group.add_argument(flag, type=kind, metavar=kind.__name__.upper(), help=text)
    return parser


def _field_texts(kind: type) -> dict[str, str]:
    """What stands under each field of a dataclass, in the class' order."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        node.target.id: str(below.value.value)
        for node, below in pairwise(definition.body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }
