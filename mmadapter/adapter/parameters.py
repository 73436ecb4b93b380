"""Everything that trains (arXiv 2303.16199, section 3): adaption prompts P_l, gates g_l, projection of the image.

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
"""The paper writes g; the authors' training code uses tanh(g), their inference code g."""
ATTENTIONS = ("zero-init", "rand-init")
"""The paper's attention, and the ablation in its Table 5: prompts in the words' own softmax, without a gate."""

RIDGE = 1.0
"""Added to each component's variance before whitening, as a share of the mean variance: components below it are mostly
noise, and are not scaled up to the size of the others."""
LEAST_VARIANCE = 1e-6
"""Lower bound on a component's variance, reached if all images are equal; each scale's mean square is 1."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The shape of an adapter, as `adapter_config.json` holds it."""

    hidden_size: int
    """C of the frozen language model."""
    num_heads: int
    """H, its number of query heads."""
    adapter_len: int = 10
    """K, the number of adaption prompts in each adapted layer."""
    adapter_layers: int = 30
    """L, the number of topmost layers with prompts."""
    feature_sizes: tuple[int, ...] = ()
    """C_m of each image scale; empty for the text-only adapter."""
    projection_hidden: int = 64
    """Width of the projection's hidden layer; 67 gives the paper's 1.79 M on LLaMA-7B with four scales of 1024."""
    components: int | None = None
    """Number of principal components of the image features that the projection reads; None: the features themselves."""
    gate_activation: str = "tanh"
    """One of `GATE_ACTIVATIONS`."""
    attention: str = "zero-init"
    """One of `ATTENTIONS`."""


class Adaption(NamedTuple):
    """What an adapter contributes to a batch, before any frozen weight is involved."""

    prompts: Float[Tensor, "L K C"]
    gates: Float[Tensor, "L H"] | None
    """tanh(g_l), after the activation; None for rand-init attention."""
    image_token: Float[Tensor, "B C"] | None
    """I_p (Eq. 9), zero for a question without an image; None for the text-only adapter."""


class Projection(nn.Module):
    """I_p = Projection(Concat(I_1 .. I_M)) of Eq. 9: each scale normalised by itself, then a two-layer MLP.

    With `components` the MLP reads whitened principal components of the normalised features. Their axes come from the
    training images (`whitening`) and do not train. Unwhitened, a thousandth of the features' variance may be all that
    tells two maps apart, and the MLP would need many more steps to find it.
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
        inputs = components or sum(feature_sizes)
        self.mlp = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden_size))

    def forward(self, image_features: Float[Tensor, "B F"]) -> Float[Tensor, "B C"]:
        values = self._normalised(image_features)
        return self.mlp(values if self.components is None else (values - self.mean) @ self.axes)

    def _normalised(self, image_features: Float[Tensor, "B F"]) -> Float[Tensor, "B F"]:
        scales = image_features.split(self.feature_sizes, dim=-1)
        return torch.cat([layer_norm(scale, scale.shape[-1:]) for scale in scales], dim=-1)

    @property
    def unfitted(self) -> bool:
        """Whether the axes of its components are still to be found; until then all images look the same."""
        return self.components is not None and not self.axes.any()

    def whitening(
        self, image_features: Float[Tensor, "N F"]
    ) -> tuple[Float[Tensor, " F"], Float[Tensor, "F components"]]:
        """Return mean and axes of x -> (x - mean) V / sqrt(v + RIDGE mean(v)) for these images, where v are the
        variances of their normalised features along the principal directions V, largest first."""
        values = self._normalised(image_features.cpu()).double()
        variances, directions = torch.linalg.eigh(values.T.cov(correction=0))
        largest = directions.abs().argmax(dim=0, keepdim=True)
        directions *= directions.gather(0, largest).sign()  # fixes the sign, which is arbitrary
        axes = directions * (variances + RIDGE * variances.mean()).clamp(min=LEAST_VARIANCE).rsqrt()
        return values.mean(dim=0).float(), axes.flip(1)[:, : self.components].float()

    def whiten(self, mean: Float[Tensor, " F"], axes: Float[Tensor, "F components"]) -> None:
        """Set the mean and axes that `whitening` returned."""
        self.mean.copy_(mean)
        self.axes.copy_(axes)


class Adapter(nn.Module):
    """Prompts, gates and, unless it is text-only, the projection; all in float32.

    Prompts start from N(0, prompt_std) and gates from 0, so the adapted model starts as the frozen model. Rand-init
    attention has no gates, and starts elsewhere.
    """

    def __init__(self, config: AdapterConfig, *, prompt_std: float = 1.0, seed: int = 0) -> None:
        """
        Args:
            prompt_std: standard deviation of the initial prompts; 1 in the authors' code.
            seed: for prompts and projection; with and without an image the prompts are the same.
        """
        super().__init__()
        self.config = config
        layers, width, sizes = config.adapter_layers, config.hidden_size, config.feature_sizes
        gated = config.attention == "zero-init"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.prompts = nn.Parameter(torch.randn(layers, config.adapter_len, width) * prompt_std)
            self.gates = nn.Parameter(torch.zeros(layers, config.num_heads)) if gated else None
            self.projection = Projection(sizes, config.projection_hidden, width, config.components) if sizes else None

    @property
    def text_only(self) -> bool:
        """Whether this is the paper's LLaMA-Adapter_T, without an image token."""
        return self.projection is None

    def forward(
        self,
        image_features: Float[Tensor, "B F"] | None = None,
        has_image: Bool[Tensor, " B"] | None = None,
    ) -> Adaption:
        """Return prompts, gates and image tokens for a batch.

        Args:
            image_features: raw features of all scales, concatenated; rows without an image are ignored.
            has_image: which rows have an image; None: all.
        """
        image_token = None
        if self.projection is not None and image_features is not None:
            image_token = self.projection(image_features)
            if has_image is not None:
                image_token = torch.where(has_image[:, None], image_token, 0.0)
        gates = None if self.gates is None else GATE_ACTIVATIONS[self.config.gate_activation](self.gates)
        return Adaption(self.prompts, gates, image_token)
