"""Frozen image towers: the image half of any CLIP of open_clip or transformers.

`load_tower` builds a tower's structure without weights, on the meta device: that gives its feature sizes and refuses
impossible scales in a fraction of a second. The weights are hashed, but not loaded until the first image is encoded: a
run that finds all features in the store never loads them.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from mmadapter.errors import UserError
from mmadapter.storage.hub import hub_folder
from mmadapter.storage.keys import content_key
from mmadapter.storage.paths import embedded
from mmadapter.storage.untrusted import loading_errors
from mmadapter.vision.blueprint import Blueprint, first_line
from mmadapter.vision.open_clip_towers import (
    OPEN_CLIP_HUB_WEIGHTS,
    import_open_clip,
    open_clip_tower,
    open_clip_weights,
    registry_tower,
)
from mmadapter.vision.transformers_towers import transformers_tower

FEATURES_VERSION = 1
"""Part of every fingerprint: raise it when a change makes the same tower give other features."""


class ImageTower:
    """A frozen image tower, read at several scales; made by `load_tower`.

    Attributes:
        scales: M, the number of global features.
        image_size: height and width of its input.
        feature_sizes: C_1 .. C_M; their sum is F.
        fingerprint: sha256 (hex) of configuration, preprocessing, scales and the bytes of the weights files, wherever
            they lie. The same weights in another container (.bin, .safetensors) count as another tower.
        preprocess: turns a PIL image (RGB) into the tower's input, `Float[Tensor, "3 H W"]`.
        dtype: that it computes in; its features are always float32.
    """

    def __init__(self, name: str, blueprint: Blueprint, scales: int, device: torch.device, dtype: torch.dtype):
        self.name, self.scales, self.device, self.dtype, self._blueprint = name, scales, device, dtype, blueprint
        self.image_size, self.preprocess = blueprint.image_size, blueprint.preprocess
        with torch.no_grad():
            probe = torch.empty(1, 3, *blueprint.image_size, device="meta")
            features = blueprint.features(blueprint.skeleton, probe)
        self.feature_sizes = tuple(x.shape[-1] for x in features)
        self.fingerprint = _fingerprint(blueprint, scales)

    @cached_property
    def model(self) -> nn.Module:
        """The frozen tower on its device, loaded when first needed.

        Raises:
            UserError: the weights do not fit the configuration.
        """
        try:
            model = self._blueprint.load().eval().requires_grad_(False)
        except Exception as error:  # from safetensors, pickle, zip, or for wrong shapes
            where = f"{self._blueprint.weights[0]}: these weights do not fit {self.name}"
            raise UserError(f"{where}: {first_line(error)}") from error
        # with the channels last, convolutions are 1.3 to 2 times faster on a CPU
        return model.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
        """Compute the global features I_1 .. I_M of preprocessed images, concatenated, in float32."""
        images = images.to(device=self.device, dtype=self.dtype, memory_format=torch.channels_last)
        return torch.cat(self._blueprint.features(self.model, images), dim=-1).float()


def load_tower(
    name: str, *, scales: int = 4, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> ImageTower:
    """Load the image tower of a CLIP.

    Args:
        name: one of

            - a folder, or `local-dir:FOLDER`, in open_clip's form (`open_clip_config.json`) or in transformers'
              (`config.json` of a CLIP);
            - `hf-hub:ORG/REPO`, open_clip's form on the hub;
            - `ORG/REPO`, transformers' form on the hub;
            - `MODEL/TAG` of `open_clip.list_pretrained()`, such as `ViT-L-14-quickgelu/openai`.
        scales: M; see `mmadapter.vision.scales`.

    Raises:
        UserError: no such tower, no weights, no network, fewer than `scales` scales, or an unusable configuration.
    """
    with loading_errors(name):
        tower = ImageTower(name, _blueprint(name, scales), scales, torch.device(device), dtype)
        pixels = tower.preprocess(Image.new("RGB", (32, 24)))
        if pixels.shape != (3, *tower.image_size):
            raise ValueError(f"it takes images of {tower.image_size}, its preprocessing gives {tuple(pixels.shape)}")
    return tower


def _blueprint(name: str, scales: int) -> Blueprint:
    local = embedded(name) or Path(name.removeprefix("local-dir:")).expanduser()
    if local.is_dir():
        return _from_folder(local, scales)
    if name.startswith(("local-dir:", "/", ".", "~")):
        raise UserError(f"{name}: no such folder; --clip takes a folder, a hub id or an open_clip MODEL/TAG")
    if name.startswith("hf-hub:"):
        repo = name.removeprefix("hf-hub:")
        weights = [[name] for name in OPEN_CLIP_HUB_WEIGHTS]
        return _from_folder(hub_folder(repo, ["open_clip_config.json"], weights), scales)
    model, _, tag = name.partition("/")
    if model in import_open_clip().list_models():
        return registry_tower(model, tag, scales)
    if name.count("/") == 1:
        whole, shards = ["model.safetensors"], ["model.safetensors.index.json", "model-*.safetensors"]
        settings = ["config.json", "preprocessor_config.json"]
        return transformers_tower(hub_folder(name, settings, [whole, shards, ["pytorch_model.bin"]]), scales)
    raise UserError(
        f"{name}: no such image tower\n"
        "  --clip takes a folder, a hub id (ORG/REPO, hf-hub:ORG/REPO) or an open_clip MODEL/TAG "
        "such as ViT-L-14-quickgelu/openai"
    )


def _from_folder(folder: Path, scales: int) -> Blueprint:
    if (folder / "open_clip_config.json").is_file():
        return open_clip_tower(f"local-dir:{folder}", open_clip_weights(folder), {}, scales)
    if (folder / "config.json").is_file():
        return transformers_tower(folder, scales)
    raise UserError(f"{folder}: holds no image tower: neither open_clip_config.json nor a CLIP's config.json")


def _fingerprint(blueprint: Blueprint, scales: int) -> str:
    digests = []
    for path in blueprint.weights:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    about = {"scales": scales, "weights": digests, "features_version": FEATURES_VERSION}
    description = {**blueprint.description, **about}
    return content_key(description)
