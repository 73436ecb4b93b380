"""An image tower's features as a pandas frame, for baselines that need no language model."""

from __future__ import annotations

import pandas as pd

from mmadapter.config.settings import InputFormat
from mmadapter.inference.image_features import question_images
from mmadapter.scienceqa.problems import Dataset
from mmadapter.vision.towers import load_tower


def tower_features(clip: str, scales: int, *parts: Dataset, quiet: bool = False) -> pd.DataFrame:
    """Return the features that an adapter's projection reads; pictures that the store lacks are encoded.

    Args:
        clip, scales: the tower, as in `config.settings.ModelSettings`.
        parts: data sets; questions without a picture have no row.

    Returns:
        float32, a row a picture by pid, all scales side by side.

    Raises:
        UserError: no such tower; a picture cannot be read or decoded.
    """
    tower = load_tower(clip, scales=scales)
    found = (question_images(tower, data, InputFormat(), quiet=quiet)[0] for data in parts)
    return pd.concat(pd.DataFrame(images.features.numpy(), index=list(images.row)) for images in found)
