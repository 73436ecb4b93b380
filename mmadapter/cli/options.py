"""A command line from a dataclass: a flag for each field, its help from the text under the field."""

from __future__ import annotations

import ast
import inspect
import sys
from argparse import BooleanOptionalAction
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from itertools import pairwise
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from mmadapter.cli.common import command_parser, parse, run_command, wants_debug

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

Settings = TypeVar("Settings")


def program(main: Callable[[Settings], object], settings: type[Settings]) -> None:
    """Run `python -m MODULE` as a command: flags for all settings, mistakes in a line or two, exit codes 0, 1 and 2.

    Args:
        main: does the work; the docstring of its module opens the help.
        settings: a dataclass whose fields all have defaults.
    """
    module = sys.modules[main.__module__]
    assert module.__spec__ is not None
    name, about = f"python -m {module.__spec__.name}", (module.__doc__ or "").partition("\n")[0]

    def body() -> None:
        parser = command_parser(name, about)
        add_options(parser, settings)
        parser.set_defaults({field.name: _default(field) for field in fields(settings)})  # type: ignore[arg-type]
        main(settings(**values_of(settings, vars(parse(parser, None)))))

    sys.exit(run_command(name, body, debug=wants_debug(None)))


def add_options(parser: ArgumentParser, settings: type, groups: Sequence[str] = ()) -> None:
    """Add a flag for each field of a dataclass, without a default.

    A bool becomes `--name` and `--no-name`, a Literal its choices, a tuple several values after one flag.

    Args:
        groups: headings of the help, in order; each base class names its own in `group`. None without any.
    """
    hints, headings = get_type_hints(settings), {}
    for title in groups:
        headings[title] = parser.add_argument_group(title)
    for kind in reversed(settings.__mro__[:-1]):
        place = headings.get(getattr(kind, "group", ""), parser)
        for name, text in _field_texts(kind).items():
            flag, hint = "--" + name.replace("_", "-"), hints[name]
            if hint is bool:
                place.add_argument(flag, action=BooleanOptionalAction, help=text)
            elif get_origin(hint) is tuple:
                each = get_args(hint)[0]
                place.add_argument(flag, nargs="+", type=each, metavar=_metavar(name, each), help=text)
            elif get_origin(hint) is Literal:
                place.add_argument(flag, choices=get_args(hint), help=text)
            else:
                each = next(part for part in (*get_args(hint), hint) if part is not NoneType)
                place.add_argument(flag, type=each, metavar=_metavar(name, each), help=text)


def values_of(settings: type, given: dict[str, Any]) -> dict[str, Any]:
    """The fields' values among the parsed arguments, lists as tuples."""
    values = {field.name: given[field.name] for field in fields(settings)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _metavar(name: str, kind: type) -> str:
    return "DIR" if name.endswith("dir") else kind.__name__.upper()


def _default(field: Any) -> Any:
    assert field.default is not MISSING, f"{field.name} has no default"
    return [*field.default] if isinstance(field.default, tuple) else field.default


def _field_texts(kind: type) -> dict[str, str]:
    """The text under each field that a dataclass defines itself, in order."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        node.target.id: str(below.value.value)
        for node, below in pairwise(definition.body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }
