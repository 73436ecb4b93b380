"""What is no adapter, or another model's, or cannot be said in another format: told at once, nothing written."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmadapter.backbone.loading import load_llm, load_skeleton
from mmadapter.cli.convert import main
from mmadapter.errors import UserError
from mmadapter.interchange.convert import convert
from mmadapter.model import MultimodalAdapter
from tests.interchange.conftest import L, save_ours
from tests.interchange.test_authors import released
from tests.interchange.test_litgpt import written
from tests.tiny import HEADS, tiny_model


def test_a_skeleton_has_the_fingerprint_of_the_loaded_model(llama):
    for name in (str(llama), "tiny-llama"):
        skeleton = load_skeleton(name)
        assert skeleton.fingerprint == load_llm(name).fingerprint
        assert all(parameter.is_meta for parameter in skeleton.model.parameters())


class Opens:
    """What a hostile pickle does."""

    def __reduce__(self):
        return (open, ("was-run", "w"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (released() | {"other": Opens()}, "holds more than tensors, and is not loaded"),
        ({"model": {}}, "holds a mapping of 0, not tensors by name"),
        ([torch.zeros(1)], "not tensors by name"),
        ({"a": 1}, "'a' in it is no tensor"),
        ({"a": torch.zeros(1)}, "neither the authors' adapter nor litgpt's: its tensors are a"),
        ({"a": torch.zeros(1).expand(1 << 29)}, "claim more than"),
    ],
)
def test_files_that_are_no_adapter(plain_llama, tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "adapter.pth")
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "adapter.pth", tmp_path / "ours", "mmadapter", llm=str(plain_llama))
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.pth"]


def compressed(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(1 << 20))


def too_large(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data/0", b"")
        archive.filelist[0].file_size = archive.filelist[0].compress_size = (1 << 30) + 1


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: file.write_bytes(b"\x80\x02}q\x00."), "not a file of torch.save"),
        (lambda file: torch.save({"a": 1}, file, _use_new_zipfile_serialization=False), "not a file of torch.save"),
        (lambda file: file.mkdir(), "no adapter here"),
        (lambda file: None, "no such file"),
        (compressed, "a part of it is compressed"),
        (too_large, "holds 1,073,741,825 bytes"),
    ],
)
def test_files_that_are_none_of_torch(plain_llama, tmp_path, write, message):
    write(tmp_path / "adapter.pth")
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "adapter.pth", tmp_path / "ours", "mmadapter", llm=str(plain_llama))


def without(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {other: tensor for other, tensor in tensors.items() if other != name}


GATE, QUERY = "layers.0.attention.gate", "adapter_query.weight"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (without(released(), GATE), f"1 tensors are missing: {GATE}"),
        (released() | {"visual_query.weight": torch.zeros(1)}, "1 tensors are surplus: visual_query.weight"),
        (
            released() | {"layers.3.attention.gate": torch.zeros(1)},
            "has 3 layers, and the authors write a gate for each",
        ),
        (released() | {GATE: torch.ones(1, HEADS, 1, 1)}, "layer 0 has a gate that is not 0"),
        (released() | {QUERY: torch.zeros(21, 48)}, r"shape \(21, 48\): not 10 prompts for each"),
        (released() | {QUERY: torch.zeros(40, 48)}, r"shape \(40, 48\): not 10 prompts for each of 1 to 3"),
        (released() | {QUERY: torch.zeros(20, 47)}, r"its prompts have shape \(10, 47\); on .* it is \(K, 48\)"),
        (released() | {QUERY: torch.full((20, 48), torch.nan)}, "its prompts hold what is no finite number"),
        (
            {name: tensor[:0] if "wte" in name else tensor for name, tensor in written().items()},
            r"layer 1: its prompts have shape \(0, 48\)",
        ),
        (released(dtype=torch.float64), "its prompts are torch.float64, not float32 or half"),
        (released() | {"layers.2.attention.gate": torch.zeros(1, 5, 1, 1)}, "layer 2: 5 gates; .* has 6 heads"),
        (without(written(), "transformer.h.2.attn.gating_factor"), "layers 1, 2 and gates for layers 1;"),
        (written() | {"lm_head.weight": torch.zeros(1)}, "1 tensors are surplus: lm_head.weight"),
        (
            written() | {"transformer.h.01.attn.gating_factor": torch.zeros(1, 1, HEADS, 1)},
            "1 tensors are surplus: transformer.h.01",
        ),
        (
            {name.replace("h.1", "h.0"): tensor for name, tensor in written().items()},
            "has prompts for layers 0, 2 .* and the topmost ones are adapted",
        ),
    ],
)
def test_tensors_that_do_not_fit(plain_llama, tmp_path, tensors, message):
    torch.save(tensors, tmp_path / "adapter.pth")
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "adapter.pth", tmp_path / "ours", "mmadapter", llm=str(plain_llama))
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.pth"]


def test_what_other_formats_have_no_place_for(llama, plain_llama, tmp_path):
    model = tiny_model(gate=0.5)
    model.llm = load_llm(str(llama))
    model.save_pretrained(tmp_path / "multimodal")
    settings = {"adapter_len": 5, "adapter_layers": 2, "attention": "rand-init"}
    MultimodalAdapter.build(str(llama), None, **settings).save_pretrained(tmp_path / "rand-init")
    save_ours(tmp_path / "identity", plain_llama, torch.ones(L, HEADS), gate_activation="identity")
    for to in ("authors", "peft"):
        with pytest.raises(UserError, match="this adapter reads images"):
            convert(tmp_path / "multimodal", tmp_path / "other", to)
        with pytest.raises(UserError, match="this adapter has no gates"):
            convert(tmp_path / "rand-init", tmp_path / "other", to)
    with pytest.raises(UserError, match="gates for tanh would be rounded"):
        convert(tmp_path / "identity", tmp_path / "other", "authors", gate="tanh")
    assert not list(tmp_path.glob("other*"))


def test_another_backbone_than_its_own_is_refused(llama, plain_llama, tmp_path):
    save_ours(tmp_path / "ours", llama, torch.ones(L, HEADS))
    with pytest.raises(UserError, match=r"was trained on .* give the language model that it names"):
        convert(tmp_path / "ours", tmp_path / "adapter.pth", "authors", llm=str(plain_llama))


def test_nothing_half_written(llama, tmp_path, monkeypatch):
    torch.save(released(), tmp_path / "adapter.pth")

    def full_disk(path, text):
        raise UserError(f"{path}: cannot be written: No space left on device")

    monkeypatch.setattr("mmadapter.adapter.weights.write_text", full_disk)
    with pytest.raises(UserError, match="No space left"):
        convert(tmp_path / "adapter.pth", tmp_path / "ours", "mmadapter", llm=str(llama))
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.pth"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "authors"], "is in that format already (authors)"),
        (["--adapter-len", "0"], "--adapter-len 0: must be at least 1"),
        ([], "does not say which language model it belongs to\n  --llm NAME says it"),
    ],
)
def test_the_command_tells_what_is_wrong(tmp_path, capsys, arguments, message):
    torch.save(released(), tmp_path / "adapter.pth")
    assert main([str(tmp_path / "adapter.pth"), str(tmp_path / "ours"), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_command(plain_llama, tmp_path, capsys):
    torch.save(released(), tmp_path / "adapter.pth")
    there = [str(tmp_path / "adapter.pth"), str(tmp_path / "ours"), "--llm", str(plain_llama)]
    assert main(there) == 0
    told = capsys.readouterr().err
    assert "10 prompts in each of 2 layers" in told
    assert "gates are read as tanh(gate)" in told
    assert main(there) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([str(tmp_path / "ours"), str(tmp_path / "back.pth"), "--to", "authors", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main([str(tmp_path / "ours"), str(tmp_path / "peft"), "--to", "peft", "--gate", "tanh"]) == 2
    assert "--gate is for the authors' layout" in capsys.readouterr().err
    assert json.loads((tmp_path / "ours" / "adapter_config.json").read_text())["converted_from"] == "authors"
