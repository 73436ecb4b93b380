"""The trained parameters: adaption prompts P_l, gates g_l and the projection of the image features.

Axes: B batch, C hidden size, H query heads, K adapter_len, L adapter_layers, F features of all scales together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm

GATE_ACTIVATIONS = {"tanh": torch.tanh, "identity": lambda gate: gate}
"""The paper writes g, the authors' training code tanh(g), their inference code g."""
ATTENTIONS = ("zero-init", "rand-init")
"""The paper's, and the ablation of its Table 5: prompts in the words' softmax, without a gate."""

RIDGE = 1.0
"""Share of the features' mean variance that is added to each component's variance before whitening: a component that
varies less is mostly noise, and stays smaller than the others."""
LEAST_VARIANCE = 1e-6
"""Least variance of a component, for images that are all the same; each scale's mean square is 1."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The shape of an adapter, as in `adapter_config.json`."""

    hidden_size: int
    """C of the frozen language model."""
    num_heads: int
    """H, its query heads."""
    adapter_len: int = 10
    """K, the number of adaption prompts in each adapted layer (section 3.1)."""
    adapter_layers: int = 30
    """L, the number of adapted layers, counted from the top."""
    feature_sizes: tuple[int, ...] = ()
    """C_m of each image scale; empty for the text-only adapter."""
    projection_hidden: int = 64
    """Width of the projection's hidden layer. 67 gives the paper's 1.79 M on LLaMA-7B with four scales of 1024."""
    components: int | None = None
    """Number of principal components of the training images' features that the projection reads; None: the features."""
    gate_activation: str = "tanh"
    attention: str = "zero-init"
    """One of `ATTENTIONS`."""


class Adaption(NamedTuple):
    """An adapter's output for a batch, before it meets a frozen weight."""

    prompts: Float[Tensor, "L K C"]
    gates: Float[Tensor, "L H"] | None
    """After the activation; None for rand-init attention."""
    image_token: Float[Tensor, "B C"] | None
    """I_p (Eq. 9), zero for a question without an image; None for the text-only adapter."""


class Projection(nn.Module):
    """I_p = Projection(Concat(I_1 .. I_M)) of Eq. 9: each scale normalised, then a two-layer MLP.

    With `components` the MLP reads whitened principal components of the normalised features. Their axes come from the
    training images (`whitening`) and do not train. What distinguishes two maps may be a thousandth of the features'
    variance, where an MLP needs many times the steps to find it.
    """

    mean: Float[Tensor, " F"]
    axes: Float[Tensor, "F components"]

    def __init__(
        self, feature_sizes: tuple[int, ...], hidden: int, hidden_size: int, components: int | None = None
    ) -> None:
        super().__init__()
        self.feature_sizes, self.components = feature_sizes, components
        if components is not None:
            self.register_buffer("mean", torch.zeros(sum(feature_sizes)))
            self.register_buffer("axes", torch.zeros(sum(feature_sizes), components))
        self.mlp = nn.Sequential(
            nn.Linear(components or sum(feature_sizes), hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden_size),
        )

    def forward(self, image_features: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        values = self._normalised(image_features)
        return self.mlp(values if self.components is None else (values - self.mean) @ self.axes)

    def _normalised(self, image_features: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        scales = image_features.split(self.feature_sizes, dim=-1)
        return torch.cat([layer_norm(scale, scale.shape[-1:]) for scale in scales], dim=-1)

    @property
    def unfitted(self) -> bool:
        """Whether it has components but no axes yet: then all images look the same."""
        return self.components is not None and not self.axes.any()

    def whitening(
        self, image_features: Float[Tensor, "N F"]
    ) -> tuple[Float[Tensor, " F"], Float[Tensor, "F components"]]:
        """Fit mean and axes, x -> (x - mean) V / sqrt(v + RIDGE mean(v)).

        v are the variances of the normalised features along their principal directions V, the largest first.
        """
        values = self._normalised(image_features.cpu()).double()
        variances, directions = torch.linalg.eigh(values.T.cov(correction=0))
        largest = directions.abs().argmax(dim=0, keepdim=True)
        directions *= directions.gather(0, largest).sign()  # the sign is arbitrary: fix it
        axes = directions * (variances + RIDGE * variances.mean()).clamp(min=LEAST_VARIANCE).rsqrt()
        return values.mean(dim=0).float(), axes.flip(1)[:, : self.components].float()

    def whiten(self, mean: Float[Tensor, " F"], axes: Float[Tensor, "F components"]) -> None:
        """Use the mean and axes that `whitening` found."""
        self.mean.copy_(mean)
        self.axes.copy_(axes)


class Adapter(nn.Module):
    """Prompts, gates and, unless it is text-only, the projection; all in float32.

    The prompts start at N(0, prompt_std), the gates at 0: at step 0 an adapted model is the frozen model. Rand-init
    attention has no gates and changes the model from the start.
    """

    def __init__(self, config: AdapterConfig, *, prompt_std: float = 1.0, seed: int = 0) -> None:
        """
        Args:
            prompt_std: standard deviation of the initial prompts; 1 in the authors' code.
            seed: seed of the initial prompts and projection; the prompts are the same with and without an image.
        """
        super().__init__()
        self.config = config
        layers, length, width = config.adapter_layers, config.adapter_len, config.hidden_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.prompts = nn.Parameter(torch.randn(layers, length, width) * prompt_std)
            gated = config.attention == "zero-init"
            self.gates = nn.Parameter(torch.zeros(layers, config.num_heads)) if gated else None
            self.projection = None
            if sizes := config.feature_sizes:
                self.projection = Projection(sizes, config.projection_hidden, width, config.components)

    @property
    def text_only(self) -> bool:
        """Whether it is the paper's LLaMA-Adapter_T, without an image token."""
        return self.projection is None

    def forward(
        self,
        image_features: Float[Tensor, "B F"] | None = None,
        has_image: Bool[Tensor, " B"] | None = None,
    ) -> Adaption:
        """Compute prompts, gates and image tokens of a batch.

        Args:
            image_features: raw features of all scales, concatenated; rows without an image are ignored.
            has_image: which rows have an image; all if None.
        """
        image_token = None
        if self.projection is not None and image_features is not None:
            image_token = self.projection(image_features)
            if has_image is not None:
                image_token = torch.where(has_image[:, None], image_token, 0.0)
        gates = None if self.gates is None else GATE_ACTIVATIONS[self.config.gate_activation](self.gates)
        return Adaption(self.prompts, gates, image_token)
