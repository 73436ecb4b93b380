"""The command line of a benchmark: a flag for each field of its settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar, get_args, get_origin, get_type_hints

from docstring_parser import parse_from_object

from mmadapter.cli.common import command_parser, parse, run_command, wants_debug

Settings = TypeVar("Settings")


def command(main: Callable[[Settings], None], settings: type[Settings]) -> None:
    """Run a benchmark as a program: `--help`, its mistakes told in a line or two, exit codes 0, 1 and 2."""
    module = sys.modules[main.__module__]
    name = f"python -m {module.__spec__.name}"

    def body() -> None:
        parser = command_parser(name, module.__doc__.splitlines()[0])
        hints = get_type_hints(settings)
        texts = {
            field.arg_name: field.description
            for kind in settings.__mro__[:-1]
            for field in parse_from_object(kind).params
        }
        for field in fields(settings):
            flag, hint, told = "--" + field.name.replace("_", "-"), hints[field.name], texts[field.name]
            if get_origin(hint) is tuple:  # --seeds 0 1 2
                each = get_args(hint)[0]
                parser.add_argument(flag, type=each, nargs="+", default=[*field.default], help=told)
            else:
                parser.add_argument(flag, type=hint, default=field.default, help=told)
        given = vars(parse(parser, None))
        values = {field.name: given[field.name] for field in fields(settings)}
        main(settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}))

    sys.exit(run_command(name, body, debug=wants_debug(None)))
