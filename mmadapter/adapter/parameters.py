"""Everything that trains: adaption prompts P_l, gates g_l and the projection of the image features.

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
"""The paper's, and the one that its Table 5 compares it with: prompts in the words' own softmax, and no gate."""

RIDGE = 1.0
"""Added to each component's variance before it is divided by its root, as a share of the features' mean variance: a
component that varies less tells little but noise, and is not made as large as the others."""
LEAST_VARIANCE = 1e-6
"""Of a component, where all images are the same; each scale's mean square is 1."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The shape of an adapter, as `adapter_config.json` holds it."""

    hidden_size: int
    """C of the frozen language model."""
    num_heads: int
    """H, its query heads."""
    adapter_len: int = 10
    """K of section 3.1, the number of adaption prompts in each adapted layer."""
    adapter_layers: int = 30
    """L, how many of the topmost layers get prompts."""
    feature_sizes: tuple[int, ...] = ()
    """C_m of each image scale; empty for the text-only adapter."""
    projection_hidden: int = 64
    """Width of the projection's hidden layer. 67 gives the paper's 1.79 M on LLaMA-7B with four scales of 1024."""
    components: int | None = None
    """How many principal components of the training images' features the projection reads; None: the features."""
    gate_activation: str = "tanh"
    attention: str = "zero-init"
    """One of `ATTENTIONS`."""


class Adaption(NamedTuple):
    """What an adapter gives to a batch, before any frozen weight is met."""

    prompts: Float[Tensor, "L K C"]
    gates: Float[Tensor, "L H"] | None
    """After the activation; None for rand-init attention."""
    image_token: Float[Tensor, "B C"] | None
    """I_p (Eq. 9), zero for a question without an image; None for the text-only adapter."""


class Projection(nn.Module):
    """I_p = Projection(Concat(I_1 .. I_M)) of Eq. 9: the scales normalised one by one, then a two-layer MLP.

    With `components` the MLP reads whitened principal components of the normalised features, whose axes are those of
    the training images (`whitening`) and do not train. What tells two maps apart may be a thousandth of the features'
    variance, and an MLP needs many times the steps to read it there.
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
        """Whether it has components, but no axes for them yet: all images are the same to it."""
        return self.components is not None and not self.axes.any()

    def whitening(
        self, image_features: Float[Tensor, "N F"]
    ) -> tuple[Float[Tensor, " F"], Float[Tensor, "F components"]]:
        """Mean and axes of these images: x -> (x - mean) V / sqrt(v + RIDGE mean(v)), with the variances v of the
        normalised features along their principal directions V, the largest first."""
        values = self._normalised(image_features.cpu()).double()
        variances, directions = torch.linalg.eigh(values.T.cov(correction=0))
        largest = directions.abs().argmax(dim=0, keepdim=True)
        directions *= directions.gather(0, largest).sign()  # which way one points is anyone's choice
        axes = directions * (variances + RIDGE * variances.mean()).clamp(min=LEAST_VARIANCE).rsqrt()
        return values.mean(dim=0).float(), axes.flip(1)[:, : self.components].float()

    def whiten(self, mean: Float[Tensor, " F"], axes: Float[Tensor, "F components"]) -> None:
        """Take what `whitening` found."""
        self.mean.copy_(mean)
        self.axes.copy_(axes)


class Adapter(nn.Module):
    """Prompts, gates and, unless it is text-only, the projection; all in float32.

    The prompts start at N(0, prompt_std), the gates at 0: at step 0 an adapted model is the frozen model. With
    rand-init attention there are no gates, and it is not.
    """

    def __init__(self, config: AdapterConfig, *, prompt_std: float = 1.0, seed: int = 0) -> None:
        """
        Args:
            prompt_std: standard deviation of the initial prompts; 1 in the authors' code.
            seed: of the initial prompts and projection; the prompts are the same with and without an image.
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
        """Whether this is the paper's LLaMA-Adapter_T, which has no image token."""
        return self.projection is None

    def forward(
        self,
        image_features: Float[Tensor, "B F"] | None = None,
        has_image: Bool[Tensor, " B"] | None = None,
    ) -> Adaption:
        """
        Args:
            image_features: raw features of all scales, concatenated; rows without an image are not read.
            has_image: which rows have an image; all of them if None.
        """
        image_token = None
        if self.projection is not None and image_features is not None:
            image_token = self.projection(image_features)
            if has_image is not None:
                image_token = torch.where(has_image[:, None], image_token, 0.0)
        gates = None if self.gates is None else GATE_ACTIVATIONS[self.config.gate_activation](self.gates)
        return Adaption(self.prompts, gates, image_token)
