"""Progress: lines without a terminal, a bar that leaves one line on it, silence where there is nothing to do."""

import io
import re
import sys
from itertools import pairwise

import pytest
import rich.progress  # before its clock is replaced

from mmadapter.storage import progress
from mmadapter.storage.progress import progress_bar, status


@pytest.fixture
def clock(monkeypatch):
    """A clock that each reading moves on by 10 s."""
    assert rich.progress
    now = iter(range(0, 100_000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))


def test_without_a_terminal_there_is_a_line_every_half_minute_and_one_at_the_end(capsys, clock):
    with progress_bar("training", 20) as update:
        for done in range(1, 21):
            update(done, f"loss {done / 10:.1f}")
    *lines, last = capsys.readouterr().err.splitlines()
    steps = [int(re.match(r"training: (\d+) of 20, .* left, loss ", line)[1]) for line in lines]
    assert {b - a for a, b in pairwise(steps)} == {3}
    assert last.startswith("training: 20 of 20 after 0:")
    assert last.endswith(", loss 2.0")


def test_rate_and_time_left_are_of_this_process_and_not_of_what_was_done_before(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    with progress_bar("training", 1000) as update:
        update(500)  # a resume
        for done in range(501, 517):
            now[0] += 2
            update(done)
    assert capsys.readouterr().err.splitlines()[0] == "training: 515 of 1,000, 2.0 s each, 0:16:10 left"


@pytest.mark.parametrize(("total", "quiet"), [(0, False), (10, True)])
def test_nothing_is_shown_where_nothing_is_to_be_done_or_said(capsys, total, quiet):
    with progress_bar("training", total, quiet=quiet) as update:
        update(total)
    assert capsys.readouterr().err == ""


def test_a_bar_fits_80_columns_and_leaves_one_line(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("answering, multimodal", 12_345) as update:
        update(12_000, "waiting for process 12345 on a machine of a long name")
        update(12_345)
    shown = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()))
    assert 60 < max(map(len, shown)) <= 80
    assert screen.getvalue().rpartition("\x1b[2K")[2].startswith("answering, multimodal: 12,345 of 12,345 after 0:00:0")


def test_what_is_waited_for_is_a_line_without_a_terminal(capsys):
    with status("loading the model", lasting=True):
        assert capsys.readouterr().err == "loading the model\n"
    with status("reading"), status("loading the model", quiet=True, lasting=True):
        pass
    assert capsys.readouterr().err == ""
