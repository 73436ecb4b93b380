"""The global features I_1 .. I_M of an image (section 3.3: "multi-scale global features").

"We ensemble features from different layers of ViT" (the authors, their issue #69). Which ones depends on the tower:

- a transformer with a class token: its class token after M evenly spaced blocks, the last one included;
- a transformer without (SigLIP): the mean of its patch tokens after the same blocks;
- a convolutional or pyramidal tower: the mean of the feature map after each of the last M - 1 stages, and the tower's
  final image feature. One scale more than that adds the means over the quarters of the last map: they tell where
  something is, which a mean over the whole map does not.

Features are taken before any closing norm, because the projection normalises. Axes: B batch.
"""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from mmadapter.errors import UserError

Features = list[Float[Tensor, "B _"]]
"""I_1 .. I_M, from the shallowest to the deepest."""


def evenly_spaced(blocks: int, scales: int) -> list[int]:
    """Return the indices of `scales` evenly spaced blocks, the last one included.

    Four scales of ViT-L/14, which has 24 blocks, are those after the 6th, 12th, 18th and 24th.

    Raises:
        UserError: there are fewer blocks than scales.
    """
    if not 1 <= scales <= blocks:
        raise UserError(f"{scales} feature scales, but the image tower has {blocks} blocks: choose 1 to {blocks}")
    return [round(blocks * (m + 1) / scales) - 1 for m in range(scales)]


@torch.no_grad()
def open_clip_features(
    visual: nn.Module, probe: Float[Tensor, "1 3 H W"], scales: int
) -> Callable[[nn.Module, Tensor], Features]:
    """Return a function that computes the features of an open_clip image tower (`model.visual`).

    Args:
        visual: the tower on any device; only its structure matters.
        probe: an input image on the tower's device.
        scales: M.

    Raises:
        UserError: the tower has fewer scales.
    """
    shapes = [tuple(x.shape[2:]) for x in visual.forward_intermediates(probe)["image_intermediates"]]
    staged, stages = len(set(shapes)) > 1, len(shapes)
    if staged and not 1 <= scales <= stages + 2:
        raise UserError(
            f"{scales} feature scales, but the image tower has {stages} stages, its final feature and the "
            f"quarters of the last stage: choose 1 to {stages + 2}"
        )
    indices = list(range(max(0, stages - scales + 1), stages)) if staged else evenly_spaced(stages, scales)
    trunk = getattr(visual, "trunk", None)  # open_clip's wrapper around a timm model
    if hasattr(visual, "class_embedding") or getattr(trunk, "cls_token", None) is not None:
        return partial(_class_tokens, indices=indices)
    if staged:
        return partial(_stage_means, indices=indices, quarters=scales > stages + 1)
    return partial(_patch_means, indices=indices)


def _class_tokens(visual: nn.Module, images: Float[Tensor, "B 3 H W"], *, indices: list[int]) -> Features:
    tokens = visual.forward_intermediates(
        images, indices=indices, intermediates_only=True, output_fmt="NLC", output_extra_tokens=True
    )
    # the class token always comes first; timm may put register tokens after it
    return [prefix[:, 0] for prefix in tokens["image_intermediates_prefix"]]


def _patch_means(visual: nn.Module, images: Float[Tensor, "B 3 H W"], *, indices: list[int]) -> Features:
    maps = visual.forward_intermediates(images, indices=indices, intermediates_only=True)
    return [x.mean(dim=(2, 3)) for x in maps["image_intermediates"]]


def _stage_means(
    visual: nn.Module, images: Float[Tensor, "B 3 H W"], *, indices: list[int], quarters: bool
) -> Features:
    outputs = visual.forward_intermediates(images, indices=indices or None)
    maps = outputs["image_intermediates"] if indices else []
    last = [adaptive_avg_pool2d(maps[-1], 2).flatten(1)] if quarters else []
    return [*(x.mean(dim=(2, 3)) for x in maps), outputs["image_features"], *last]


def clip_features(vision: nn.Module, images: Float[Tensor, "B 3 H W"], *, indices: list[int]) -> Features:
    """Return the class tokens of transformers' CLIP vision model after the blocks at `indices`."""
    states = vision(images, output_hidden_states=True).hidden_states
    return [states[index + 1][:, 0] for index in indices]  # states[0] is the first block's input
