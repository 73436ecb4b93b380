"""What a reproduction of the paper is made of: a scale, and for each table and figure the runs that it compares.

A study says at which scale everything runs: a preset, its data, seeds, and the values each sweep goes through. A
recipe (`eval/recipes/`, one file a table or figure) says which runs of a study it compares and what the paper claims
of them. Runs are told apart by their settings alone, so recipes share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mmadapter.config.presets import PRESETS
from mmadapter.config.settings import RunConfig


@dataclass(frozen=True, kw_only=True)
class Study:
    """A scale at which every recipe can run."""

    base: RunConfig
    """Settings of every run that its arm does not change: the schedule of the sweeps."""
    full: Mapping[str, Any]
    """Settings over the base of the main result (Table 2)."""
    seeds: tuple[int, ...]
    layers: tuple[int, ...]
    """L, ascending, the base's among them."""
    lengths: tuple[int, ...]
    """K, ascending, the base's among them."""
    scales: tuple[int, ...]
    """M, ascending; the last one is the base's."""
    components: int
    """Of the image features, against the features themselves."""
    prompt_std: float
    """Of the initial prompts, against the base's: the paper's N(0, 1) where the base is another."""
    epochs: tuple[int, ...]
    """Ascending, the base's among them."""
    column: str
    """Of the result table in which sweeps are compared: Avg, or IMG where training data are mostly such questions."""
    about: str
    """What somebody must know who reads its numbers: data, models, schedule."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a comparison: the runs of all seeds with some settings over the study's base."""

    label: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    published: str | None = None
    """Name of the published row (eval/published.csv) of the paper's own arm."""

    def config(self, study: Study, seed: int) -> RunConfig:
        """The complete settings of one run."""
        return replace(study.base, **{"variant": "multimodal", **self.settings}, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What the paper says of two arms, as something a number can contradict: one's gain over the other is > `least`."""

    text: str
    """A sentence, with the paper's own numbers where it has some."""
    better: int
    """Index of the arm that should be better."""
    worse: int
    least: float = 0.0
    """Points of accuracy; a negative one asks only that nothing is lost."""
    column: str | None = None
    """Of the result table; None is the study's."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One table or figure of the paper, or one of its claims."""

    name: str
    title: str
    asks: str
    """What is asked, and how the miniature differs from the paper, for the page."""
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
        about="Generated data: the embedded demo, 3,000 training problems and 1,000 test questions, on the embedded "
        "tiny LLaMA (4 layers) and tiny CLIP. Table 2 has the preset's 18 epochs, the sweeps half of them.",
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
        about="A development subset of ScienceQA, with all 4,241 test questions and 6,249 of 12,726 training problems, "
        "on SmolLM2-135M-Instruct (30 layers) and EfficientNet-Lite0. Table 2 has all training problems at hand and "
        "the preset's epochs, the sweeps 2,000 of them and three epochs. Train losses have the tenfold choice loss in "
        "them, val losses are of the answers' tokens alone.",
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
