"""From a seed to three splits of problems, and to a folder in ScienceQA's original layout."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TypeVar

from eval.demo import language, natural, social
from eval.demo.drawing import Scene, draw
from eval.demo.family import DemoProblem, Family, sample_problem

T = TypeVar("T")


def _read_families() -> Iterator[Family]:
    """Read `families.csv`, one row a family, and join each with the function that drafts its questions."""
    drafts = natural.DRAFTS | social.DRAFTS | language.DRAFTS
    table = Path(__file__).with_name("families.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(table.splitlines()):
        draft, values = drafts[row["name"]]
        grades = int(row.pop("first_grade")), int(row.pop("last_grade"))
        n_choices, share = int(row.pop("n_choices")), float(row.pop("share"))
        yield Family(draft=draft, values=values, grades=grades, n_choices=n_choices, share=share, **row)


FAMILIES: tuple[Family, ...] = tuple(_read_families())
"""All question families."""

FARTHEST_NORTH = next(family for family in FAMILIES if family.name == "farthest north")
"""The hard family: from one global image feature the answer needs four bindings of color to place."""

DEFAULT_SIZES: Mapping[str, int] = {"train": 3000, "val": 500, "test": 1000}
"""Problems in each split."""


def demo_problems(
    seed: int = 0, sizes: Mapping[str, int] = DEFAULT_SIZES, families: Sequence[Family] = FAMILIES
) -> dict[str, list[DemoProblem]]:
    """Generate the splits, pictures not yet drawn; no problem occurs twice, within a split or in two of them.

    Within a split and family the right positions, and the right values, are equally frequent, give or take one.
    """
    rng = Random(seed)
    seen: set[tuple] = set()
    splits = {}
    for split, size in sizes.items():
        problems = []
        for family, count in _apportion(families, size):
            values, positions = _deck(rng, family.values), _deck(rng, range(family.n_choices))
            for _ in range(count):
                problems.append(_new_problem(rng, family, next(values), next(positions), seen))
        rng.shuffle(problems)
        splits[split] = problems
    return splits


def write_demo(folder: str | Path, seed: int = 0, sizes: Mapping[str, int] = DEFAULT_SIZES) -> Path:
    """Write `problems.json`, `pid_splits.json`, `captions.json` and `images/<split>/<pid>/image.png`; return `folder`.

    The same seed gives the same bytes (with the same version of Pillow). The folder appears when it is complete and
    replaces one that exists already.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(unfinished, demo_problems(seed, sizes))
        unfinished.chmod(0o755)  # mkdtemp makes private folders
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write(folder: Path, splits: Mapping[str, Sequence[DemoProblem]]) -> None:
    records: dict[str, dict] = {}
    pids: dict[str, list[str]] = {split: [] for split in splits}
    captions: dict[str, str | None] = {}
    pictures: set[bytes] = set()
    for split, problems in splits.items():
        for problem in problems:
            pid = str(len(records) + 1)
            records[pid] = _record(problem, split)
            pids[split].append(pid)
            if problem.scene is not None:
                captions[pid] = problem.caption
                picture = folder / "images" / split / pid / "image.png"
                picture.parent.mkdir(parents=True)
                picture.write_bytes(_new_png(problem.scene, pictures))
    for name, content in {"problems": records, "pid_splits": pids, "captions": {"captions": captions}}.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _record(problem: DemoProblem, split: str) -> dict:
    """Return the 14 fields of ScienceQA's `problems.json`."""
    return {
        "question": problem.question,
        "choices": problem.choices,
        "answer": problem.answer,
        "hint": problem.hint,
        "image": None if problem.scene is None else "image.png",
        "task": "closed choice",
        "grade": f"grade{problem.grade}",
        **{name: getattr(problem.family, name) for name in ("subject", "topic", "category", "skill", "lecture")},
        "solution": problem.solution,
        "split": split,
    }


def _new_png(scene: Scene, pictures: set[bytes]) -> bytes:
    """Encode a picture that is not among `pictures`, and add it to them."""
    while True:
        buffer = io.BytesIO()
        draw(scene).save(buffer, "PNG")
        if buffer.getvalue() not in pictures:
            pictures.add(buffer.getvalue())
            return buffer.getvalue()
        scene = replace(scene, seed=scene.seed + 1)  # two scenes may differ in nothing visible


def _apportion(families: Sequence[Family], size: int) -> list[tuple[Family, int]]:
    """Share `size` problems among the families, by largest remainders."""
    total = sum(family.share for family in families)
    quotas = [size * family.share / total for family in families]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: counts[i] - quotas[i])
    for i in by_remainder[: size - sum(counts)]:
        counts[i] += 1
    return list(zip(families, counts, strict=True))


def _deck(rng: Random, cards: Sequence[T]) -> Iterator[T]:
    """Deal the cards in random order, again and again: after any number of draws their counts differ by at most one."""
    while True:
        yield from rng.sample(cards, len(cards))


def _new_problem(rng: Random, family: Family, value: str, position: int, seen: set[tuple]) -> DemoProblem:
    for _ in range(1000):
        problem = sample_problem(rng, family, value=value, position=position)
        if problem.key not in seen:
            seen.add(problem.key)
            return problem
    raise ValueError(f"the family {family.name!r} has too few different problems for these sizes")
