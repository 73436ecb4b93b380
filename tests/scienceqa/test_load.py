"""Which reader, which folder first, and what happens where there is nothing to read."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import mmadapter.data
from mmadapter.data import DEMO_FOLDER, load_dataset
from mmadapter.errors import UserError
from mmadapter.storage.locks import LOCK_FILE


def test_each_folder_has_its_own_form(tmp_path, record, write_layout, write_parquet):
    write_layout(tmp_path / "layout", {"8": record()})
    write_parquet(tmp_path / "hub", {"9": record()})
    data = load_dataset("scienceqa", [tmp_path / "layout", str(tmp_path / "hub")])
    assert list(data.problems) == ["8", "train-0"]
    assert data.splits["train"] == ("8", "train-0")
    assert list(load_dataset("scienceqa", str(tmp_path / "hub")).problems) == ["train-0"]


def test_the_first_folder_that_holds_a_pid_wins(tmp_path, record, write_layout):
    first = {"3": record(hint="first"), "1": record(hint="first")}
    second = {"1": record(hint="second"), "2": record(hint="second"), "3": record(hint="second")}
    write_layout(tmp_path / "a", first, splits={"train": ["3", "1"], "minitrain": ["1"]})
    write_layout(tmp_path / "b", second, splits={"train": ["1", "2", "3"], "minitrain": ["3"], "own": ["2"]})
    data = load_dataset("scienceqa", [tmp_path / "a", tmp_path / "b"])
    assert {pid: problem.hint for pid, problem in data.problems.items()} == {
        "3": "first",
        "1": "first",
        "2": "second",
    }
    assert data.splits == {"train": ("3", "1", "2"), "minitrain": ("1", "3"), "own": ("2",)}


def test_a_pid_in_two_splits_of_two_folders(tmp_path, record, write_layout):
    write_layout(tmp_path / "a", {"1": record(), "2": record()})
    write_layout(tmp_path / "b", {"1": record(split="test")})
    folders = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(UserError, match=r"b: pid 1: split: is test here, but train in .*a"):
        load_dataset("scienceqa", folders)
    data = load_dataset("scienceqa", folders, on_error="skip")
    assert data.splits == {"train": ("2",), "val": (), "test": ()}
    assert len(data.skipped) == 1


def test_what_is_skipped_in_one_folder_is_counted_and_taken_from_the_next(tmp_path, record, write_layout):
    write_layout(tmp_path / "a", {"1": record(answer=9)}, splits={"train": ["1"]})
    write_layout(tmp_path / "b", {"1": record()})
    data = load_dataset("scienceqa", [tmp_path / "a", tmp_path / "b"], on_error="skip")
    assert data.problems["1"].answer == 1
    assert [skipped.reason for skipped in data.skipped] == ["is 9, the 3 choices count from 0 to 2"]
    assert data["train"].skipped == ()  # which lacks nothing


def test_no_such_data_set():
    with pytest.raises(UserError, match="no data set 'vqa': choose demo or scienceqa"):
        load_dataset("vqa")


def test_nothing_there(tmp_path):
    for folder, found in [(tmp_path, "no problems.json"), (tmp_path / "x", "no such folder")]:
        with pytest.raises(UserError, match=f"no ScienceQA problems at {folder}: {found}"):
            load_dataset("scienceqa", folder)
    with pytest.raises(UserError, match="empty list"):
        load_dataset("scienceqa", [])


@pytest.fixture
def generator(monkeypatch, tmp_path, record, write_layout):
    """A stand-in for the unpacking of the demo, and the cache folder; counts its calls."""
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / "cache"))
    calls = []

    def unpack_demo(folder):
        calls.append(0)
        write_layout(folder, {"1": record()})

    monkeypatch.setattr(mmadapter.data, "unpack_demo", unpack_demo)
    return calls


def test_the_demo_is_generated_once(generator, tmp_path):
    for _ in range(2):
        assert list(load_dataset("demo").problems) == ["1"]
    assert generator == [0]
    assert made(tmp_path) == [DEMO_FOLDER]


def test_what_a_killed_generator_left_is_cleared(generator, tmp_path):
    (tmp_path / "cache" / f".{DEMO_FOLDER}-x1y2" / "images").mkdir(parents=True)
    assert len(load_dataset("demo")) == 1
    assert made(tmp_path) == [DEMO_FOLDER]


def test_processes_that_want_it_at_once_wait_for_the_first(generator, monkeypatch, tmp_path):
    def slow(folder, write=mmadapter.data.unpack_demo):
        time.sleep(0.1)
        write(folder)

    monkeypatch.setattr(mmadapter.data, "unpack_demo", slow)
    with ThreadPoolExecutor(3) as pool:
        assert [len(data) for data in pool.map(lambda _: load_dataset("demo"), range(3))] == [1] * 3
    assert generator == [0]


def made(folder: Path) -> list[str]:
    return [path.name for path in (folder / "cache").iterdir() if path.name != LOCK_FILE]


def test_a_demo_of_ones_own(tmp_path, record, write_layout):
    data = load_dataset("demo", write_layout(tmp_path, {"1": record()}))
    assert (data.name, len(data)) == ("demo", 1)


def in_a_new_process(code: str) -> str:
    """Its output; without the type checks that this process runs with."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_ten_thousand_problems_in_two_seconds(tmp_path, record, write_layout):
    folder = write_layout(tmp_path, {"0": record()})
    text = json.dumps(record(lecture="x" * 2_000))
    problems = ", ".join(f'"{n}": {text}' for n in range(10_000))
    (folder / "problems.json").write_text(f"{{{problems}}}")
    (folder / "pid_splits.json").write_text(json.dumps({"train": [str(n) for n in range(10_000)]}))
    output = in_a_new_process(
        "import time\nfrom mmadapter.data import load_dataset\nstart = time.process_time()\n"
        f"print(len(load_dataset('scienceqa', {str(folder)!r})), time.process_time() - start)"
    )
    count, seconds = output.split()
    assert int(count) == 10_000
    assert float(seconds) < 2


def test_reading_needs_no_heavy_library():
    code = "import sys, mmadapter.data; print({'torch', 'pandas', 'pyarrow'} & set(sys.modules))"
    assert in_a_new_process(code).strip() == "set()"


def test_the_first_problems_of_one_split_leave_the_others_whole():
    data = load_dataset("demo")
    some = data.first(7, "train")
    assert tuple(some["train"].problems) == data.splits["train"][:7]
    assert some.splits["val"] == data.splits["val"]
    assert len(some) == len(data) - len(data.splits["train"]) + 7
    assert data.first(None, "train") is data
    with pytest.raises(UserError, match="no split 'exam'"):
        data.first(7, "exam")


def test_the_first_problems_of_splits_that_overlap_are_the_first_of_each():
    data = load_dataset("demo")
    late = data.splits["test"][-2:]
    data = replace(data, splits={**data.splits, "minitest": late})
    some = data.first(3)
    assert some.splits["test"] == data.splits["test"][:3] == data["test"].first(3).splits["test"]
    assert some.splits["minitest"] == late
    assert set(late) < set(some.problems)
