"""Files whole or not there, one writer a folder, saves that cost little: with real disks' errors and real processes."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import filelock  # noqa: F401 (nobody, who writes below, might not read the library)
import pytest

from mmadapter.errors import UserError
from mmadapter.storage import files
from mmadapter.storage.files import PacedSaver, check_room, write_text, write_whole
from mmadapter.storage.locks import sole_writer


@contextmanager
def small_disk():
    """Within it no file of this process grows beyond 1,000 bytes: not a fixture, for pytest's own log is a file too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_keeps_the_old_file_and_no_part_of_the_new(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")
    with (
        small_disk(),
        pytest.raises(UserError, match=r"a\.txt: cannot be written: File too large\n  what was there before is kept"),
    ):
        write_text(file, "new" * 1000)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def read_only():
    """A folder that this process may read alone; root, whom nothing is forbidden, is nobody for a while."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        if user == 0:
            os.seteuid(65534)
        yield Path(folder)
        os.seteuid(user)


def test_room_is_that_of_the_disk_on_which_a_folder_will_be(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("shutil.disk_usage", lambda disk: asked.append(disk) or type("Usage", (), {"free": 2 * 10**9}))
    check_room(tmp_path / "not" / "yet", 2 * 10**9, "these")
    assert asked == [tmp_path]
    with pytest.raises(UserError, match=r"not/yet: these take 2\.10 GB, 2\.00 GB are free"):
        check_room(tmp_path / "not" / "yet", 21 * 10**8, "these")


def test_a_read_only_folder(read_only):
    with pytest.raises(UserError, match=r"a\.txt: cannot be written: Permission denied"):
        write_text(read_only / "a.txt", "new")
    with pytest.raises(UserError, match=r"run/\.lock: cannot be written: Permission"), sole_writer(read_only / "run"):
        pass


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "run").write_text("no folder")
    with pytest.raises(UserError, match=r"run/a\.txt: cannot be written: (Not a directory|File exists)"):
        write_text(tmp_path / "run" / "a.txt", "new")
    with pytest.raises(UserError, match=r"run/\.lock: cannot be written: "), sole_writer(tmp_path / "run"):
        pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_whatever_stops_a_write_the_old_file_stays(tmp_path, error):
    def write(part):
        part.write_text("half")
        raise error

    file = tmp_path / "a.txt"
    write_text(file, "old")
    with pytest.raises(error):
        write_whole(file, write)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_previous_file_is_kept_where_it_is_asked_for(tmp_path):
    for text in ("1", "2", "3"):
        write_whole(tmp_path / "a", lambda part, text=text: part.write_text(text), previous=tmp_path / "b")
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("3", "2")


HOLD = """
import sys, time
from pathlib import Path
from mmadapter.storage.locks import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_of_the_first_and_a_killed_one_holds_nothing(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as first:
        try:
            assert first.stdout.readline() == "held\n"
            with pytest.raises(UserError, match=f"process {first.pid} on .* is writing there"), sole_writer(tmp_path):
                pass
        finally:
            first.send_signal(signal.SIGKILL)
    with sole_writer(tmp_path):
        pass
    with sole_writer(tmp_path):  # and again
        pass


def test_waiting_for_a_writer_that_is_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        killer = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; kill -9 {first.pid}"])
        started = time.monotonic()
        told = []
        with sole_writer(tmp_path, wait=told.append):
            assert time.monotonic() - started > 0.2
            assert told[0].startswith(f"waiting for process {first.pid} on ")
        killer.wait()


def test_saving_takes_its_share_of_the_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(files.time, "monotonic", lambda: clock[0])
    saves, cost = [], 0.5

    def save():
        saves.append(clock[0])
        clock[0] += cost

    paced = PacedSaver(save)
    while clock[0] < 200:
        clock[0] += 1.0
        paced()
    assert saves[0] == 1.0  # the first one is at once: it tells what a save costs
    assert len(saves) * cost == pytest.approx(0.02 * 200, abs=2 * cost)
    cost = 60.0
    paced.now()
    start, before = clock[0], len(saves)
    while len(saves) == before:
        clock[0] += 1.0
        paced()
    assert saves[-1] - start == pytest.approx(300, abs=1)  # never later


def test_a_link_beside_a_file_is_not_followed(tmp_path):
    """Names of temporary files cannot be guessed, and one that exists is never opened."""
    outside = tmp_path / "outside"
    outside.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("table.json.part", f"table.json.{os.getpid()}.part"):
        (run / name).symlink_to(outside)
    write_text(run / "table.json", "theirs")
    assert (run / "table.json").read_text() == "theirs"
    assert outside.read_text() == "mine"


def test_two_writers_of_one_file_leave_it_whole(tmp_path):
    path = tmp_path / "file"

    def write(letter):
        for _ in range(40):
            write_text(path, letter * 100_000)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, letter) for letter in "abcd"]:
            done.result()
    assert path.read_text() in {letter * 100_000 for letter in "abcd"}
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_and_what_another_writes_is_not(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead, alive = (tmp_path / f"file.{pid}.0011aabb.part" for pid in (process.pid, os.getpid()))
    for part in (dead, alive):
        part.write_text("half")
    write_text(tmp_path / "file", "whole")
    assert not dead.exists()
    assert alive.exists()
