"""Imports point one way, and what only prints help imports nothing heavy."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mmadapter"

BASE = {"errors", "paths", "files", "tensors", "untrusted"}
"""Anyone may import them; they import nothing of ours but each other."""

MAY_IMPORT = {
    "errors": set(),
    "paths": set(),
    "files": set(),
    "tensors": set(),
    "untrusted": set(),
    "progress": set(),
    "processes": set(),
    "hub": set(),
    "weights": set(),
    "config": set(),
    "settings": {"config"},
    "demo": {"scienceqa"},
    "instructions": {"demo", "scienceqa"},
    "scienceqa": {"demo", "instructions"},  # generates and reads them where they are asked for, in one place: load.py
    "vision": {"hub"},
    "adapter": set(),
    "meta": set(),
    "backbone": {"adapter", "hub", "meta", "weights"},
    "sharding": {"backbone"},
    "offloading": {"backbone"},
    "frozen": {"backbone", "offloading", "sharding"},
    "encoding": {"backbone", "config", "instructions", "scienceqa"},
    "decoder": {"adapter"},
    "memory": {"adapter", "backbone", "config"},
    "model": {"adapter", "backbone", "config", "decoder", "hub", "vision"},
    "adapters": {"adapter", "backbone", "model"},
    "features": {"config", "progress", "scienceqa", "vision"},
    "generation": {"backbone"},
    "scoring": {"adapter", "encoding", "features", "model"},
    "activations": {"encoding", "model", "progress", "scoring"},
    "training": {
        "activations",
        "adapter",
        "config",
        "encoding",
        "features",
        "model",
        "processes",
        "progress",
        "scienceqa",
        "scoring",
    },
    "evaluation": {
        *("activations", "adapter", "backbone", "config", "encoding", "features", "frozen", "generation"),
        *("instructions", "model"),
        *("processes", "progress", "scienceqa", "scoring", "settings", "vision"),
    },
    "report": {"adapter", "config", "evaluation", "scienceqa", "settings", "vision"},
    "card": {"adapter", "config", "model", "settings"},
    "experiment": {
        *("backbone", "card", "config", "encoding", "evaluation", "features", "frozen", "memory", "model"),
        *("scienceqa", "settings", "sharding", "training", "vision"),
    },
    "interchange": {"adapter", "backbone", "config", "hub"},
    "speaker": {"adapter", "encoding", "features", "generation", "model", "scienceqa", "scoring"},
    "cli": {
        *("config", "evaluation", "experiment", "interchange", "processes", "report", "settings", "speaker"),
        *("training",),
    },
}
"""By room: the rooms that its files import, beside the base and themselves."""


def room(module: str) -> str:
    return module.split(".")[1]


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mmadapter"):
            names = [node.module] if "." in node.module else [f"mmadapter.{alias.name}" for alias in node.names]
            found |= set(names)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("mmadapter.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return  # names every public thing
    allowed = MAY_IMPORT[own] | BASE | {own}
    wrong = sorted(module for module in imported_modules(path) if room(module) not in allowed)
    assert not wrong


def test_no_room_is_in_a_circle():
    """`scienceqa` loads demos and instructions, which are written as its problems: the one exception, in one file."""
    edges = {name: set(targets) for name, targets in MAY_IMPORT.items()}
    edges["scienceqa"] -= {"demo", "instructions"}
    while leaves := [name for name, targets in edges.items() if not targets]:
        for leaf in leaves:
            del edges[leaf]
        edges = {name: targets - set(leaves) for name, targets in edges.items()}
    assert not edges
    users = [
        path.name
        for path in (PACKAGE / "scienceqa").glob("*.py")
        if re.search("mmadapter.(demo|instructions)", path.read_text())
    ]
    assert users == ["load.py"]


@pytest.mark.parametrize("command", ["train", "eval", "errors", "convert", "generate"])
def test_help_imports_nothing_heavy(command):
    script = (
        f"import sys; from mmadapter.cli.{command} import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'pandas', 'open_clip', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"
    assert "usage: mmadapter-" in printed
