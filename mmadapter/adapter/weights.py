"""An adapter on disk: `adapter.safetensors` and `adapter_config.json`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmadapter.adapter.adapter import GATE_ACTIVATIONS, Adapter, AdapterConfig
from mmadapter.errors import UserError

WEIGHTS_FILE, CONFIG_FILE = "adapter.safetensors", "adapter_config.json"
FORMAT = "mmadapter-1"


def save_adapter(adapter: Adapter, about: dict, folder: Path) -> None:
    """Write both files, each whole or not at all.

    Args:
        about: what else the configuration says: names and fingerprints of the frozen models, the input's form.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter.state_dict().items()}
    weights = folder / (WEIGHTS_FILE + ".part")
    save_file(tensors, weights, metadata={"format": FORMAT})
    os.replace(weights, folder / WEIGHTS_FILE)
    config = folder / (CONFIG_FILE + ".part")
    config.write_text(json.dumps({"format": FORMAT, **about, **asdict(adapter.config)}, indent=2) + "\n")
    os.replace(config, folder / CONFIG_FILE)


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
        adapter.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder / WEIGHTS_FILE}: not this adapter's weights: {reason}") from error
    return adapter, saved
