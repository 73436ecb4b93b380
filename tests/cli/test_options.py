"""A flag for each field of some settings."""

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
