"""The malicious inputs of SECURITY.md, tried: each gets the message that its table says, and nothing else happens.

python -m tests.test_security    writes the table anew
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from mmadapter.errors import UserError
from tests.scienceqa.conftest import raw_record, write_layout_folder

SECURITY = Path(__file__).parent.parent / "SECURITY.md"
BEGIN, END = "<!-- tests/test_security.py: begin -->\n", "<!-- end -->\n"
MARKER = "code-was-run"
"""A file that code in any of these inputs would leave behind."""


@dataclass(frozen=True)
class Case:
    """One malicious input."""

    what: str
    told: str
    """Part of the message."""
    attempt: Callable[[Path], object]
    """Makes the input in a folder and reads it."""


CASES: list[Case] = []


def case(what: str, told: str):
    def add(attempt: Callable[[Path], object]) -> Callable[[Path], object]:
        CASES.append(Case(what, told, attempt))
        return attempt

    return add


def layout(folder: Path, *, pid: str = "8", text: str | bytes | None = None, **changes) -> Path:
    """A data folder with one problem, or with this text as its problems.json."""
    record = raw_record(**{"split": "test", "image": "image.png"} | changes)
    write_layout_folder(folder / "data", {pid: record}, pictures={"test/8/image.png": b""})
    if text is not None:
        (folder / "data" / "problems.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "data"


def read(folder: Path) -> object:
    from mmadapter.data import load_dataset

    return load_dataset("scienceqa", folder)


def outside(folder: Path) -> Path:
    secret = folder / "outside" / "image.png"
    secret.parent.mkdir()
    secret.write_bytes(b"secret")
    return secret


class Evil:
    """What a pickle can do when it is loaded."""

    def __reduce__(self):
        return os.system, (f"touch {MARKER}",)


# data


@case("`problems.json`: `image` is `../../../../outside/image.png`", "must be a plain file name")
def _(folder):
    outside(folder)
    read(layout(folder, image="../../../../outside/image.png"))


@case("`problems.json`: `image` is an absolute path", "must be a plain file name")
def _(folder):
    read(layout(folder, image=str(outside(folder))))


@case("a picture that is a symbolic link out of the data folder", "is not a file inside the data folder")
def _(folder):
    picture = layout(folder) / "images/test/8/image.png"
    picture.unlink()
    picture.symlink_to(outside(folder))
    read(folder / "data")


@case("a folder of pictures that is a symbolic link out of the data folder", "leads out of")
def _(folder):
    pictures = layout(folder) / "images/test"
    shutil.rmtree(pictures)
    pictures.symlink_to(outside(folder).parent)
    read(folder / "data")


@case("a picture that is a pipe, which would never end", "is not a file inside the data folder")
def _(folder):
    picture = layout(folder) / "images/test/8/image.png"
    picture.unlink()
    os.mkfifo(picture)
    read(folder / "data")


@case("`problems.json` that is a pipe", "is not a regular file")
def _(folder):
    (layout(folder) / "problems.json").unlink()
    os.mkfifo(folder / "data" / "problems.json")
    read(folder / "data")


@case("`problems.json` of 200 MB", "at most 134,217,728 are read")
def _(folder):
    os.truncate(layout(folder) / "problems.json", 200_000_000)
    read(folder / "data")


@case("`problems.json`: lists nested 100,000 deep", "not valid JSON")
def _(folder):
    read(layout(folder, text='{"8": ' + "[" * 100_000))


@case("`problems.json`: a number of 10,000 digits", "not valid JSON")
def _(folder):
    read(layout(folder, text='{"8": ' + "9" * 10_000 + "}"))


@case("`problems.json` that is not UTF-8", "is not UTF-8")
def _(folder):
    read(layout(folder, text=b'{"8": "\xff"}'))


@case("`problems.json`: a pid twice, with another answer", "occurs more than once")
def _(folder):
    record = json.dumps(raw_record(split="test"))
    read(layout(folder, text=f'{{"8": {record}, "8": {record}}}'))


@case("`problems.json`: a pid with a terminal's escape sequence", r"pid '\x1b[2J'")
def _(folder):
    read(layout(folder, pid="\x1b[2J"))


@case("`problems.json`: a question of a million characters", "at most 100,000 are read")
def _(folder):
    read(layout(folder, question="x" * 10**6))


@case("`problems.json`: half a surrogate pair", "is not valid Unicode")
def _(folder):
    read(layout(folder, hint="\ud83d"))


@case("`problems.json`: an answer of NaN", "answer: must be a whole number")
def _(folder):
    read(layout(folder, answer=float("nan")))


@case("`problems.json`: a grade of `\\x1b]0;...` in an error message", r"grade: is '\x1b]0;title\x07'")
def _(folder):
    read(layout(folder, grade="\x1b]0;title\x07"))


@case("the hub's parquet: 4 GB of one repeated text in 1 kB", "MB decoded are not read")
def _(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 2_000
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["x" * 2_000_000]))
    bomb = {"question": repeated, "choices": [["a"]] * n, "answer": [0] * n}
    bomb["image"] = pa.nulls(n, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    small = {"compression": "zstd", "dictionary_pagesize_limit": 2**23, "write_statistics": False}
    pq.write_table(pa.table(bomb), folder / "test.parquet", store_schema=False, **small)
    assert (folder / "test.parquet").stat().st_size < 1000
    read(folder)


@case("the hub's parquet: a text that is not UTF-8", "not a readable parquet file")
def _(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.StringArray.from_buffers(1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe"))
    image = pa.nulls(1, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"question": text, "choices": [["a"]], "answer": [0], "image": image})
    pq.write_table(table, folder / "test.parquet")
    read(folder)


# pictures


def decode(folder: Path, data: bytes) -> object:
    from mmadapter.vision.images import decode_rgb

    return decode_rgb(data, str(folder / "image.png"))


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


@case("a picture of 60,000 x 60,000 pixels in 100 bytes", "the image is too large")
def _(folder):
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(x) - 4) + x + struct.pack(">I", zlib.crc32(x)) for x in (header, b"IDAT", b"IEND")]
    decode(folder, b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@case("a picture of 1 x 150,000 pixels, 22 GB when resized", "the image is too narrow")
def _(folder):
    decode(folder, encoded(Image.new("L", (1, 150_000))))


@case("a picture whose comment unpacks to 100 MB", "not a readable image")
def _(folder):
    whole = encoded(Image.new("L", (4, 4)))
    text = b"zTXtx\x00\x00" + zlib.compress(bytes(10**8))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    decode(folder, whole[:33] + chunk + whole[33:])


@case("an EPS file, for which Pillow would start another program", "not a readable image")
def _(folder):
    decode(folder, encoded(Image.new("RGB", (4, 4)), "EPS"))


# predictions


def score(folder: Path, name: str, content: bytes | str) -> object:
    from mmadapter.evaluation.frame import question_frame
    from mmadapter.evaluation.prediction_files import read_predictions

    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_predictions(file, question_frame(read(layout(folder))["test"]))


@case("a result file with an index of 10^30", "no index of an option")
def _(folder):
    score(folder, "p.json", '{"results": {"8": 1' + "0" * 30 + "}}")


@case("a result file that answers a question twice", "keys occur more than once")
def _(folder):
    score(folder, "p.json", '{"results": {"8": 0, "8": 1}}')


@case("answers for questions that were not asked", "are not asked")
def _(folder):
    score(folder, "p.csv", "pid,prediction\n8,0\n9,0\n")


@case("a parquet file with pictures where numbers should be", "neither texts nor numbers")
def _(folder):
    import pandas as pd

    pd.DataFrame({"pid": ["8"], "prediction": [b"\x89PNG"]}).to_parquet(folder / "q.parquet")
    score(folder, "p.parquet", (folder / "q.parquet").read_bytes())


@case("a file named `\\x1b[31m.csv`", r"/\x1b[31m.csv: ")
def _(folder):
    score(folder, "\x1b[31m.csv", "pid\n")


# configurations


def configured(folder: Path, text: str) -> object:
    from mmadapter.config.files import read_settings

    (folder / "config.yaml").write_text(text)
    return read_settings(folder / "config.yaml")


@case("`config.yaml`: aliases of aliases, a billion values in ten lines", "aliases (*name) are not read")
def _(folder):
    configured(folder, "a: &a [1]\n" + "\n".join(f"b{i}: &b{i} [{'*a, ' * 9}]" for i in range(9)))


@case("`config.yaml`: `!!python/object/apply:os.system`", "not YAML")
def _(folder):
    configured(folder, f"llm: !!python/object/apply:os.system [touch {MARKER}]")


@case("`config.yaml`: lists nested 10,000 deep", "lists in lists are not read")
def _(folder):
    configured(folder, "llm: " + "[" * 10_000)


@case("`config.yaml`: a setting twice", "settings given twice: llm")
def _(folder):
    configured(folder, "llm: a\nllm: b")


@case("`config.yaml`: a list where a number should be", "epochs: must be a whole number, is a list of 2")
def _(folder):
    configured(folder, "epochs: [1, 2]")


# adapters


def adapter(folder: Path, weights: bytes | None = None, **changes) -> object:
    from mmadapter.adapter.parameters import Adapter, AdapterConfig
    from mmadapter.adapter.weights import load_adapter, save_adapter

    save_adapter(Adapter(AdapterConfig(hidden_size=6, num_heads=2, adapter_len=3, adapter_layers=2)), {}, folder)
    if weights is not None:
        (folder / "adapter.safetensors").write_bytes(weights)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return load_adapter(folder)


@case("`adapter.safetensors` that is a pickle", "not this adapter's weights")
def _(folder):
    adapter(folder, weights=pickle.dumps(Evil()))


@case("`adapter.safetensors` whose header claims 2^60 bytes", "not this adapter's weights")
def _(folder):
    adapter(folder, weights=struct.pack("<Q", 2**60) + b"{}")


@case("`adapter.safetensors` of 2 GB", "at most 1,073,741,824 are read")
def _(folder):
    from mmadapter.adapter.weights import load_adapter

    adapter(folder)
    os.truncate(folder / "adapter.safetensors", 2**31)
    load_adapter(folder)


@case("`adapter.safetensors` with a NaN in it", "holds values that are not finite numbers")
def _(folder):
    import torch
    from safetensors.torch import save

    adapter(folder, weights=save({"gates": torch.full((2, 2), torch.nan), "prompts": torch.zeros(2, 3, 6)}))


@case("`adapter_config.json` that claims 10^12 prompts", "each is from 1 to 1,048,576")
def _(folder):
    adapter(folder, adapter_len=10**12)


@case("`adapter_config.json` with a text for a size", "hidden_size: must be a whole number, is '6'")
def _(folder):
    adapter(folder, hidden_size="6")


@case("a `.pth` adapter that is a program", "holds more than tensors")
def _(folder):
    import torch

    from mmadapter.interchange.torchfile import read_torch_file

    torch.save({"adapter_query.weight": Evil()}, folder / "adapter.pth")
    read_torch_file(folder / "adapter.pth")


@case("a `.pth` adapter of 1 kB that takes PyTorch's restricted reader a day", "things more than once")
def _(folder):
    from mmadapter.interchange.torchfile import read_torch_file
    from tests.storage.test_untrusted import folded, with_pickle

    read_torch_file(with_pickle(folder / "adapter.pth", folded(40)))


@case("a `.pth` adapter whose tensor repeats one number 2^40 times", "tensors claim more than")
def _(folder):
    import torch

    from mmadapter.interchange.torchfile import read_torch_file

    torch.save({"adapter_query.weight": torch.zeros(1).expand(1 << 40)}, folder / "adapter.pth")
    read_torch_file(folder / "adapter.pth")


# language models and image towers


def language_model(folder: Path, **changes) -> Path:
    from tests.tiny import byte_tokenizer, tiny_llama

    tiny_llama().save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return folder


def loaded(folder: Path) -> object:
    from mmadapter.backbone.loading import load_llm

    return load_llm(str(folder))


@case("a language model of an unknown type that brings its own code", "which is never run")
def _(folder):
    language_model(folder, model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"})
    (folder / "evil.py").write_text(f"import os\nos.system('touch {MARKER}')\n")
    loaded(folder)


@case("a language model whose weights are a pickle", "which can run a program, and are not read")
def _(folder):
    (language_model(folder) / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    loaded(folder)


@case("a language model that claims a billion layers", "at most 1,024 are built")
def _(folder):
    loaded(language_model(folder, num_hidden_layers=10**9))


@case("a language model without heads", "cannot load it")
def _(folder):
    loaded(language_model(folder, num_attention_heads=0))


@case("`tokenizer.json` of another shape", "cannot load it")
def _(folder):
    (language_model(folder) / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": [], "merges": {}}}')
    loaded(folder)


@case("`tokenizer.json`: an option named by an escape sequence, which tokenizers would print", "is not printable")
def _(folder):
    file = language_model(folder) / "tokenizer.json"
    content = json.loads(file.read_text())
    content["added_tokens"][0]["\x1b]0;title\x07"] = True
    file.write_text(json.dumps(content))
    loaded(folder)


@case("an image tower whose weights are a pickle", "these weights do not fit")
def _(folder):
    from mmadapter.vision.towers import load_tower
    from tests.trained_runs import write_backbones

    _, clip = write_backbones(folder)
    (clip / "open_clip_model.safetensors").unlink()
    (clip / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    _ = load_tower(str(clip), scales=2).model


@case("an image tower for pictures of a million pixels a side", "a side has 1 to 4,096 pixels")
def _(folder):
    from mmadapter.vision.towers import load_tower
    from tests.trained_runs import write_backbones

    config = write_backbones(folder)[1] / "open_clip_config.json"
    config.write_text(config.read_text().replace('"image_size": 28', '"image_size": 1000000'))
    load_tower(str(config.parent), scales=2)


@case("an image tower whose pictures are divided by 0", "cannot load it")
def _(folder):
    from mmadapter.vision.towers import load_tower
    from tests.trained_runs import write_backbones

    config = write_backbones(folder)[1] / "open_clip_config.json"
    config.write_text(config.read_text().replace('"std": [0.25,', '"std": [0,'))
    load_tower(str(config.parent), scales=2)


# the folder of a run


def run_record(folder: Path, name: str, content: str) -> object:
    from mmadapter.runs import records
    from mmadapter.runs.folder import VariantFolder

    (folder / name).write_text(content)
    return records.run_record(VariantFolder(folder))


@case("`attention.json` with a gate of 10^308, which no figure can draw", "damaged")
def _(folder):
    head = {"layer": 0, "head": 0, "gate": 1e308, "prompts": 0, "image": None, "entropy": 0}
    run_record(
        folder, "attention.json", json.dumps({"questions": 1, "with_image": 0, "adapter_len": 1, "heads": [head]})
    )


@case("`log.jsonl` with an epoch 0", "damaged")
def _(folder):
    run_record(folder, "log.jsonl", '{"epoch": 0, "step": 0, "train_loss": 1, "val_loss": 1, "val_accuracy": 1}')


def row(each: Case) -> str:
    return f"| {each.what} | `{each.told}` |\n"


def table() -> str:
    return "| input | what one is told |\n| :-- | :-- |\n" + "".join(map(row, CASES))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore:Detected pickle protocol")
@pytest.mark.parametrize("each", CASES, ids=lambda each: each.what[:60])
def test_it_is_refused(each, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        each.attempt(tmp_path)
    assert each.told in str(error.value)
    assert str(tmp_path) in str(error.value) or each.told.startswith("/")
    assert "\x1b" not in "".join((str(error.value), *capfd.readouterr()))
    assert not list(tmp_path.rglob(MARKER))


def test_the_table_of_security_md_is_these_cases():
    _, rest = SECURITY.read_text(encoding="utf-8").split(BEGIN)
    assert rest.split(END)[0] == table(), "run: python -m tests.test_security"


if __name__ == "__main__":
    before, rest = SECURITY.read_text(encoding="utf-8").split(BEGIN)
    SECURITY.write_text(before + BEGIN + table() + END + rest.split(END)[1], encoding="utf-8")
    sys.exit()
