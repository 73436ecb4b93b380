"""A finished run's models, loaded again: for questions that they were not asked yet.

What they answer is stored in the run and read from there; nothing here is done twice.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from accelerate import PartialState

from mmadapter.adapter.weights import load_adapter
from mmadapter.backbone.device import resolve_device, resolve_dtype, use_deterministic_algorithms
from mmadapter.backbone.loading import load_llm
from mmadapter.errors import UserError
from mmadapter.model import MultimodalAdapter
from mmadapter.runs.folder import VariantFolder
from mmadapter.vision.towers import load_tower


def load_variant(folder: Path) -> MultimodalAdapter:
    """A variant's trained model, with the device and number format of its run.

    The language model is loaded once for variants that follow each other on the same one. That of a sharded run is
    sharded among as many processes as there are now, and whole in a single one.

    Raises:
        UserError: no trained adapter here (yet), a backbone that is gone or another, no such device.
    """
    variant = VariantFolder(folder)
    config = variant.config
    if not variant.is_trained:
        raise UserError(
            f"{folder}: its training is not finished\n"
            f"  mmadapter-train --resume --output-dir {folder.parent} goes on with it"
        )
    if config.deterministic:
        use_deterministic_algorithms()
    device = resolve_device(config.device)
    several = PartialState(cpu=device.type == "cpu").num_processes > 1
    llm = _language_model(
        config.llm,
        device=device,
        dtype=resolve_dtype(config.dtype, device),
        quantise=config.quantise,
        sharded=config.shard and several,
        offloaded=config.offload,
    )
    tower = None
    if config.variant != "text":
        tower = load_tower(config.clip, scales=config.scales, device=device)
    return MultimodalAdapter.from_pretrained(folder, llm=llm, tower=tower)


def load_run_or_adapter(path: Path) -> MultimodalAdapter:
    """The model of a run (the multimodal variant where it has one), of a variant, or of an adapter's folder alone.

    Raises:
        UserError: as `load_variant` and `MultimodalAdapter.from_pretrained`.
    """
    folder = next((path / name for name in ("multimodal", "text") if (path / name).is_dir()), path)
    if VariantFolder(folder).config_file.is_file():
        return load_variant(folder)
    _, saved = load_adapter(folder)
    device, name = resolve_device("auto"), saved.get("llm")
    llm = None
    if isinstance(name, str):
        llm = _language_model(name, device=device, dtype=resolve_dtype("auto", device))
    return MultimodalAdapter.from_pretrained(folder, llm=llm)


_language_model = lru_cache(maxsize=1)(load_llm)
