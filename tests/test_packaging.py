"""What is released: the wheel carries all that the package needs without the clone, the source archive all of it."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import get_args

import pytest
import yaml

from mmadapter.config.settings import Tracker
from mmadapter.errors import UserError, require

ROOT = Path(__file__).parent.parent


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """A source archive, and the wheel made of it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def wheel(dist) -> Path:
    (path,) = dist.glob("mmadapter-*.whl")
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


def test_the_index_would_take_both_archives(dist):
    files = sorted(str(path) for path in dist.iterdir())
    assert len(files) == 2
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert checked.stdout.count("PASSED") == 2, checked.stdout + checked.stderr


def test_the_source_archive_holds_what_the_readme_installs_with(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "constraints.txt", "mmadapter/py.typed"} <= names


def test_every_asset_has_a_licence(wheel):
    licences = {name.partition("licenses/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    for asset in (ROOT / "assets").iterdir():
        if asset.is_dir() or asset.suffix == ".zip":
            name = f"{asset.name}/LICENSE" if asset.is_dir() else f"{asset.stem}.LICENSE"
            assert f"assets/{name}" in licences


def test_the_version_is_the_projects_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert f"## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_a_missing_extra_is_named_with_the_command_that_installs_it():
    with pytest.raises(UserError, match=r"--track: needs no_such_package: pip install 'mmadapter\[bench\]'"):
        require("no_such_package", extra="bench", what="--track")
    asked = [(name, name) for name in get_args(Tracker)]
    asked += [
        (package, extra)
        for path in (ROOT / "mmadapter").rglob("*.py")
        for call in re.findall(r"require\((.*?), what=", path.read_text(encoding="utf-8"))
        if (names := re.findall(r'"(\w+)"', call))
        for *packages, extra in [names]
        for package in packages
    ]
    assert {("bitsandbytes", "quantise"), ("tensorboard", "tensorboard"), ("tiktoken", "meta")} <= set(asked)
    for package, extra in asked:
        assert any(need.startswith(package) for need in PROJECT["optional-dependencies"][extra])


def test_workflows_and_ci_call_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    (workflow,) = (ROOT / ".github" / "workflows").glob("*.yml")
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    steps = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    steps += [hook["entry"] for hook in hooks] + re.findall(r"^make [a-z-]+", (ROOT / ".ci/run").read_text(), re.M)
    assert {"make test", "make test-install", "make lint"} <= set(steps)
    assert {step.removeprefix("make ") for step in steps} <= targets
    versions = next(job["strategy"]["matrix"]["python"] for job in jobs if "strategy" in job)
    assert versions == [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python ::" in line]
