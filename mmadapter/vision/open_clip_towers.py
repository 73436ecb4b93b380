"""Image towers of open_clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmadapter.errors import UserError
from mmadapter.storage.hub import hub_folder
from mmadapter.storage.pickles import check_pickle
from mmadapter.vision.blueprint import Blueprint, check_size, first_line, quiet_logger
from mmadapter.vision.scales import open_clip_features

OPEN_CLIP_WEIGHTS = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin"),
    *("model.safetensors", "pytorch_model.bin"),
)
"""Weights files in a folder, in open_clip's own order of preference."""

OPEN_CLIP_HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Weights files on the hub, where the other names may belong to the transformers form of the same model."""

PREPROCESS_KEYS = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")
"""The settings that open_clip's preprocessing depends on."""


def registry_tower(model: str, tag: str, scales: int) -> Blueprint:
    """Describe a model in open_clip's registry, with one of its published sets of weights (`tag`)."""
    open_clip = import_open_clip()
    published = open_clip.get_pretrained_cfg(model, tag) if tag else {}
    if not published:
        tags = ", ".join(f"{model}/{known}" for known in open_clip.list_pretrained_tags_by_model(model))
        raise UserError(f"{f'{model}/{tag}'.strip('/')}: which weights? open_clip knows: {tags or 'none'}")
    # open_clip only warns, and the features are silently wrong (its issues #771, #915, #970)
    if published.get("quick_gelu", False) != bool(open_clip.get_model_config(model).get("quick_gelu")):
        other = model.removesuffix("-quickgelu") if model.endswith("-quickgelu") else f"{model}-quickgelu"
        raise UserError(
            f"{model}/{tag}: these weights were trained with another activation (QuickGELU): use {other}/{tag}"
        )
    repo, _, filename = published["hf_hub"].rpartition("/")
    folder = hub_folder(repo, [], [[weights] for weights in ([filename] if filename else OPEN_CLIP_HUB_WEIGHTS)])
    preprocessing = {key: published[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    weights = folder / filename if filename else open_clip_weights(folder)
    return open_clip_tower(model, weights, preprocessing, scales)


def open_clip_weights(folder: Path) -> Path:
    """Return the weights file in a folder."""
    for name in OPEN_CLIP_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder}: no weights: there must be one of {', '.join(OPEN_CLIP_WEIGHTS)}")


def open_clip_tower(name: str, weights: Path, preprocessing: dict[str, Any], scales: int) -> Blueprint:
    """Describe a tower that open_clip builds by `name`, which may be `local-dir:FOLDER`."""
    open_clip = import_open_clip()
    vision = open_clip.get_model_config(name)["vision_cfg"]
    check_size(name, vision.get("image_size", 224), vision.get("layers", 12))

    def build(device: str) -> nn.Module:
        with quiet_logger(None):
            return open_clip.create_model(
                name, load_weights=False, pretrained_text=False, force_preprocess_cfg=preprocessing, device=device
            ).eval()

    def load() -> nn.Module:
        model = build("cpu")
        if weights.suffix not in (".safetensors", ".npz", ".npy"):
            check_pickle(weights)
        open_clip.load_checkpoint(model, str(weights))
        return model.visual

    with torch.device("meta"):
        model = build("meta")
    config = open_clip.get_model_config(name)
    preprocess = open_clip.get_model_preprocess_cfg(model)
    settings = open_clip.transform.PreprocessCfg(**preprocess)
    size = model.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return Blueprint(
        skeleton=model.visual,
        image_size=(height, width),
        preprocess=open_clip.transform.image_transform_v2(settings, is_train=False),
        description={
            "library": "open_clip",
            "vision": config["vision_cfg"],
            "embed_dim": config["embed_dim"],
            "quick_gelu": bool(config.get("quick_gelu")),
            "preprocess": {key: preprocess[key] for key in PREPROCESS_KEYS},
        },
        weights=(weights,),
        load=load,
        features=open_clip_features(model.visual, torch.empty(1, 3, height, width, device="meta"), scales),
    )


def import_open_clip() -> Any:
    """Import open_clip.

    Raises:
        UserError: torch and torchvision come from different builds.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:  # "operator torchvision::nms does not exist"
        raise UserError(
            f"the installed torchvision does not fit torch {torch.__version__} ({first_line(error)})\n"
            "  install both from the same index: both from PyPI, or both from PyTorch's CPU index"
        ) from error
    import open_clip

    return open_clip
