"""A small set of instructions that the package ships: the demo's questions without their options (`eval/demo`)."""

from __future__ import annotations

import json
import zipfile

from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.storage.paths import assets_dir


def demo_instructions() -> Dataset:
    """Read the embedded instructions, about 1,500 in three splits."""
    with zipfile.ZipFile(assets_dir() / "demo.zip") as archive:
        records = json.loads(archive.read("instructions.json"))
    problems = {
        str(number): Problem(
            pid=str(number),
            split=record["split"],
            question=record["question"],
            hint=record["hint"],
            choices=(record["response"],),
            answer=0,
            topic=record["topic"],
        )
        for number, record in enumerate(records, start=1)
    }
    splits = {name: tuple(p.pid for p in problems.values() if p.split == name) for name in ("train", "val", "test")}
    return Dataset("demo-instructions", problems, splits)
