"""Image towers of transformers' CLIP."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from torch import nn

from mmadapter.errors import UserError
from mmadapter.vision.blueprint import Blueprint, check_size, quiet_logger
from mmadapter.vision.open_clip_towers import import_open_clip
from mmadapter.vision.scales import clip_features, evenly_spaced

CLIP_VISION_KEYS = (
    *("attention_dropout", "hidden_act", "hidden_size", "image_size", "intermediate_size", "layer_norm_eps"),
    *("num_attention_heads", "num_channels", "num_hidden_layers", "patch_size"),
)
"""The settings that the features of transformers' CLIP depend on; the rest are names and versions."""


def transformers_tower(folder: Path, scales: int) -> Blueprint:
    """Describe the image tower of a CLIP in transformers' form."""
    import_open_clip()  # checks torchvision, which transformers' CLIP needs as well
    from transformers import AutoConfig, CLIPImageProcessor, CLIPVisionModel

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.model_type not in ("clip", "clip_vision_model"):
        raise UserError(f"{folder}: a {config.model_type!r} model; an image tower is a clip or a clip_vision_model")
    if not (folder / "preprocessor_config.json").is_file():
        raise UserError(f"{folder}: no preprocessor_config.json: copy it from the model's source")
    vision = getattr(config, "vision_config", config)
    check_size(str(folder), vision.image_size, vision.num_hidden_layers)
    weights = tuple(sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin")))
    if not weights:
        raise UserError(f"{folder}: no weights: there must be a model.safetensors or a pytorch_model.bin")
    processor = CLIPImageProcessor.from_pretrained(folder)

    def load() -> nn.Module:
        with quiet_logger("transformers"):
            model, report = CLIPVisionModel.from_pretrained(
                folder, config=vision, dtype=torch.float32, output_loading_info=True
            )
        if wrong := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
            raise ValueError(f"{len(wrong)} weights are missing or have another shape, such as {wrong[0]}")
        return model

    with torch.device("meta"):
        skeleton = CLIPVisionModel(vision).eval()
    return Blueprint(
        skeleton=skeleton,
        image_size=(vision.image_size, vision.image_size),
        preprocess=lambda image: processor(images=image, return_tensors="pt")["pixel_values"][0],
        description={
            "library": "transformers",
            "vision": {key: getattr(vision, key) for key in CLIP_VISION_KEYS},
            "preprocess": json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8")),
        },
        weights=weights,
        load=load,
        features=partial(clip_features, indices=evenly_spaced(vision.num_hidden_layers, scales)),
    )
