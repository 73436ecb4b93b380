"""Follow the README as a new user would: unpack the source archive, install without pins, train the demo elsewhere.

    python -m tests.docs.first_hour                   # the whole demo, as README.md has it
    python -m tests.docs.first_hour --problems 64     # CI: a few problems, then the tests of the seam to transformers

Prints each command before it runs, and the seconds it took.
"""

import os
import shlex
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mmadapter.cli.options import program
from tests.docs.pages import INSTALLING, ROOT, commands

SEAM = ["tests/backbone/test_families.py", "tests/backbone/test_decoder.py"]
"""They hold every family of decoders against the equations, with whatever transformers was installed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to follow."""

    problems: int = 0
    """Train on the first problems only, and run the seam's tests. Default: the whole demo, and no tests."""
    python: str = sys.executable
    """The python3 of the README."""


def main(settings: Settings) -> None:
    """Run every step; a failing one ends it."""
    demo = [command for command in commands("README.md") if "runs/demo" in command]
    assert set(INSTALLING) <= set(commands("README.md"))
    with TemporaryDirectory(prefix="mmadapter-") as folder:
        clone, elsewhere = _unpacked(Path(folder)), Path(folder, "elsewhere")
        elsewhere.mkdir()
        activated = ""
        for command in INSTALLING:
            if command.startswith(". "):
                activated = f". {clone}/.venv/bin/activate && "
                continue
            _run(command.replace("python3", shlex.quote(settings.python), 1), clone, activated)
        for command in demo:
            few = (
                f" --limit {settings.problems} --epochs 1" if settings.problems and "mmadapter-train" in command else ""
            )
            _run(command + few, elsewhere, activated)
        if settings.problems:
            _run("pip install beartype hypothesis pytest pytest-timeout", clone, activated)
            _run(f"OMP_NUM_THREADS=1 python -m pytest {' '.join(SEAM)}", ROOT, activated)
        _run("pip freeze", clone, activated)


def _unpacked(folder: Path) -> Path:
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


def _run(command: str, folder: Path, activated: str) -> None:
    print(f"$ {command}", flush=True)
    start = time.monotonic()
    subprocess.run(["bash", "-c", activated + command], cwd=folder, check=True, env=os.environ | {"PIP_QUIET": "1"})
    print(f"[{time.monotonic() - start:.0f} s]\n", flush=True)


if __name__ == "__main__":
    program(main, Settings)
