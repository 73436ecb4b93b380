"""Look-ups in the training split: baselines without a language model, and classes of what it shows already."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from mmadapter.evaluation.baselines import baselines
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.wordings import asked_classes, picture_classes
from mmadapter.scienceqa.problems import Dataset
from mmadapter.storage.paths import cache_dir
from mmadapter.vision.pictures import question_pictures, read_pictures


@dataclass(frozen=True)
class Lookups:
    """What the training split says of the questions of another one."""

    baselines: pd.DataFrame
    """`baselines.baselines`: a column a baseline, credits by pid."""
    classes: dict[str, dict[str, pd.Series]]
    """Boolean masks by kind and name: how often training asks the same words, and for image questions whether it shows
    a picture of the same pixels."""


def look_up(data: Dataset, train: Dataset, features: pd.DataFrame | None = None) -> Lookups:
    """Return baselines and classes.

    Args:
        data, train: the questions scored, and the training split.
        features: numbers by pid for the pictures of both, as a tower's features (`experiment.features`); without them
            pictures are compared by pixels alone.

    Raises:
        UserError: a picture cannot be read or decoded.
    """
    pictures = read_pictures(question_pictures(data, train), cache_dir() / "pictures.npz")
    asked, seen = question_frame(data), question_frame(train)
    return Lookups(
        baselines=baselines(asked, seen, pixels=pictures.grey, features=features),
        classes={
            "how often training asks the same words": asked_classes(asked, seen),
            "whether training shows the same picture": picture_classes(asked, pictures.hashes, seen),
        },
    )
