"""A run and a result file over questions that try to break the page."""

import io
import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from mmadapter.evaluation.predictions import Predictions
from mmadapter.runs.collect import Scored, collect
from tests.scienceqa.conftest import raw_record, write_layout_folder

HOSTILE = (
    "<script>window.broken = 1</script>",
    "</script><img src=x onerror='window.broken = 1'>",
    "<!-- <script>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }} & \u2028 \u202e ${1} javascript:alert(1)",
)
"""Question texts that a careless page would run."""
N = 53
SUBJECTS = ("natural science", "social science", "language science")


def png(seed: int, size: tuple[int, int] = (64, 40)) -> bytes:
    """A picture of noise."""
    out = io.BytesIO()
    Image.frombytes("L", size, random.Random(seed).randbytes(size[0] * size[1])).save(out, "PNG")
    return out.getvalue()


def records() -> dict[str, dict]:
    """Questions with every text hostile, some with a picture; two share theirs, one's is broken."""
    rng = random.Random(0)
    asked = {}
    for number in range(N):
        choices = [f"option {i} {HOSTILE[number % 5]}" for i in range(2 + number % 4)]
        asked[str(number + 100)] = raw_record(
            split="test",
            question=f"Question number {number}? {HOSTILE[number % 5]}",
            choices=choices,
            answer=rng.randrange(len(choices)),
            hint="" if number % 3 else f"A hint. {HOSTILE[(number + 1) % 5]}",
            image="image.png" if number % 2 else None,
            grade=f"grade{1 + number % 12}",
            subject=SUBJECTS[number % 3],
            topic=("magnets", "maps", "verbs")[number % 3],
            skill=HOSTILE[number % 5],
            lecture=f"A lecture. {HOSTILE[number % 2]}",
            solution=HOSTILE[3],
        )
    return asked


def write_data(folder: Path, asked: dict[str, dict]) -> Path:
    pids = [pid for pid, record in asked.items() if record["image"]]
    pictures = {f"test/{pid}/image.png": png(at if at != 1 else 0) for at, pid in enumerate(pids)}
    pictures[f"test/{pids[-1]}/image.png"] = b"no picture"
    return write_layout_folder(folder, asked, pictures=pictures, captions={pid: f'A map. "{pid}"' for pid in pids})


def answer(asked: dict[str, dict], right: float, seed: int) -> pd.DataFrame:
    """Probabilities, and their largest as the prediction; about so many of them right."""
    rng = random.Random(seed)
    rows = []
    for pid, record in asked.items():
        scores = [rng.random() for _ in record["choices"]]
        scores[record["answer"]] += right
        total = sum(map(math.exp, scores))
        rows.append([pid, scores.index(max(scores)), [math.exp(score) / total for score in scores]])
    return pd.DataFrame(rows, columns=["pid", "prediction", "probabilities"])


def write_run(run: Path, data_dir: Path, asked: dict[str, dict]) -> Path:
    """What mmadapter-train leaves behind, as far as a report reads it."""
    settings = f"dataset: scienceqa\ndata_dir: [{data_dir}]\nsplit: test\n"
    for variant, right, seed in (("multimodal", 0.6, 0), ("text", 0.3, 1)):
        folder = run / variant
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(settings + f"variant: {variant}\n")
        (folder / "adapter_config.json").write_text("{}")
        answer(asked, right, seed).to_parquet(folder / "predictions.parquet")
        steps = [{"step": n, "loss": 2 / n, "learning_rate": 1e-3, "gradient_norm": 1.0} for n in range(1, 9)]
        epochs = [
            {
                "epoch": n,
                "step": 4 * n,
                "train_loss": 2 / n,
                "val_loss": 2.2 / n,
                "val_accuracy": 40.0 + n,
                "seconds": n,
            }
            for n in (1, 2)
        ]
        (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in [*steps, *epochs]))
        image = 0.02 if variant == "multimodal" else None
        heads = [
            {"layer": layer, "head": head, "gate": 0.1 * head - 0.2, "prompts": 0.05, "image": image, "entropy": 1.0}
            for layer in (2, 3, 4)
            for head in range(5)
        ]
        content = {"questions": 53, "with_image": 26 if image else 0, "adapter_len": 7, "heads": heads}
        (folder / "attention.json").write_text(json.dumps(content))
    (run / "config.yaml").write_text(settings + "variant: both\n")
    return run


@dataclass(frozen=True)
class Case:
    """The folders, and what `collect` makes of them."""

    run: Path
    data_dir: Path
    file: Path
    scored: Scored
    asked: dict[str, dict]


@pytest.fixture(scope="session")
def case(tmp_path_factory) -> Case:
    folder = tmp_path_factory.mktemp("report")
    asked = records()
    data_dir = write_data(folder / "data", asked)
    run = write_run(folder / "run", data_dir, asked)
    outputs = {pid: f"The answer is ({'ABCDE'[n % 5]}). {HOSTILE[0]}" for n, pid in enumerate(asked)}
    file = folder / "theirs<b>.jsonl"
    file.write_text("".join(json.dumps({"question_id": pid, "text": text}) + "\n" for pid, text in outputs.items()))
    return Case(run, data_dir, file, collect([run], [file]), asked)


@pytest.fixture(scope="session")
def page(case) -> str:
    from mmadapter.report.page import report_html

    return report_html(case.scored)


def only(scored: Scored, *names: str) -> Scored:
    """Some of the systems."""
    kept: tuple[Predictions, ...] = tuple(system for system in scored.systems if system.name in names)
    return Scored(scored.title, scored.data, scored.questions, kept)
