"""Every reader of other people's bytes, with the smallest surroundings in which it reads: bytes in, a result out.

A result must serve: problems become prompts and a frame, predictions an error frame, records drawings. Only a
`UserError` may come out instead, and it names the place, in characters that a terminal can show.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

from mmadapter.errors import UserError
from tests.fuzz import models, mutate
from tests.fuzz.mutate import Mutation
from tests.fuzz.reader import Reader, of_file

CHOICES = ("water", "a rock", "air")
PIDS = ("8", "9", "12", "15", "21", "x-1")


def readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """By name; each builds its surroundings in a folder of its own when it is called."""
    return {name: lambda name=name, build=build: build(_made(folder / name)) for name, build in _BUILDERS.items()}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _records() -> dict[str, dict]:
    from tests.scienceqa.conftest import raw_record

    changes = ({}, {"hint": "Look."}, {"split": "val"}, {"image": "image.png"}, {"grade": None, "subject": None}, {})
    return {pid: raw_record(**{"split": "test"} | change) for pid, change in zip(PIDS, changes, strict=True)}


def _layout(folder: Path) -> Path:
    from tests.scienceqa.conftest import write_layout_folder

    pictures = {f"test/{PIDS[3]}/image.png": b"", f"test/{PIDS[0]}/choice_0.png": b""}
    return write_layout_folder(folder, _records(), pictures=pictures, captions={"8": "A rock."})


def _read_layout(folder: Path) -> object:
    from mmadapter.scienceqa.layout import read_layout

    skipping = read_layout(folder, on_error="skip")
    _use(skipping)
    return read_layout(folder)


def _use(data) -> None:
    from mmadapter.scienceqa.prompt import prompt_text

    for problem in data:
        prompt_text(problem.question, problem.hint, problem.choices).encode("utf-8")
    data.to_pandas()


def _of_layout(name: str) -> Callable[[Path], Reader]:
    def build(folder: Path) -> Reader:
        seed = (_layout(folder) / name).read_bytes()
        return Reader(of_file(name, lambda file: _read_layout(file.parent))(folder), mutate.of_json, (seed,), folder)

    return build


def _hub_table(folder: Path) -> Reader:
    from mmadapter.scienceqa import parquet
    from tests.scienceqa.conftest import write_parquet_folder

    name = "test-00000-of-00001.parquet"
    hub = write_parquet_folder(folder / "seed", _records(), pictures={f"test/{PIDS[3]}/image.png": b"picture"})
    seed = next((hub / "data").glob("test-*")).read_bytes()

    def read(file: Path) -> None:
        parquet._image_bytes.cache_clear()
        data = parquet.read_parquet(file.parent, on_error="skip")
        _use(data)
        for problem in data:
            if problem.image is not None:
                problem.image.read()

    return Reader(of_file(name, read)(folder), mutate.of_parquet, (seed,), folder)


def _predictions(name: str, mutation: Mutation, write: Callable[[Path, dict[str, int]], object]):
    def build(folder: Path) -> Reader:
        from mmadapter.evaluation.frame import error_frame, question_frame
        from mmadapter.evaluation.prediction_files import read_predictions
        from mmadapter.scienceqa.layout import read_layout

        data = read_layout(_layout(folder / "data"))["test"]
        asked = question_frame(data)

        def read(file: Path) -> object:
            read = read_predictions(file, asked)
            read_predictions(file, asked, rule="lavin")
            try:
                return error_frame(read.frame, data)
            except UserError as error:
                raise UserError(f"{file}: {error}") from error  # about the frame, whose file its caller knows

        seeds = []
        for texts in (False, True):
            write(folder / name, {pid: at % 3 for at, pid in enumerate(data.problems)}, texts)
            seeds.append((folder / name).read_bytes())
        return Reader(of_file(name, read)(folder), mutation, tuple(seeds), folder)

    return build


def _write_results(file: Path, answers: dict[str, int], texts: bool) -> None:
    outputs = {"outputs": {pid: f"The answer is ({'ABC'[i]})." for pid, i in answers.items()}} if texts else {}
    file.write_text(json.dumps({"acc": 50.0, "results": answers, **outputs}))


def _write_lines(file: Path, answers: dict[str, int], texts: bool) -> None:
    said = {pid: f"The answer is {'ABC'[i]}." if texts else "ABC"[i] for pid, i in answers.items()}
    file.write_text("\n".join(json.dumps({"question_id": pid, "text": text}) for pid, text in said.items()))


def _write_table(file: Path, answers: dict[str, int], texts: bool) -> None:
    import pandas as pd

    frame = pd.DataFrame({"pid": list(answers), "prediction": list(answers.values())})
    if texts:
        frame["output"] = [f"({'ABC'[i]})" for i in answers.values()]
        frame["probabilities"] = [[0.2, 0.5, 0.3]] * len(answers)
        frame["prompt_tokens"], frame["truncated"] = 30, False
    if file.suffix == ".csv":
        frame.to_csv(file, index=False)
    else:
        frame.to_parquet(file)


def _settings(folder: Path) -> Reader:
    from mmadapter.config.files import config_yaml, differences
    from mmadapter.config.presets import PRESETS
    from mmadapter.runs.folder import RunFolder

    def read(file: Path) -> object:
        differences(file, PRESETS["tiny"])
        return RunFolder(file.parent).config

    seeds = tuple(config_yaml(config).encode() for config in PRESETS.values())
    return Reader(of_file("config.yaml", read)(folder), mutate.of_yaml, seeds, folder)


def _picture(folder: Path) -> Reader:
    from PIL import Image

    from mmadapter.vision.images import decode_rgb

    seeds = []
    for mode, form in (("RGBA", "PNG"), ("I;16", "PNG"), ("RGB", "JPEG"), ("P", "GIF"), ("RGB", "WEBP"), ("L", "BMP")):
        out = io.BytesIO()
        image = Image.linear_gradient("L").resize((9, 7)).convert("I" if mode == "I;16" else mode)
        (image.convert(mode) if mode == "I;16" else image).save(out, form)
        seeds.append(out.getvalue())
    where = str(folder / "image.png")

    def read(data: bytes) -> None:
        image = decode_rgb(data, where)
        image.resize((8, 8))

    return Reader(read, mutate.of_image, tuple(seeds), folder)


def _record(name: str, mutation: Mutation, seed: bytes) -> Callable[[Path], Reader]:
    def build(folder: Path) -> Reader:
        from mmadapter.report import figures
        from mmadapter.runs.folder import VariantFolder
        from mmadapter.runs.records import run_record

        def read(file: Path) -> None:
            record = run_record(VariantFolder(folder))
            if record.curve is not None:
                figures.loss_curves({"model": record.curve}, {"model": 0}, {"model": 0.0})
                figures.accuracy_curves({"model": record.curve}, {"model": 0})
            if record.heads is not None:
                for measure in figures.HEAT:
                    if record.heads.heads[measure].notna().all():
                        largest = float(record.heads.heads[measure].abs().max())
                        figures.heat_map(record.heads, measure, 0, largest)

        return Reader(of_file(name, read)(folder), mutation, (seed,), folder)

    return build


_LOG = [{"step": step, "loss": 1 / step, "learning_rate": 1e-2, "gradient_norm": 0.5} for step in range(1, 5)]
_LOG.append({"epoch": 1, "step": 4, "train_loss": 0.5, "val_loss": None, "val_accuracy": 61.5, "seconds": 1.5})
_HEADS = [
    {"layer": at, "head": h, "gate": 0.1, "prompts": 0.2, "image": None, "entropy": 1.5}
    for at in (2, 3)
    for h in (0, 1)
]


def _controls(folder: Path) -> Reader:
    import pandas as pd

    from mmadapter.evaluation.frame import question_frame
    from mmadapter.evaluation.reliance import option_order
    from mmadapter.runs.records import stored_controls
    from mmadapter.scienceqa.layout import read_layout

    data = read_layout(_layout(folder / "data"))["test"]
    asked = question_frame(data)
    answers = pd.DataFrame({"pid": list(data.problems), "prediction": [0, 1, 2, 0, 1]})
    turns = [answers.assign(condition=f"rotation {turn}", probabilities=None) for turn in range(3)]
    pd.concat(turns).to_parquet(folder / "controls.parquet")

    def read(file: Path) -> object:
        records = stored_controls(file, answers)
        return None if records is None else option_order(records, asked)

    seed = (folder / "controls.parquet").read_bytes()
    return Reader(of_file("controls.parquet", read)(folder), mutate.of_parquet, (seed,), folder)


def _alpaca(folder: Path) -> Reader:
    from mmadapter.instructions.alpaca import read_alpaca
    from mmadapter.instructions.template import instruction_prompt

    records = [{"instruction": f"Say {n}.", "input": "" if n % 2 else "Aloud.", "output": str(n)} for n in range(12)]

    def read(file: Path) -> None:
        for problem in read_alpaca(file, on_error="skip"):
            instruction_prompt(problem.question, problem.hint).encode()
        read_alpaca(file)

    return Reader(of_file("alpaca_data.json", read)(folder), mutate.of_json, (json.dumps(records).encode(),), folder)


def _text(folder: Path) -> Reader:
    from mmadapter.evaluation.rules import RULES

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for rule in RULES.values():
            for n_choices in (1, 3, 5):
                prediction, reason = rule(text, n_choices, "8")
                assert prediction is None or 0 <= prediction < n_choices
                assert prediction is not None or reason

    texts = ("The answer is (C).", "The answer is B.", "A", "c", "(A) or (B)?", "E. air", "Ⓐ The answer is \U0001d400.")
    return Reader(read, mutate.of_bytes, tuple(text.encode() for text in texts), folder)


_BUILDERS: dict[str, Callable[[Path], Reader]] = {
    "problems.json": _of_layout("problems.json"),
    "pid_splits.json": _of_layout("pid_splits.json"),
    "captions.json": _of_layout("captions.json"),
    "hub-parquet": _hub_table,
    "results.json": _predictions("p.json", mutate.of_json, _write_results),
    "answers.jsonl": _predictions("p.jsonl", mutate.of_json_lines, _write_lines),
    "predictions.csv": _predictions("p.csv", mutate.of_bytes, _write_table),
    "predictions.parquet": _predictions("p.parquet", mutate.of_parquet, _write_table),
    "answer-text": _text,
    "config.yaml": _settings,
    "adapter_config.json": models.adapter("adapter_config.json", mutate.of_json),
    "adapter.safetensors": models.adapter("adapter.safetensors", mutate.of_safetensors),
    "tokenizer.json": models.tokenizer,
    "image": _picture,
    "log.jsonl": _record("log.jsonl", mutate.of_json_lines, "\n".join(map(json.dumps, _LOG)).encode()),
    "attention.json": _record(
        "attention.json",
        mutate.of_json,
        json.dumps({"questions": 5, "with_image": 1, "adapter_len": 3, "heads": _HEADS}).encode(),
    ),
    "controls.parquet": _controls,
    "feature-shard": models.shard,
    "authors.pth": models.torch_file,
    "peft-config": models.peft("adapter_config.json", mutate.of_json),
    "peft.safetensors": models.peft("adapter_model.safetensors", mutate.of_safetensors),
    "alpaca.json": _alpaca,
}
NAMES = tuple(_BUILDERS)
