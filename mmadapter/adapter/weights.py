"""An adapter's files: `adapter.safetensors` and `adapter_config.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mmadapter.adapter.parameters import ATTENTIONS, GATE_ACTIVATIONS, Adapter, AdapterConfig
from mmadapter.errors import UserError
from mmadapter.storage.files import write_text, write_whole
from mmadapter.storage.paths import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from mmadapter.storage.untrusted import MAX_RECORD, checked_fields, read_json_object, repeated_keys, short

FORMAT = "mmadapter-1"
MAX_SIZE = 1 << 20
"""Largest size of any axis of an adapter; LLaMA-7B's widest is 4,096."""
MAX_WEIGHTS = 1 << 30
"""1 GiB; an adapter has a few megabytes."""


def save_adapter(adapter: Adapter, about: dict, folder: Path) -> None:
    """Write both files, each whole or not at all.

    Args:
        about: other entries of the configuration: names and fingerprints of the frozen models, the input format.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.state_dict().items()}
    data = save(tensors, {"format": FORMAT})  # `save_file` would make a file that only its owner can read
    write_whole(folder / ADAPTER_WEIGHTS, lambda part: part.write_bytes(data))
    config = {"format": FORMAT, **about, **asdict(adapter.config)}
    write_text(folder / ADAPTER_CONFIG, json.dumps(config, indent=2) + "\n")


def load_adapter(folder: Path) -> tuple[Adapter, dict]:
    """Read an adapter and the `about` that it was saved with.

    Raises:
        UserError: a file is missing or invalid, or the tensors do not fit the configuration.
    """
    path, weights = folder / ADAPTER_CONFIG, folder / ADAPTER_WEIGHTS
    if not path.is_file():
        missing = f"no adapter here: there is no {ADAPTER_CONFIG}" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {missing}")
    saved = read_json_object(path, MAX_RECORD)
    config = _config(path, saved)
    with torch.device("meta"):  # a file's claims about sizes allocate nothing
        adapter = Adapter(config)
    # copied: tensors left in the file's memory are aligned differently, and their sums differ in the last bit
    tensors = {name: tensor.to(torch.float32, copy=True) for name, tensor in read_weights(weights).items()}
    try:
        adapter.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise UserError(f"{weights}: not this adapter's weights: {' '.join(str(error).split())[:300]}") from error
    return adapter, {name: value for name, value in saved.items() if name not in {"format", *asdict(config)}}


def _config(path: Path, saved: dict) -> AdapterConfig:
    where = f"{path}: not an adapter's configuration"
    saved.setdefault("attention", "zero-init")  # version 0.1.0 wrote neither this
    saved.setdefault("components", None)  # nor this
    names = [field.name for field in fields(AdapterConfig)]
    if saved.get("format") != FORMAT:
        raise UserError(f"{where}: the format is not {FORMAT}")
    if wrong := [name for name in names if name not in saved] or repeated_keys(saved):
        raise UserError(f"{where}: it must have exactly one entry {wrong[0][:40]}")
    values = checked_fields(AdapterConfig, {name: saved[name] for name in names}, where)
    sizes = [size for value in values.values() for size in (value if isinstance(value, list) else [value])]
    if beyond := [size for size in sizes if isinstance(size, int) and not 1 <= size <= MAX_SIZE]:
        raise UserError(f"{where}: a size is {beyond[0]}: each is from 1 to {MAX_SIZE:,}")
    for name, known in {"gate_activation": GATE_ACTIVATIONS, "attention": ATTENTIONS}.items():
        if values[name] not in known:
            title = name.replace("_", " ")
            raise UserError(f"{where}: no {title} {short(values[name])}: choose {' or '.join(known)}")
    return AdapterConfig(**values | {"feature_sizes": tuple(values["feature_sizes"])})


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read the tensors of an adapter's safetensors file, in the file's memory; all are floating point and finite.

    Raises:
        UserError: the file is missing, too large or no safetensors file, or holds other values.
    """
    where = f"{file}: not this adapter's weights"
    if not file.is_file():
        raise UserError(f"{where}: no such file")
    try:
        if (size := file.stat().st_size) > MAX_WEIGHTS:
            raise UserError(f"{where}: has {size:,} bytes, at most {MAX_WEIGHTS:,} are read")
        tensors = load_file(file)
        if wrong := [n for n, t in tensors.items() if not t.is_floating_point() or not t.isfinite().all()]:
            raise UserError(f"{where}: {wrong[0][:40]} holds values that are not finite numbers")
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())[:300]}") from error
    return tensors
