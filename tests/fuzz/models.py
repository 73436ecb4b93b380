"""Readers of adapters, ours and others', of tokenizers and of stored features."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import mutate
from tests.fuzz.mutate import Mutation
from tests.fuzz.reader import Reader, of_file


def adapter(name: str, mutation: Mutation) -> Callable[[Path], Reader]:
    def build(folder: Path) -> Reader:
        from mmadapter.adapter.parameters import Adapter, AdapterConfig
        from mmadapter.adapter.weights import load_adapter, save_adapter

        config = AdapterConfig(
            hidden_size=6, num_heads=2, adapter_len=3, adapter_layers=2, feature_sizes=(4, 5), projection_hidden=7
        )
        save_adapter(Adapter(config), {"llm": "tiny-llama", "input": {"answer": "text"}}, folder)
        read = of_file(name, lambda file: load_adapter(file.parent))(folder)
        return Reader(read, mutation, ((folder / name).read_bytes(),), folder)

    return build


def tokenizer(folder: Path) -> Reader:
    from mmadapter.backbone.model_files import load_tokenizer
    from tests.tiny import byte_tokenizer

    byte_tokenizer().save_pretrained(folder)

    def read(file: Path) -> object:
        tokenizer = load_tokenizer(str(file.parent), file.parent)
        return tokenizer("Which is solid?").input_ids

    return Reader(
        of_file("tokenizer.json", read)(folder), mutate.of_json, ((folder / "tokenizer.json").read_bytes(),), folder
    )


def shard(folder: Path) -> Reader:
    import torch

    from mmadapter.storage.tensors import save_tensors
    from mmadapter.vision.store import KEY_BYTES, _read_shard

    file = folder / "shard.safetensors"
    shard = {"keys": torch.zeros(3, KEY_BYTES, dtype=torch.uint8), "features": torch.ones(3, 5)}
    save_tensors(file, shard, {"tower": "tiny-clip"})
    read = of_file(file.name, lambda file: _read_shard(file, 5))(folder)
    return Reader(read, mutate.of_safetensors, (file.read_bytes(),), folder)


def torch_file(folder: Path) -> Reader:
    """The authors' adapters and litgpt's."""
    import torch

    from mmadapter.interchange.authors import from_authors, is_authors
    from mmadapter.interchange.litgpt import from_litgpt
    from mmadapter.interchange.torchfile import read_torch_file
    from tests.interchange.test_authors import released
    from tests.interchange.test_litgpt import written
    from tests.tiny import tiny_lm

    llm = tiny_lm()

    def read(file: Path) -> object:
        tensors = read_torch_file(file)
        if is_authors(tensors):
            return from_authors(tensors, llm, 10, "tanh", str(file))
        return from_litgpt(tensors, llm, str(file))

    seeds = []
    for content in (released(), {"model": written()}):
        saved = io.BytesIO()
        torch.save(content, saved)
        seeds.append(saved.getvalue())
    return Reader(of_file("adapter.pth", read)(folder), mutate.of_torch_file, tuple(seeds), folder)


def peft(name: str, mutation: Mutation) -> Callable[[Path], Reader]:
    """One of the files of PEFT's adaption prompt."""

    def build(folder: Path) -> Reader:
        from mmadapter.adapter.parameters import Adapter, AdapterConfig
        from mmadapter.interchange.peft import base_model, from_peft, to_peft
        from tests.tiny import HEADS, HIDDEN, tiny_lm

        llm = tiny_lm()
        config = AdapterConfig(
            hidden_size=HIDDEN, num_heads=HEADS, adapter_len=3, adapter_layers=2, gate_activation="identity"
        )
        to_peft(Adapter(config), llm, folder)

        def read(file: Path) -> object:
            base_model(file.parent)
            return from_peft(file.parent, llm)

        return Reader(of_file(name, read)(folder), mutation, ((folder / name).read_bytes(),), folder)

    return build
