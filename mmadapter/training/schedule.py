"""AdamW's parameter groups and the learning rate of each step."""

from __future__ import annotations

import math

from mmadapter.config.settings import Recipe
from mmadapter.model import MultimodalAdapter

BETAS = (0.9, 0.95)
"""AdamW's betas, as in the authors' code."""
CLIP_NORM = 1.0
"""Bound on the gradient's norm."""


def parameter_groups(model: MultimodalAdapter, recipe: Recipe) -> list[dict]:
    """Group the parameters: prompts and gates at the learning rate, the projection at its share of it."""
    weights = dict(model.adapter.named_parameters())
    projection = [weights.pop(name) for name in list(weights) if name.startswith("projection.")]
    groups = [(list(weights.values()), 1.0), (projection, recipe.projection_rate)]
    return [{"params": params, "share": share} for params, share in groups if params]


def learning_rate(step: int, total: int, warmup: float, peak: float) -> float:
    """Rate of step `step` (from 0) of `total`: linear from 0 over `warmup` steps, then a half cosine to 0."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, total - warmup)))
