"""An adapter on disk: `adapter.safetensors` and `adapter_config.json`."""

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
"""Largest axis of an adapter; LLaMA-7B's is 4,096."""
MAX_WEIGHTS = 1 << 30
"""1 GiB; an adapter is a few megabytes."""


def save_adapter(adapter: Adapter, about: dict, folder: Path) -> None:
    """Write both files, each whole or not at all.

    Args:
        about: further fields of the configuration: names and fingerprints of the frozen models, the input format.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.state_dict().items()}
    data = save(tensors, {"format": FORMAT})  # `save_file` would make a file that only its owner can read
    write_whole(folder / ADAPTER_WEIGHTS, lambda part: part.write_bytes(data))
    config = {"format": FORMAT, **about, **asdict(adapter.config)}
    write_text(folder / ADAPTER_CONFIG, json.dumps(config, indent=2) + "\n")


def load_adapter(folder: Path) -> tuple[Adapter, dict]:
    """Read what `save_adapter` wrote: the adapter and the further fields.

    Raises:
        UserError: a missing or wrong file, or tensors that do not fit the configuration.
    """
    path = folder / ADAPTER_CONFIG
    if not path.is_file():
        raise UserError(f"{folder}: no adapter here: there is no {ADAPTER_CONFIG}")
    saved = read_json_object(path, MAX_RECORD)
    config = _config(path, saved)
    with torch.device("meta"):  # no memory for sizes that only a file claims
        adapter = Adapter(config)
    _load(adapter, folder / ADAPTER_WEIGHTS)
    own = {"format", *(field.name for field in fields(AdapterConfig))}
    return adapter, {name: value for name, value in saved.items() if name not in own}


def _config(path: Path, saved: dict) -> AdapterConfig:
    where = f"{path}: not an adapter's configuration"
    for name, value in {"attention": "zero-init", "components": None}.items():
        saved.setdefault(name, value)  # not in files of version 0.1.0
    names = [field.name for field in fields(AdapterConfig)]
    if saved.get("format") != FORMAT:
        raise UserError(f"{where}: the format is not {FORMAT}")
    if wrong := [name for name in names if name not in saved] or repeated_keys(saved):
        raise UserError(f"{where}: once, and no more, it must say {wrong[0][:40]}")
    own = checked_fields(AdapterConfig, {name: saved[name] for name in names}, where)
    sizes = [size for value in own.values() for size in (value if isinstance(value, list) else [value])]
    if beyond := [size for size in sizes if isinstance(size, int) and not 1 <= size <= MAX_SIZE]:
        raise UserError(f"{where}: a size is {beyond[0]}: each is from 1 to {MAX_SIZE:,}")
    if own["gate_activation"] not in GATE_ACTIVATIONS:
        raise UserError(
            f"{where}: no gate activation {short(own['gate_activation'])}: choose {' or '.join(GATE_ACTIVATIONS)}"
        )
    if own["attention"] not in ATTENTIONS:
        raise UserError(f"{where}: no attention {short(own['attention'])}: choose {' or '.join(ATTENTIONS)}")
    return AdapterConfig(**own | {"feature_sizes": tuple(own["feature_sizes"])})


def _load(adapter: Adapter, file: Path) -> None:
    """Load tensors of exactly its names and shapes."""
    tensors = read_weights(file)
    try:
        # Copied: a tensor left where the file put it is aligned differently, and sums differ in their last bit.
        owned = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
        adapter.load_state_dict(owned, assign=True)
    except RuntimeError as error:
        raise UserError(f"{file}: not this adapter's weights: {' '.join(str(error).split())[:300]}") from error


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read the tensors of an adapter's safetensors file, floating point and finite.

    Raises:
        UserError: no such file, another kind of file, too large, or not a finite number.
    """
    where = f"{file}: not this adapter's weights"
    if not file.is_file():
        raise UserError(f"{where}: no such file")
    try:
        if (size := file.stat().st_size) > MAX_WEIGHTS:
            raise UserError(f"{where}: has {size:,} bytes, at most {MAX_WEIGHTS:,} are read")
        tensors = load_file(file)
        if wrong := [n for n, t in tensors.items() if not t.is_floating_point() or not t.isfinite().all()]:
            raise UserError(f"{where}: {wrong[0][:40]} holds what is no finite number")
    except (SafetensorError, RuntimeError, OSError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())[:300]}") from error
    return tensors
