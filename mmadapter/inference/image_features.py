"""Image features of a data set's questions, through the feature store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmadapter.config.settings import InputFormat
from mmadapter.scienceqa.problems import Dataset, ImageSource, Problem, Skipped
from mmadapter.storage.paths import cache_dir
from mmadapter.storage.progress import progress_bar
from mmadapter.vision.store import FeatureStore
from mmadapter.vision.towers import ImageTower


@dataclass(frozen=True)
class QuestionImages:
    """Raw features of all scales, and the row of each question."""

    features: Float[Tensor, "N F"]
    row: dict[str, int]
    """Row by pid, for questions with an image."""

    def of(self, pids: Sequence[str]) -> tuple[Float[Tensor, "B F"], Bool[Tensor, " B"]]:
        """Features of questions, zeros without an image, and which questions have one."""
        has_image = torch.tensor([pid in self.row for pid in pids], dtype=torch.bool)
        features = torch.zeros(len(pids), self.features.shape[1])
        features[has_image] = self.features[[self.row[pid] for pid in pids if pid in self.row]]
        return features, has_image


def image_of(problem: Problem, choice_images: str) -> ImageSource | None:
    """The picture that a model sees with a question: its own or, with `first`, its first option's."""
    if problem.image is None and choice_images == "first" and problem.choice_images:
        return problem.choice_images[0]
    return problem.image


def question_images(
    tower: ImageTower,
    data: Dataset,
    form: InputFormat,
    *,
    on_error: Literal["stop", "skip"] = "stop",
    quiet: bool = False,
) -> tuple[QuestionImages, Dataset]:
    """Encode the images that the store does not hold yet.

    Returns:
        The features, and the data without the problems whose image is broken, each of them in `skipped`.

    Raises:
        UserError: an image cannot be read or decoded, unless `on_error` is skip.
    """
    found = {p.pid: image for p in data if (image := image_of(p, form.choice_images)) is not None}
    store = FeatureStore(cache_dir() / "features", tower)
    with progress_bar("image features", len(found), quiet=quiet) as update:
        values, broken = store.features(list(found.values()), progress=update, on_error=on_error)
    pids = list(found)
    images = QuestionImages(values, {pid: row for row, pid in enumerate(pids)})
    if broken:
        lost = {pids[image.index]: image.reason for image in broken}
        skipped = [
            Skipped(f"problem {pid}, image", reason, pid, tuple(name for name, of in data.splits.items() if pid in of))
            for pid, reason in lost.items()
        ]
        data = replace(data.only(data.problems.keys() - lost.keys()), skipped=(*data.skipped, *skipped))
    return images, data
