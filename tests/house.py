"""The package's structure in figures: rooms, the imports between them, cycles, lines of code.

    python -m tests.house                  # this clone
    python -m tests.house ../before        # another one, an earlier commit's for instance

A room is a folder or a module at the root of the package. Imports are read from the syntax tree: those inside
functions and those for type checkers count like all others.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "mmadapter"
ROOT = Path(__file__).parent.parent

Imports = dict[str, set[str]]
"""Module to the modules of ours that it imports, both by dotted name."""


def module_files(root: Path) -> dict[str, Path]:
    """Every module of the package below `root`, by dotted name; a package's is its `__init__.py`."""
    files = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        files[".".join(parts).removesuffix(".__init__")] = path
    return files


def imports(root: Path) -> Imports:
    """What each module of the package imports of it, lazily or not."""
    files = module_files(root)
    found: Imports = {}
    for module, path in files.items():
        found[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found[module] |= {name if name in files else node.module for name in names} & files.keys()
            elif isinstance(node, ast.Import):
                found[module] |= {alias.name for alias in node.names} & files.keys()
    return found


def room(module: str) -> str:
    """The room of a module; the package's own `__init__` is none and has an empty name."""
    return module.partition(".")[2].partition(".")[0]


def room_imports(root: Path) -> Counter[tuple[str, str]]:
    """How many modules of one room import how many of another, by pair of rooms."""
    return Counter(
        (room(module), room(target))
        for module, targets in imports(root).items()
        for target in targets
        if room(module) and room(target) and room(module) != room(target)
    )


def cycle(graph: Imports) -> list[str]:
    """One cycle of imports, the first module again at its end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def code_lines(path: Path) -> int:
    """Lines that hold code: neither blank nor comment nor docstring."""
    source = path.read_text(encoding="utf-8")
    texts = {
        number
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for number in range(node.lineno, node.end_lineno + 1)
    }
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines = {
        number
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in layout
        for number in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - texts)


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    files = module_files(root)
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in files.items()}
    code = {module: code_lines(path) for module, path in files.items()}
    between = room_imports(root)
    longest = max(lines, key=lines.__getitem__)
    rooms = sorted({room(module) for module in files} - {""})
    print(f"rooms at the root                {len(rooms)}")
    print(f"imports between rooms            {between.total()} of modules, {len(between)} pairs of rooms")
    print(f"a cycle of modules               {' -> '.join(cycle(imports(root))) or 'none'}")
    print(f"longest module                   {longest}, {lines[longest]} lines")
    print(f"lines, and lines of code         {sum(lines.values())}, {sum(code.values())}\n")
    for name in rooms:
        own = [module for module in files if room(module) == name]
        print(f"{name:16}{len(own):4} modules{sum(lines[m] for m in own):7} lines{sum(code[m] for m in own):7} of code")


if __name__ == "__main__":
    main()
