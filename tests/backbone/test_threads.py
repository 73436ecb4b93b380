"""Threads: what is free, what is faster, and what the user says."""

import pytest
import torch

from mmadapter.backbone import threads
from mmadapter.backbone.loading import read_config
from mmadapter.backbone.threads import Threads, choose_threads, free_threads, use_threads
from mmadapter.errors import UserError


@pytest.mark.parametrize(
    ("cores", "allowed", "load", "busy", "expected"),
    [
        (2, 2, 0.1, 0.1, 2),  # idle
        (2, 2, 2.0, 0.1, 2),  # what made the load has just ended
        (2, 2, 0.5, 1.9, 1),  # what will make it has just begun
        (2, 2, 10.0, 0.3, 1),  # a queue, idle for a moment
        (16, 16, 5.0, 5.0, 11),
        (64, 2, 40.0, 40.0, 2),  # a share of a large machine
        (64, 0, 0.0, 0.0, 1),  # more processes than cores
    ],
)
def test_free_threads(cores, allowed, load, busy, expected):
    assert free_threads(cores, allowed, load, busy) == expected


@pytest.fixture
def idle(monkeypatch):
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda: 8)
    monkeypatch.setattr("psutil.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr("psutil.cpu_percent", lambda seconds: 0.0)
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)


@pytest.mark.parametrize(("seconds", "expected"), [({1: 3.0, 4: 1.0}, 4), ({1: 1.0, 4: 0.9}, 1), ({1: 1.0, 4: 9.0}, 1)])
def test_several_are_taken_where_they_are_faster(idle, monkeypatch, seconds, expected):
    monkeypatch.setattr(threads, "_seconds", lambda llm, number: seconds[number])
    assert choose_threads(read_config("tiny-llama")).number == expected


def test_processes_of_one_machine_share_its_cores(idle, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(threads, "_seconds", lambda llm, number: 1 / number)
    assert choose_threads(read_config("tiny-llama")).number == 2


def test_the_variable_is_honoured(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "1")
    assert choose_threads(read_config("tiny-llama")) == Threads(torch.get_num_threads(), "OMP_NUM_THREADS")


def test_the_products_are_timed_and_the_number_is_put_back():
    before = torch.get_num_threads()
    with use_threads(Threads(before + 1, "")):
        assert torch.get_num_threads() == before + 1
        assert threads._seconds(read_config("tiny-llama"), 1) > 0
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_an_impossible_number_is_told():
    with pytest.raises(UserError, match="--threads 0"), use_threads(Threads(0, "")):
        pass
