"""The global features I_1 .. I_M of an image (section 3.3: "multi-scale global features").

"We ensemble features from different layers of ViT" (the authors, their issue #69). Which ones depends on the tower:

- a transformer with a class token: the class token after M evenly spaced blocks, the last one included;
- a transformer without one (SigLIP): the mean of the patch tokens after the same blocks;
- a convolutional or pyramidal tower: the mean of the feature map after each of the last M - 1 stages, and the tower's
  final image feature. One scale more adds the means of the last map's quarters, which tell where something is.

Blocks are read before any closing norm: the projection normalises. Axes: B batch, F a feature's size.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from mmadapter.errors import UserError


def evenly_spaced(blocks: int, scales: int) -> list[int]:
    """Pick `scales` of `blocks` blocks at equal distances, the last one included.

    ViT-L/14 has 24: four scales are after the 6th, 12th, 18th and 24th.

    Raises:
        UserError: there are fewer blocks than scales.
    """
    if not 1 <= scales <= blocks:
        raise UserError(f"{scales} feature scales, but the image tower has {blocks} blocks: choose 1 to {blocks}")
    return [round(blocks * (m + 1) / scales) - 1 for m in range(scales)]


class OpenClipScales:
    """Features of an open_clip image tower (`model.visual`).

    Args:
        visual: the tower, on any device; only its structure is used.
        probe: an input image on the tower's device.
        scales: M.

    Raises:
        UserError: the tower has fewer scales.
    """

    def __init__(self, visual: nn.Module, probe: Float[Tensor, "1 3 H W"], scales: int):
        trunk = getattr(visual, "trunk", None)  # open_clip's wrapper around a timm model
        self.class_token = hasattr(visual, "class_embedding") or getattr(trunk, "cls_token", None) is not None
        with torch.no_grad():
            maps = visual.forward_intermediates(probe)["image_intermediates"]
        shapes = [tuple(x.shape[2:]) for x in maps]
        self.stages = len(set(shapes)) > 1
        if not self.stages:
            self.indices = evenly_spaced(len(shapes), scales)
        elif 1 <= scales <= len(shapes) + 2:
            self.indices = list(range(max(0, len(shapes) - scales + 1), len(shapes)))
        else:
            raise UserError(
                f"{scales} feature scales, but the image tower has {len(shapes)} stages, its final feature and the "
                f"quarters of the last stage: choose 1 to {len(shapes) + 2}"
            )
        self.quarters = self.stages and scales > len(shapes) + 1

    def __call__(self, visual: nn.Module, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _"]]:
        """Compute I_1 .. I_M, the shallowest first."""
        if self.class_token:
            tokens = visual.forward_intermediates(
                images,
                indices=self.indices,
                intermediates_only=True,
                output_fmt="NLC",
                output_extra_tokens=True,
            )
            # timm may add register tokens after the class token
            return [prefix[:, 0] for prefix in tokens["image_intermediates_prefix"]]
        if not self.stages:
            maps = visual.forward_intermediates(images, indices=self.indices, intermediates_only=True)
            return _pooled(maps["image_intermediates"])
        outputs = visual.forward_intermediates(images, indices=self.indices or None)
        stages = outputs["image_intermediates"] if self.indices else []
        quarters = [adaptive_avg_pool2d(stages[-1], 2).flatten(1)] if self.quarters else []
        return [*_pooled(stages), outputs["image_features"], *quarters]


class ClipVisionScales:
    """Features of transformers' CLIP vision model: its class token after evenly spaced blocks.

    Args:
        blocks: how many the model has.
        scales: M.

    Raises:
        UserError: the tower has fewer blocks.
    """

    def __init__(self, blocks: int, scales: int):
        self.indices = evenly_spaced(blocks, scales)

    def __call__(self, vision: nn.Module, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _"]]:
        """Compute I_1 .. I_M, the shallowest first."""
        states = vision(images, output_hidden_states=True).hidden_states
        return [states[index + 1][:, 0] for index in self.indices]  # states[0] is the blocks' input


def _pooled(maps: Sequence[Float[Tensor, "B _ _ _"]]) -> list[Float[Tensor, "B _"]]:
    return [torch.mean(x, dim=(2, 3)) for x in maps]
