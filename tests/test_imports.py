"""Imports point one way, module by module, and what only prints help imports nothing heavy."""

import subprocess
import sys

import pytest

from tests.house import ROOT, cycle, imports, module_files, room

ORDER = (
    *("errors", "storage", "config"),
    *("scienceqa", "instructions", "data"),
    *("evaluation", "runs"),
    *("vision", "adapter", "backbone", "model"),
    *("inference", "controls", "training", "experiment"),
    *("report", "interchange", "cli"),
)
"""The rooms, each above all that it may import."""
ENTRIES = 20
"""At most, in the package's folder: what a reader can take in at a glance."""
WITHOUT_TORCH = ("errors", "storage.files", "config", "scienceqa", "data", "evaluation", "runs", "report")
"""What reads, scores and shows predictions needs no model."""
IMPORTS = imports(ROOT)


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_a_module_imports_from_its_own_room_and_those_below(module):
    if not room(module):
        return  # `mmadapter` itself names every public thing
    rank = ORDER.index(room(module))
    assert [target for target in sorted(IMPORTS[module]) if not room(target) or ORDER.index(room(target)) > rank] == []


def test_no_module_is_in_a_cycle():
    graph = {module: targets for module, targets in IMPORTS.items() if room(module)}
    assert cycle(graph) == []


def test_a_cycle_would_be_found():
    assert set(cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_the_folder_can_be_read_at_a_glance():
    rooms = {room(module) for module in module_files(ROOT)} - {""}
    assert rooms == set(ORDER)
    assert len(rooms) <= ENTRIES


def test_evaluation_never_meets_torch():
    """Lazy imports included: everything that its modules can reach is imported, and torch is not among it."""
    reached, left = set(), {module for module in IMPORTS if module.removeprefix("mmadapter.").startswith(WITHOUT_TORCH)}
    while left:
        module = left.pop()
        reached.add(module)
        left |= IMPORTS[module] - reached
    script = f"import importlib, sys\nfor name in {sorted(reached)}: importlib.import_module(name)\n"
    script += "print(sorted({'torch', 'transformers', 'accelerate'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


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
