"""An adapter on disk: `adapter.safetensors` and `adapter_config.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmadapter.adapter.adapter import GATE_ACTIVATIONS, Adapter, AdapterConfig
from mmadapter.errors import UserError
from mmadapter.files import write_text, write_whole

WEIGHTS_FILE, CONFIG_FILE = "adapter.safetensors", "adapter_config.json"
FORMAT = "mmadapter-1"


def save_adapter(adapter: Adapter, about: dict, folder: Path) -> None:
    """Write both files, each whole or not at all.

    Args:
        about: what else the configuration says: names and fingerprints of the frozen models, the input's form.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.state_dict().items()}
    write_whole(folder / WEIGHTS_FILE, lambda part: save_file(tensors, part, metadata={"format": FORMAT}))
    config = {"format": FORMAT, **about, **asdict(adapter.config)}
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")


def load_adapter(folder: Path) -> tuple[Adapter, dict]:
    """Read what `save_adapter` wrote: the adapter, and what else was said about it.

    Raises:
        UserError: a file is missing, is not what it should be, or the tensors do not fit the configuration.
    """
    path = folder / CONFIG_FILE
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved.pop("format") != FORMAT:
            raise ValueError(f"the format is not {FORMAT}")
        own = {field.name: saved.pop(field.name) for field in fields(AdapterConfig)}
        own["feature_sizes"] = tuple(own["feature_sizes"])
        config = AdapterConfig(**own)
        if config.gate_activation not in GATE_ACTIVATIONS:
            raise ValueError(f"no gate activation {config.gate_activation!r}: {', '.join(GATE_ACTIVATIONS)}")
        with torch.device("meta"):  # no memory is taken for sizes that only a file claims
            adapter = Adapter(config)
    except FileNotFoundError as error:
        raise UserError(f"{folder}: no adapter here: there is no {CONFIG_FILE}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise UserError(f"{path}: not an adapter's configuration: {error}") from error
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
        # Copied: a tensor left where the file put it is aligned differently, and sums differ in their last bit.
        owned = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
        adapter.load_state_dict(owned, assign=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder / WEIGHTS_FILE}: not this adapter's weights: {reason}") from error
    return adapter, saved
