"""The parts of a reproduction: a study, which is a scale, and the exhibits, which are the paper's tables and figures.

A study fixes the preset, the data, the seeds and the values of each sweep. An exhibit (`eval/recipes/`, one file each)
names the runs of a study that it compares and the paper's claims about them. Runs are identified by their settings
alone, so exhibits share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mmadapter.config.presets import PRESETS
from mmadapter.config.settings import RunConfig


@dataclass(frozen=True, kw_only=True)
class Study:
    """A scale at which every exhibit can run."""

    base: RunConfig
    """Settings that all runs share unless an arm changes them: the schedule of the sweeps."""
    full: Mapping[str, Any]
    """Changes to the base for the main result (Table 2)."""
    seeds: tuple[int, ...]
    layers: tuple[int, ...]
    """L, ascending, including the base's."""
    lengths: tuple[int, ...]
    """K, ascending, including the base's."""
    scales: tuple[int, ...]
    """M, ascending; the last is the base's."""
    components: int
    """Principal components of the image features, compared with the features themselves."""
    prompt_std: float
    """Deviation of the initial prompts, compared with the base's; the paper's 1 if the base has another."""
    epochs: tuple[int, ...]
    """Ascending, including the base's."""
    column: str
    """Column in which the sweeps are compared: Avg, or IMG where most training questions have an image."""
    about: str
    """Data, models and schedule, for the reader of its numbers."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison: the runs of all seeds with some settings over the study's base."""

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    published: str | None = None
    """Name of the paper's row for this arm (eval/published.csv)."""

    def config(self, study: Study, seed: int) -> RunConfig:
        """Return the complete settings of one run."""
        return replace(study.base, **{"variant": "multimodal", **self.settings}, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim about two arms that a number can contradict: one gains more than `least` over the other."""

    text: str
    """The claim, a sentence without its full stop."""
    better: int
    """Index of the arm that should be better."""
    worse: int
    least: float = 0.0
    """Points of accuracy; a negative number allows so much loss."""
    column: str | None = None
    """Column of the result table; None is the study's."""
    paper: tuple[str, str] | None = None
    """The paper's rows (eval/published.csv) for the better and the worse arm; None if it measured neither."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A table or figure of the paper, or one of our own."""

    name: str
    title: str
    about: str
    """The question, and how it differs from the paper's, for the page."""
    arms: Callable[[Study], list[Arm]]
    claims: tuple[Claim, ...] = ()
    figure: Literal["arms", "curves", "classes", "columns"] = "arms"
    """Accuracy by arm; loss and accuracy by epoch; differences by class of questions; accuracy by column."""


STUDIES = {
    "tiny": Study(
        base=replace(PRESETS["tiny"], epochs=9),
        full={"epochs": 18},
        seeds=(0, 1, 2),
        layers=(1, 2, 4),
        lengths=(1, 10, 30),
        scales=(1, 4),
        components=128,
        prompt_std=1.0,
        epochs=(9, 18, 36),
        column="Avg",
        about="Generated data, the embedded demo, on the embedded tiny LLaMA and tiny CLIP. Table 2 trains for the "
        "preset's epochs, the sweeps for half of them.",
    ),
    "small": Study(
        base=replace(PRESETS["small"], dataset="scienceqa", train_limit=2000, epochs=3),
        full={"train_limit": None, "epochs": PRESETS["small"].epochs},
        seeds=(0, 1, 2),
        layers=(4, 10, 20, 30),
        lengths=(1, 10, 30),
        scales=(1, 7),
        components=512,
        prompt_std=1.0,
        epochs=(3, 6, 12),
        column="IMG",
        about="A development subset of ScienceQA, with all test questions and about half of the training problems, on "
        "SmolLM2-135M-Instruct and EfficientNet-Lite0. Table 2 trains on all of these problems for the preset's "
        "epochs, the sweeps on a third of them for fewer. Train losses include the tenfold choice loss; val losses "
        "cover the answers' tokens alone.",
    ),
    "paper": Study(
        base=PRESETS["paper"],
        full={},
        seeds=(0, 1, 2),
        layers=(10, 20, 30),
        lengths=(1, 5, 10, 20),
        scales=(1, 4),
        components=512,
        prompt_std=0.1,
        epochs=(15, 30, 60),
        column="Avg",
        about="Real ScienceQA on LLaMA-7B (32 layers) and CLIP ViT-L/14: the paper's own setting.",
    ),
}
