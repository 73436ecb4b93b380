"""Conversion of an adapter from any format to any other; litgpt's is only read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from torch import Tensor

from mmadapter.adapter.parameters import Adapter
from mmadapter.adapter.weights import load_adapter, save_adapter
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.loading import load_skeleton
from mmadapter.config.settings import InputFormat
from mmadapter.errors import UserError
from mmadapter.interchange.authors import ADAPTER_LEN, from_authors, is_authors, to_authors
from mmadapter.interchange.litgpt import from_litgpt, is_litgpt
from mmadapter.interchange.peft import WEIGHTS as PEFT_WEIGHTS
from mmadapter.interchange.peft import base_model, from_peft, to_peft
from mmadapter.interchange.torchfile import read_torch_file, write_torch_file
from mmadapter.storage.files import write_errors
from mmadapter.storage.hub import adapter_folder
from mmadapter.storage.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from mmadapter.storage.untrusted import MAX_RECORD, read_json_object

Format = Literal["mmadapter", "authors", "peft"]
Gate = Literal["tanh", "identity"]

NOTES = {
    "authors": "gates are read as {gate}(gate): the authors' training code has tanh, their inference code identity "
    "(--gate)",
    "litgpt": "since its pull request 1013 (in 0.5.13) litgpt takes the prompts' keys and values from other rows than "
    "its formula does: an adapter trained by such a version answers differently here",
}


def convert(
    source: str | Path,
    output: Path,
    to: Format,
    *,
    llm: str | None = None,
    adapter_len: int | None = None,
    gate: Gate | None = None,
) -> list[str]:
    """Read an adapter in the format that it has and write it in another.

    Args:
        source: a folder of mmadapter or PEFT, a repository on the hub that holds one, or a file of the authors or
            litgpt.
        output: a new folder, or for `authors` a new file.
        llm: the frozen language model, a name for `load_llm`; None for the one that the source names.
        adapter_len: K of an authors' file; None is 10.
        gate: the activation of gates in the authors' code; None is tanh for reading, and for writing the adapter's own.

    Returns:
        Lines for the user: what was converted, and what to know about it.

    Raises:
        UserError: an adapter that cannot be read, does not belong to this language model, or that the other format
            cannot hold exactly. Nothing is written then.
    """
    if output.exists():
        raise UserError(f"{output}: is there already; name one that is not")
    if adapter_len is not None and adapter_len < 1:
        raise UserError(f"--adapter-len {adapter_len}: must be at least 1")
    source = adapter_folder(source, [ADAPTER_WEIGHTS, PEFT_WEIGHTS])
    kind, tensors = _kind(source)
    if kind == to:
        raise UserError(f"{source}: is in that format already ({kind})\n  --to says in which it is to be written")
    if adapter_len is not None and kind != "authors":
        raise UserError(f"--adapter-len: {source} says itself how long its prompts are")
    if gate is not None and "authors" not in (kind, to):
        raise UserError("--gate is for the authors' layout, which does not say what is done with its gates")
    adapter, model = _read(source, kind, tensors, llm, adapter_len or ADAPTER_LEN, gate or "tanh")
    if to == "mmadapter":
        about = {
            "llm": model.name,
            "llm_fingerprint": model.fingerprint,
            "clip": None,
            "clip_fingerprint": None,
            "input": asdict(InputFormat()),
            "converted_from": kind,
        }
        _write_folder(output, lambda folder: save_adapter(adapter, about, folder))
    elif to == "peft":
        _write_folder(output, lambda folder: to_peft(adapter, model, folder))
    else:
        write_torch_file(to_authors(adapter, model, gate), output)
    config, size = adapter.config, sum(part.numel() for part in adapter.parameters())
    converted = (
        f"{source} ({kind}) -> {output} ({to}): {config.adapter_len} prompts in each of {config.adapter_layers} layers "
        f"of {model.name}, {size:,} parameters"
    )
    return [converted, *([NOTES[kind].format(gate=gate or "tanh")] if kind in NOTES else [])]


def _kind(source: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the source's format, and its tensors if it is a file."""
    if source.is_dir():
        file = source / ADAPTER_CONFIG  # both formats' configuration has this name
        if not file.exists():
            raise UserError(f"{source}: no adapter here: there is no {ADAPTER_CONFIG}")
        return ("peft" if "peft_type" in read_json_object(file, MAX_RECORD) else "mmadapter"), {}
    tensors = read_torch_file(source)
    for kind, recognised in (("authors", is_authors), ("litgpt", is_litgpt)):
        if recognised(tensors):
            return kind, tensors
    some = ", ".join(name[:60] for name in list(tensors)[:3])
    raise UserError(f"{source}: neither the authors' adapter nor litgpt's: its tensors are {some}")


def _read(
    source: Path, kind: str, tensors: dict[str, Tensor], llm: str | None, length: int, gate: Gate
) -> tuple[Adapter, LanguageModel]:
    """Return the adapter, and its language model without weights."""
    if kind == "mmadapter":
        adapter, saved = load_adapter(source)
        model = _skeleton(source, llm or saved.get("llm"))
        if model.fingerprint != saved.get("llm_fingerprint"):
            raise UserError(
                f"{source}: this adapter was trained on {saved.get('llm')} ({saved.get('llm_fingerprint')}), not on "
                f"{model.name} ({model.fingerprint}): give the language model that it names"
            )
        return adapter, model
    if kind == "peft":
        model = _skeleton(source, llm or base_model(source))
        return from_peft(source, model), model
    model = _skeleton(source, llm)
    if kind == "authors":
        return from_authors(tensors, model, length, gate, str(source)), model
    return from_litgpt(tensors, model, str(source)), model


def _skeleton(source: Path, name: object) -> LanguageModel:
    if not isinstance(name, str):
        raise UserError(f"{source}: does not say which language model it belongs to\n  --llm NAME says it")
    return load_skeleton(name)


def _write_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary folder beside `folder`, then put it in its place: whole, or not at all."""
    part = folder.with_name(folder.name + ".part")
    try:
        with write_errors(folder):
            part.mkdir(parents=True)
            write(part)
            os.replace(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
