"""The wording-disjoint split: dealt out, committed, applied."""

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmadapter.data import load_dataset
from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.resplit import SHARES, disjoint_split, resplit, wording_split
from mmadapter.scienceqa.wording import wording
from tests.scienceqa.conftest import raw_record, write_layout_folder


class Picture:
    where = "nowhere"

    def read(self):
        return b""


def problem(pid, question, image=False, hint=""):
    return Problem(
        pid=pid,
        split="train",
        question=question,
        choices=("a", "b"),
        answer=0,
        hint=hint,
        image=Picture() if image else None,
        subject="natural science",
    )


def many(seed, n):
    rng = random.Random(seed)
    words = [f"Which {i}?" for i in range(n // 3)]
    return [
        problem(str(i), words[int(rng.paretovariate(1)) % len(words)], image=rng.random() < 0.5)
        for i in range(1, n + 1)
    ]


@given(st.integers(0, 99), st.integers(3, 211))
def test_every_problem_is_in_one_split_and_every_wording_too(seed, n):
    problems = many(seed, n)
    split = disjoint_split(problems)
    assert sorted(pid for pids in split.values() for pid in pids) == sorted(each.pid for each in problems)
    place = {pid: name for name, pids in split.items() for pid in pids}
    homes = {}
    for each in problems:
        homes.setdefault(wording(each.question), set()).add(place[each.pid])
    assert all(len(home) == 1 for home in homes.values())


def test_shares_are_kept():
    problems = [problem(str(i), f"Which {i // 2}?", image=i % 5 == 0) for i in range(2000)]
    split = disjoint_split(problems)
    pictured = {each.pid for each in problems if each.has_image}
    for name, share in SHARES.items():
        assert len(split[name]) == pytest.approx(2000 * share, abs=5)
        assert len(pictured & set(split[name])) == pytest.approx(400 * share, abs=5)


def test_it_depends_on_the_seed_and_on_nothing_else():
    problems = many(1, 200)
    mixed = random.Random(0).sample(problems, len(problems))
    assert disjoint_split(problems) == disjoint_split(mixed)
    assert disjoint_split(problems) != disjoint_split(problems, seed=1)


def test_applied_to_what_is_at_hand():
    problems = {each.pid: each for each in (problem("1", "a"), problem("2", "b"), problem("3", "c"), problem("9", "d"))}
    data = Dataset("scienceqa", problems, {"train": tuple(problems), "minitrain": ("1",)})
    found = resplit(data, {"train": ["2", "4"], "val": ["1"], "test": ["3", "5", "6"]})
    assert found.data.splits == {"train": ("2",), "val": ("1",), "test": ("3",)}
    assert [each.split for each in found.data["val"]] == ["val"]
    assert set(found.data.problems) == {"1", "2", "3"}
    assert found.missing == {"train": 1, "val": 0, "test": 2}
    assert found.left_out == ("9",)


def test_the_committed_list():
    split = wording_split()
    assert {name: len(pids) for name, pids in split.items()} == {"train": 11710, "val": 3928, "test": 3973}
    pids = [pid for each in split.values() for pid in each]
    assert len(set(pids)) == 19611
    assert all(1 <= int(pid) <= 21208 for pid in pids)


def test_the_list_is_what_the_script_makes_and_keeps_wordings_apart(scienceqa_folders):
    whole = [data for folder in scienceqa_folders if len(data := load_dataset("scienceqa", folder)) == 19611]
    if not whole:
        pytest.skip("no folder holds all 19,611 problems")
    assert disjoint_split(whole[0]) == wording_split()
    found = resplit(whole[0])
    assert not any(found.missing.values())
    assert not found.left_out
    words = {name: {wording(each.question) for each in found.data[name]} for name in SHARES}
    assert words["train"].isdisjoint(words["val"] | words["test"])
    assert words["val"].isdisjoint(words["test"])
    for name in SHARES:
        images = [each.has_image for each in found.data[name]]
        assert sum(images) / len(images) == pytest.approx(0.445, abs=0.01)


def test_nothing_heavy_is_imported():
    script = (
        "import sys, mmadapter.scienceqa.resplit\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'sklearn'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_load_dataset_deals_out_anew(tmp_path):
    listed = wording_split()
    pids = [listed["train"][0], listed["val"][0], listed["test"][0], "999999"]
    write_layout_folder(tmp_path, {pid: raw_record(split="train") for pid in pids})
    official = load_dataset("scienceqa", tmp_path)
    data = load_dataset("scienceqa", tmp_path, resplit="wording")
    assert official.splits["train"] == tuple(pids)
    assert {name: list(split) for name, split in data.splits.items()} == {
        name: [pid] for name, pid in zip(("train", "val", "test"), pids, strict=False)
    }
    assert [problem.split for problem in data] == ["train", "val", "test"]


@pytest.mark.parametrize("name", ["demo", "alpaca", "demo-instructions"])
def test_the_wording_split_is_scienceqas_alone(name):
    with pytest.raises(UserError, match=f"--resplit wording: is a split of scienceqa, not of {name}"):
        load_dataset(name, resplit="wording")
