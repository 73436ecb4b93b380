"""Questions to be answered in the tests: a small ScienceQA folder with every class in it."""

import random
from pathlib import Path

from mmadapter.data import load_dataset
from mmadapter.scienceqa.problems import Dataset
from tests.scienceqa.conftest import raw_record, write_layout_folder

SUBJECTS = ("natural science", "social science", "language science")
N_TEST, N_VAL = 53, 7


def records(seed: int = 0) -> dict[str, dict]:
    """Of test and val; every field is random and known."""
    rng = random.Random(seed)
    asked = {}
    for number in range(N_TEST + N_VAL):
        choices = [f"option {i}" for i in range(rng.choice((2, 3, 4, 5)))]
        asked[str(number + 100)] = raw_record(
            split="test" if number < N_TEST else "val",
            question=f"Question {number}?",
            choices=choices,
            answer=rng.randrange(len(choices)),
            hint=rng.choice(("", "Look closely.")),
            image=rng.choice((None, "image.png")),
            grade=f"grade{rng.randrange(1, 13)}",
            subject=rng.choice(SUBJECTS),
            category=rng.choice(("Maps", "Magnets")),
        )
    return asked


def write_questions(folder: Path, asked: dict[str, dict] | None = None) -> Path:
    """The folder of a data set; the pictures are not looked at here."""
    asked = records() if asked is None else asked
    pictures = {f"{r['split']}/{pid}/image.png": b"picture" for pid, r in asked.items() if r["image"]}
    return write_layout_folder(folder, asked, pictures=pictures)


def questions(folder: Path, asked: dict[str, dict] | None = None) -> Dataset:
    """Read back from such a folder."""
    return load_dataset("scienceqa", write_questions(folder, asked))


def answers(data: Dataset, right: float, seed: int = 0) -> dict[str, int]:
    """An option for every question; about so many of them are right, and some more by chance."""
    rng = random.Random(seed)
    return {p.pid: p.answer if rng.random() < right else rng.randrange(len(p.choices)) for p in data}
