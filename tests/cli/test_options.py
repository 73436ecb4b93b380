"""A flag for each field of some settings."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmadapter.cli.options import program


@dataclass(frozen=True)
class Settings:
    """Some settings."""

    folders: tuple[Path, ...] = ()
    """Some."""
    seeds: tuple[int, ...] = (0, 1)
    """Some."""
    rounds: int = 2
    """How many."""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], Settings()),
        (["--folders", "a", "b", "--rounds", "3"], Settings((Path("a"), Path("b")), rounds=3)),
        (["--seeds", "7"], Settings(seeds=(7,))),
    ],
)
def test_several_values_stand_after_their_flag(given, expected, monkeypatch):
    taken = []

    def main(settings):
        taken.append(settings)

    monkeypatch.setattr(sys, "argv", ["benchmark", *given])
    with pytest.raises(SystemExit) as ended:
        program(main, Settings)
    assert (ended.value.code, taken) == (0, [expected])


@pytest.mark.parametrize(
    ("closed", "environment", "code"),
    [("", {"PYTHONIOENCODING": "ascii"}, 0), (">&-", {}, 0), (">&- 2>&-", {}, 0), ("", {"WORLD_SIZE": "2"}, 2)],
)
def test_surroundings_are_no_bug(closed, environment, code):
    """A terminal of few characters, no output at all, what a launcher left behind."""
    program = (
        "import sys; from mmadapter.cli.common import run_command;"
        "sys.exit(run_command('c', lambda: print('\u2500 done')))"
    )
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {closed}', sys.executable, program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert "bug" not in done.stderr
    if not closed and not code:
        assert done.stdout == "? done\n"
    if code:
        assert "WORLD_SIZE is 2 in the environment, but RANK and MASTER_ADDR and MASTER_PORT are not" in done.stderr
