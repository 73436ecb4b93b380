"""A split of ScienceQA that shares no wording: what a system has learnt, not which templates it recalls.

ScienceQA is made of templates: the official training split asks the words of 59 % of the test questions. Here every
wording (`scienceqa.wording`), with all its questions, lies in one split alone. Hints, options and pictures may recur:
two wordings can ask about the same map. A template with another name in it is another wording.

`wording_split.json` beside this file is the split, in the form of ScienceQA's own `pid_splits.json`: train, val and
test with their pids. It covers the 19,611 problems whose text is at hand; 1,597 image problems of the official val
(their words are not to be had) are in none. The list was made once, by

    python -m eval.resplit FOLDER

from all three official splits pooled: 60, 20 and 20 % as officially. Wordings of like size, subject and context (image,
hint) are dealt out among the splits together, the largest first, so that all three have their share of images and of
large and small templates.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.wording import wording

Resplitting = Literal["official", "wording"]

FILE = Path(__file__).with_name("wording_split.json")
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
"""Share of the problems in each split, as in ScienceQA's own."""
SEED = 0
"""Seed of the committed list."""
SIZES = (1, 2, 5, 10, 30)
"""Upper ends of the sizes of wordings that are dealt out together; larger ones are the last group."""


@dataclass(frozen=True)
class Resplit:
    """A data set under the new split, and what does not fit."""

    data: Dataset
    """train, val and test alone; the field `split` of a problem is the new one."""
    missing: Mapping[str, int]
    """Listed pids that the data set lacks, by split. Where it is not 0, results are not on the whole of the split."""
    left_out: tuple[str, ...]
    """Problems of the data set that are not listed, in no split and no longer in the data."""


def wording_split() -> dict[str, tuple[str, ...]]:
    """The committed pids by split, ascending."""
    return {name: tuple(pids) for name, pids in json.loads(FILE.read_text(encoding="utf-8")).items()}


def resplit(data: Dataset, split: Mapping[str, Iterable[str]] | None = None) -> Resplit:
    """The same problems under another split.

    Args:
        data: all splits of ScienceQA, or what is at hand of them.
        split: pids by split, none in two; the committed wording-disjoint one if left out.
    """
    listed = {name: tuple(pids) for name, pids in (wording_split() if split is None else split).items()}
    place = {pid: name for name, pids in listed.items() for pid in pids}
    kept = {name: tuple(pid for pid in pids if pid in data.problems) for name, pids in listed.items()}
    problems = {pid: replace(data.problems[pid], split=place[pid]) for pids in kept.values() for pid in pids}
    return Resplit(
        data=replace(data, problems=problems, splits=kept),
        missing={name: len(pids) - len(kept[name]) for name, pids in listed.items()},
        left_out=tuple(pid for pid in data.problems if pid not in place),
    )


def disjoint_split(problems: Iterable[Problem], seed: int = SEED) -> dict[str, tuple[str, ...]]:
    """Deals whole wordings out to the splits of SHARES.

    In each group of like wordings the next one goes where most is wanting of that group's share, problems counted; ties
    of the group go where most is wanting of the whole.

    Returns:
        pids by split, in ascending order.
    """
    clusters: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        clusters[wording(problem.question)].append(problem)
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for words, members in clusters.items():
        groups[_likeness(members)].append(words)
    rng = random.Random(seed)
    total = sum(map(len, clusters.values()))
    have: Counter[str] = Counter()
    dealt: dict[str, list[str]] = {name: [] for name in SHARES}
    for _, alike in sorted(groups.items(), key=lambda item: str(item[0])):
        alike.sort()  # the order must not depend on the order of the problems
        rng.shuffle(alike)
        alike.sort(key=lambda words: -len(clusters[words]))
        here: Counter[str] = Counter()
        size = sum(len(clusters[words]) for words in alike)
        for words in alike:
            name = min(SHARES, key=lambda name: (here[name] / (SHARES[name] * size), have[name] / SHARES[name] / total))
            dealt[name] += [problem.pid for problem in clusters[words]]
            here[name] += len(clusters[words])
            have[name] += len(clusters[words])
    return {name: tuple(sorted(pids, key=lambda pid: (len(pid), pid))) for name, pids in dealt.items()}


def _likeness(members: list[Problem]) -> tuple[object, ...]:
    """The size of a wording, and of most of its questions the subject and whether they have image and hint."""
    band = sum(len(members) > size for size in SIZES)
    traits = Counter((problem.has_image, bool(problem.hint), problem.subject or "") for problem in members)
    return (band, *max(traits, key=lambda trait: (traits[trait], trait)))
