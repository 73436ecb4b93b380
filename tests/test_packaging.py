"""The wheel carries all that the package needs without the clone."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("mmadapter-*.whl")
    return path


def test_the_wheel_holds_the_package_and_the_embedded_backbones(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    own = [path for path in (ROOT / "mmadapter").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    modules = {str(path.relative_to(ROOT)) for path in own}
    assets = {f"mmadapter/{path.relative_to(ROOT)}" for path in (ROOT / "assets").rglob("*") if path.is_file()}
    assert modules <= names
    assert assets <= names
    assert not [name for name in names if name.startswith(("tests", "eval", "benchmarks"))]


def test_the_installed_wheel_finds_them_without_the_clone(wheel, tmp_path):
    """Unpacked elsewhere, imported from there."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = (
        "import mmadapter\n"
        "from mmadapter.backbone.loading import load_llm\n"
        "from mmadapter.evaluation.accuracy import published_rows\n"
        "from mmadapter.storage.paths import embedded\n"
        "print(mmadapter.__file__, embedded('tiny-clip'), len(published_rows()), len(load_llm('tiny-llama').layers))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert Path(printed[0]).is_relative_to(tmp_path)
    assert Path(printed[1]).is_relative_to(tmp_path)
    assert printed[2:] == ["17", "4"]


def test_the_embedded_backbones_are_small():
    """25 MB for the tiny ones, 10 more for EfficientNet-Lite0."""

    def size(*names: str) -> int:
        return sum(path.stat().st_size for name in names for path in (ROOT / "assets" / name).rglob("*"))

    assert size("tiny-llama", "tiny-clip") < 25e6
    assert size("efficientnet-lite0") < 10e6
