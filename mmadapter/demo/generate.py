"""Generate three splits of problems from a seed, and write them in ScienceQA's original layout."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TypeVar

from mmadapter.demo import language, natural, social
from mmadapter.demo.drawing import draw
from mmadapter.demo.family import DemoProblem, Family, sample_problem

FAMILIES: tuple[Family, ...] = (*natural.FAMILIES, *social.FAMILIES, *language.FAMILIES)
"""All question families."""

DEFAULT_SIZES: Mapping[str, int] = {"train": 3000, "val": 500, "test": 1000}
"""Problems in each split."""

T = TypeVar("T")


def demo_problems(
    seed: int = 0, sizes: Mapping[str, int] = DEFAULT_SIZES, families: Sequence[Family] = FAMILIES
) -> dict[str, list[DemoProblem]]:
    """Generate the splits, text only. No problem occurs twice.

    Within a split and family every position of the right answer, and every right value, occurs equally
    often, give or take one.
    """
    rng = Random(seed)
    seen: set[tuple] = set()
    splits = {}
    for split, size in sizes.items():
        problems = []
        for family, count in _apportion(families, size):
            values, positions = _deck(rng, family.values), _deck(rng, range(family.n_choices))
            for _ in range(count):
                problems.append(_fresh(rng, family, next(values), next(positions), seen))
        rng.shuffle(problems)
        splits[split] = problems
    return splits


def write_demo(folder: str | Path, seed: int = 0, sizes: Mapping[str, int] = DEFAULT_SIZES) -> Path:
    """Write `problems.json`, `pid_splits.json`, `captions.json` and `images/<split>/<pid>/image.png`.

    The same seed gives the same bytes (with the same version of Pillow). The folder appears when it is
    complete; one that exists already is replaced.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(unfinished, demo_problems(seed, sizes))
        unfinished.chmod(0o755)  # mkdtemp's are private
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write(folder: Path, splits: Mapping[str, Sequence[DemoProblem]]) -> None:
    problems: dict[str, dict] = {}
    pids: dict[str, list[str]] = {}
    captions: dict[str, str | None] = {}
    pictures: set[bytes] = set()
    for split, members in splits.items():
        pids[split] = [str(len(problems) + i) for i in range(1, len(members) + 1)]
        for pid, problem in zip(pids[split], members, strict=True):
            problems[pid] = _record(problem, split)
            if problem.scene is not None:
                captions[pid] = problem.caption
                picture = folder / "images" / split / pid / "image.png"
                picture.parent.mkdir(parents=True)
                picture.write_bytes(_png(problem, pictures))
    for name, content in (
        ("problems", problems),
        ("pid_splits", pids),
        ("captions", {"captions": captions}),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _record(problem: DemoProblem, split: str) -> dict:
    """The 14 keys of ScienceQA's `problems.json`."""
    family = problem.family
    return {
        "question": problem.question,
        "choices": list(problem.choices),
        "answer": problem.answer,
        "hint": problem.hint,
        "image": None if problem.scene is None else "image.png",
        "task": family.task,
        "grade": f"grade{problem.grade}",
        "subject": family.subject,
        "topic": family.topic,
        "category": family.category,
        "skill": family.skill,
        "lecture": family.lecture,
        "solution": problem.solution,
        "split": split,
    }


def _png(problem: DemoProblem, pictures: set[bytes]) -> bytes:
    """Encode a picture that differs from all in `pictures`, and add it there."""
    scene = problem.scene
    assert scene is not None
    while True:
        buffer = io.BytesIO()
        draw(scene).save(buffer, "PNG")
        if buffer.getvalue() not in pictures:
            pictures.add(buffer.getvalue())
            return buffer.getvalue()
        # two scenes that differ in nothing visible; every scene is a dataclass, which no protocol can say
        scene = replace(scene, seed=scene.seed + 1)  # type: ignore[type-var]


def _apportion(families: Sequence[Family], size: int) -> list[tuple[Family, int]]:
    """Number of problems in each family, by largest remainders."""
    total = sum(family.share for family in families)
    quotas = [size * family.share / total for family in families]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: counts[i] - quotas[i])
    for i in by_remainder[: size - sum(counts)]:
        counts[i] += 1
    return list(zip(families, counts, strict=True))


def _deck(rng: Random, cards: Sequence[T]) -> Iterator[T]:
    """Deal the cards in random order, again and again: balanced to one after any number of draws."""
    while True:
        yield from rng.sample(cards, len(cards))


def _fresh(rng: Random, family: Family, value: str, position: int, seen: set[tuple]) -> DemoProblem:
    for _ in range(1000):
        problem = sample_problem(rng, family, value=value, position=position)
        if problem.key not in seen:
            seen.add(problem.key)
            return problem
    raise ValueError(f"the family {family.name!r} has too few different problems for these sizes")
