"""Image features of a data set's questions, from the feature store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmadapter.config.settings import InputFormat
from mmadapter.scienceqa.problems import Dataset, ImageSource, Skipped
from mmadapter.storage.paths import cache_dir
from mmadapter.storage.progress import progress_bar
from mmadapter.vision.store import FeatureStore
from mmadapter.vision.towers import ImageTower


@dataclass(frozen=True)
class QuestionImages:
    """Raw features of all scales, one row an image."""

    features: Float[Tensor, "N F"]
    row: dict[str, int]
    """A question's row, by pid; questions without an image are missing."""

    def of(self, pids: Sequence[str]) -> tuple[Float[Tensor, "B F"], Bool[Tensor, " B"]]:
        """Return the features of these questions (zeros without an image), and which of them have an image."""
        has_image = torch.tensor([pid in self.row for pid in pids], dtype=torch.bool)
        features = torch.zeros(len(pids), self.features.shape[1])
        features[has_image] = self.features[[self.row[pid] for pid in pids if pid in self.row]]
        return features, has_image


def images_seen(data: Dataset, form: InputFormat) -> dict[str, ImageSource]:
    """Return the picture that a model sees with each question, by pid; questions without one are missing.

    It is the question's own picture, or where `form` allows it that of the first option.
    """
    first = form.choice_images == "first"
    seen = {p.pid: next(iter(p.choice_images), None) if p.image is None and first else p.image for p in data}
    return {pid: image for pid, image in seen.items() if image is not None}


def question_images(
    tower: ImageTower,
    data: Dataset,
    form: InputFormat,
    *,
    on_error: Literal["stop", "skip"] = "stop",
    quiet: bool = False,
) -> tuple[QuestionImages, Dataset]:
    """Return the image features of a data set; encode images that the store does not have.

    Returns:
        The features, and the data without problems whose image is broken, which are in its `skipped`.

    Raises:
        UserError: an image cannot be read or decoded, unless `on_error` is skip.
    """
    images = images_seen(data, form)
    pids = list(images)
    with progress_bar("image features", len(pids), quiet=quiet) as update:
        store = FeatureStore(cache_dir() / "features", tower)
        features, broken = store.features(list(images.values()), progress=update, on_error=on_error)
    if broken:
        reasons = {pids[image.index]: image.reason for image in broken}
        skipped = [
            Skipped(f"problem {pid}, image", reason, pid, tuple(name for name, s in data.splits.items() if pid in s))
            for pid, reason in reasons.items()
        ]
        data = replace(data.only(data.problems.keys() - reasons.keys()), skipped=(*data.skipped, *skipped))
    return QuestionImages(features, {pid: row for row, pid in enumerate(pids)}), data
