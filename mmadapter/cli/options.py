"""A command line from a dataclass: a flag for each field, its help from the text under the field."""

from __future__ import annotations

import ast
import inspect
import sys
from argparse import BooleanOptionalAction
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from mmadapter.cli.common import command_parser, parse, run_command, wants_debug
from mmadapter.scienceqa.resplit import Resplitting

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

Settings = TypeVar("Settings")


def option(metavar: str, *, positional: bool = False, **default: Any) -> Any:
    """Return a field whose value the help calls `metavar`; a positional one has no flag."""
    return field(metadata={"metavar": metavar, "positional": positional}, **default)


@dataclass(frozen=True, kw_only=True)
class CommandSettings:
    """The flags of every installed command."""

    quiet: bool = False
    """Print nothing but errors on stderr."""


@dataclass(frozen=True, kw_only=True)
class QuestionSettings(CommandSettings):
    """The flags that choose the questions to score."""

    dataset: Literal["demo", "scienceqa"] | None = None
    """Data set. Default: the run's."""
    data_dir: tuple[Path, ...] = option("DIR", default=())
    """Folders with the data; the first that holds a problem wins. Default: the run's."""
    resplit: Resplitting | None = None
    """ScienceQA's own split, or one in which training has no wording of val and test. Default: the run's."""
    split: str | None = option("NAME", default=None)
    """Split. Default: the run's, or test."""

    allow_missing: bool = False
    """Score what is there where prediction files lack some questions: those that all systems answer."""
    sample: int | None = option("N", default=None)
    """Score N of the questions, drawn at random."""
    seed: int = 0
    """Seed of --sample. Default: 0."""

    def questions(self) -> dict[str, Any]:
        """Return the arguments of `collect` and `ask_missing` that name the split."""
        return {
            "dataset": self.dataset,
            "data_dir": self.data_dir or None,
            "resplit": self.resplit,
            "split": self.split,
        }

    def part(self) -> dict[str, Any]:
        """Return the arguments of `collect` that name the questions in the split."""
        return {"allow_missing": self.allow_missing, "sample": self.sample, "seed": self.seed}


def command(
    name: str, about: str, settings: type[Settings], body: Callable[[Settings], int | None], argv: Sequence[str] | None
) -> int:
    """Run a command: flags for all settings, mistakes in a line or two.

    Args:
        name, about: what opens messages, and the help.
        settings: a dataclass. A field without a default is required.
        body: does the work and returns the exit code; None means 0.
        argv: the arguments; by default the process's own.

    Returns:
        The exit code: 0, 1 or 2.
    """

    def run() -> int | None:
        parser = command_parser(name, about)
        add_options(parser, settings, defaults=True)
        return body(settings(**values_of(settings, vars(parse(parser, argv)))))

    return run_command(name, run, debug=wants_debug(argv))


def program(main: Callable[[Settings], int | None], settings: type[Settings]) -> None:
    """Run `python -m MODULE` as a command; the docstring of main's module opens the help."""
    module = sys.modules[main.__module__]
    assert module.__spec__ is not None
    about = (module.__doc__ or "").partition("\n")[0]
    sys.exit(command(f"python -m {module.__spec__.name}", about, settings, main, None))


def add_options(parser: ArgumentParser, settings: type, groups: Sequence[str] = (), *, defaults: bool = False) -> None:
    """Add a flag for each field of a dataclass.

    A bool becomes `--name` and `--no-name`, a Literal its choices, a tuple several values after one flag.

    Args:
        groups: headings of the help, in order; each base class names its own in `group`. None without any.
        defaults: a flag that is not given has the field's default, and a bool that is off has no `--no-name`. Without,
            it has None: something else decides.
    """
    hints, headings = get_type_hints(settings), {}
    for title in groups:
        headings[title] = parser.add_argument_group(title)
    known = {each.name: each for each in fields(settings)}
    for kind in reversed(settings.__mro__[:-1]):
        place = headings.get(getattr(kind, "group", ""), parser)
        for name, text in _field_texts(kind).items():
            named, how = _value(name, hints[name], known[name])
            if defaults and known[name].default is not MISSING:
                default = known[name].default
                how["default"] = [*default] if isinstance(default, tuple) else default
                if default is False:
                    how["action"] = "store_true"
            elif defaults and not known[name].metadata.get("positional"):
                how["required"] = True
            place.add_argument(named, help=text, **how)


def values_of(settings: type, given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields' values among the parsed arguments, lists as tuples."""
    values = {each.name: given[each.name] for each in fields(settings)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _value(name: str, hint: Any, known: Field[Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of a field's argument, and how its values are read."""
    positional = known.metadata.get("positional", False)
    if hint is bool:
        how: dict[str, Any] = {"action": BooleanOptionalAction}
    else:
        several = get_origin(hint) is tuple
        each = get_args(hint)[0] if several else next(h for h in (*get_args(hint), hint) if h is not NoneType)
        each = hint if get_origin(hint) is Literal else each
        if get_origin(each) is Literal:
            how = {"choices": get_args(each)}
        else:
            how = {"type": each, "metavar": known.metadata.get("metavar") or _metavar(name, each)}
        if several:
            how["nargs"] = "*" if positional and known.default is not MISSING else "+"
    return name if positional else "--" + name.replace("_", "-"), how


def _metavar(name: str, kind: type) -> str:
    return "DIR" if name.endswith("dir") else kind.__name__.upper()


def _field_texts(kind: type) -> dict[str, str]:
    """Return the text under each field that a dataclass defines itself, in order."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        node.target.id: str(below.value.value)
        for node, below in pairwise(definition.body)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }
