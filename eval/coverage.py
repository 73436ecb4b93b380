"""Coverage of the intervals: simulated answers to questions that share their words as ScienceQA's do.

    python -m eval.coverage --data-dir DIR    # with the sizes of the wordings of ScienceQA's test split
    python -m eval.coverage                   # with the same sizes, from eval/results/coverage.json

Two systems answer questions in clusters. The log-odds of a right answer are a level of the system, what its wording is
worth to both systems and to this one, what its training seed is worth, and what the seed makes of the wording. Sizes
are as they are in the class ("fixed"), or clusters are drawn from them and large ones are easier ("drawn": size and
difficulty go together). The truth is the accuracy over all wordings, and over all seeds where there are several; one
seed is asked about its own accuracy. Written are the percentages of simulated experiments whose nominal 95 % interval
holds it, with their standard error. Takes a quarter of an hour; writes eval/results/coverage.json.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from eval.results import FOLDER
from mmadapter.cli.options import program
from mmadapter.data import load_dataset
from mmadapter.evaluation.accuracy import question_classes
from mmadapter.evaluation.clusters import single_questions
from mmadapter.evaluation.estimates import estimate_accuracy, estimate_difference
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.resampling import Draws, bootstrap_bounds, draw
from mmadapter.evaluation.wordings import cluster_ids, option_count_classes
from mmadapter.runs.provenance import provenance
from mmadapter.storage.files import write_text

FILE = FOLDER / "coverage.json"
METHODS = ("questions", "bootstrap", "bca", "cluster-t")
"""Questions as if independent (the comparison that fails), clusters drawn with replacement (percentile and BCa), and
what `mmadapter.evaluation.estimates` does by default."""
SEEDS = (1, 3, 5)
SHAPES = ("Avg", "IMG", "NO", "5 options", "LAN, every 50th wording")
"""Classes whose cluster sizes are taken."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `python -m eval.coverage`."""

    data_dir: tuple[Path, ...] = ()
    """Folders that hold ScienceQA; without one the sizes recorded last are taken."""
    repeats: int = 1000
    """Simulated experiments of each kind."""
    samples: int = 500
    """Samples of each bootstrap."""
    seed: int = 0
    """Seed of the simulation."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Standard deviations of the log-odds, and levels."""

    levels: tuple[float, float] = (1.1, 0.8)
    """Abilities of the two systems: about 70 and 65 %."""
    wording: float = 1.2
    """What a wording is worth to both."""
    own_wording: float = 0.8
    """To one system beside."""
    seed: float = 0.08
    """Spread of a system: about 1.3 points of accuracy between trainings."""
    seed_wording: float = 0.5
    """What a seed makes of a wording."""
    slope: float = 0.25
    """Per logarithm of a wording's size, where large ones are easier."""


def main(settings: Settings) -> None:
    """The simulation and its record."""
    shapes = read_shapes(settings.data_dir) if settings.data_dir else recorded_shapes()
    cells = []
    for shape, sizes in shapes.items():
        for drawn in (False, True):
            for seeds in SEEDS:
                cells.append(cell(shape, sizes, drawn, seeds, settings))
                print(json.dumps(cells[-1]), flush=True)
    record = {
        "about": provenance("cpu"),
        "nominal": 95,
        "repeats": settings.repeats,
        "samples": settings.samples,
        "seed": settings.seed,
        "world": World().__dict__,
        "sizes": {shape: dict(sorted(Counter(sizes.tolist()).items())) for shape, sizes in shapes.items()},
        "coverage": cells,
    }
    write_text(FILE, json.dumps(record, indent=1) + "\n")
    print(FILE)


def read_shapes(folders: tuple[Path, ...]) -> dict[str, np.ndarray]:
    """Sizes of the clusters of each of SHAPES, from the test split."""
    frame = question_frame(load_dataset("scienceqa", folders)["test"])
    ids = cluster_ids(frame)
    classes = question_classes(frame) | option_count_classes(frame)
    classes[SHAPES[-1]] = classes["LAN"] & (ids % 50 == 0)
    return {name: ids[classes[name].fillna(False).astype(bool)].value_counts().to_numpy() for name in SHAPES}


def recorded_shapes() -> dict[str, np.ndarray]:
    """Those of the last record."""
    sizes = json.loads(FILE.read_text(encoding="utf-8"))["sizes"]
    return {shape: np.repeat([int(size) for size in counts], list(counts.values())) for shape, counts in sizes.items()}


def cell(shape: str, sizes: np.ndarray, drawn: bool, seeds: int, settings: Settings) -> dict[str, object]:
    """One kind of experiment, repeated."""
    rng = np.random.default_rng([settings.seed, SHAPES.index(shape), drawn, seeds])
    clusters = draw(len(sizes), seeds, settings.samples, settings.seed)
    hits = {method: np.zeros((2, settings.repeats), dtype=bool) for method in METHODS}
    width = {method: np.zeros((2, settings.repeats)) for method in METHODS}
    for repeat in range(settings.repeats):
        codes, credit, truth = experiment(rng, sizes, drawn, seeds)
        for method, measure, low, high in intervals(codes, credit, clusters, settings.samples):
            hits[method][measure, repeat] = low <= truth[measure] <= high
            width[method][measure, repeat] = high - low
    return {
        "class": shape,
        "clusters": len(sizes),
        "questions": int(sizes.sum()),
        "sizes": "drawn" if drawn else "fixed",
        "seeds": seeds,
        **{
            measure: {
                method: {
                    "covered": round(100 * float(hits[method][place].mean()), 1),
                    "error": round(100 * float(hits[method][place].std() / settings.repeats**0.5), 1),
                    "width": round(float(width[method][place].mean()), 2),
                }
                for method in METHODS
            }
            for place, measure in enumerate(("accuracy", "difference"))
        },
    }


def experiment(
    rng: np.random.Generator, sizes: np.ndarray, drawn: bool, seeds: int, world: World | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """
    Returns:
        The cluster of each of Q questions; credit, 2 systems x Q x seeds; the true accuracy of the first system and its
        true difference to the second, in percent and points.
    """
    world = world or World()
    sampled = rng.choice(sizes, len(sizes)) if drawn else sizes
    slope = world.slope if drawn else 0.0
    codes = np.repeat(np.arange(len(sampled)), sampled)
    shared = world.wording * rng.standard_normal(len(sampled)) + slope * np.log(sampled)
    credit, truths = [], []
    for level in world.levels:
        of_seed = world.seed * rng.standard_normal(seeds)
        own = world.own_wording * rng.standard_normal(len(sampled))
        both = world.seed_wording * rng.standard_normal((len(sampled), seeds))
        odds = level + (shared + own)[:, None] + of_seed + both
        credit.append((rng.random((len(codes), seeds)) < special.expit(odds)[codes]).astype(float))
        spread = np.hypot(np.hypot(world.wording, world.own_wording), world.seed_wording)
        if seeds == 1:  # this training is what the experiment is about
            level = level + of_seed[0]
        else:
            spread = np.hypot(spread, world.seed)
        by_size, count = np.unique(sizes, return_counts=True)
        odds = level + slope * np.log(by_size)[:, None] + spread * NODES
        mean = special.expit(odds) @ WEIGHTS / WEIGHTS.sum()
        truths.append(100 * float(np.average(mean, weights=by_size * count)))
    return codes, np.array(credit), (truths[0], truths[0] - truths[1])


def intervals(
    codes: np.ndarray, credit: np.ndarray, clusters: Draws, samples: int
) -> Iterator[tuple[str, int, float, float]]:
    """Method, measure (0 accuracy, 1 difference), lower and upper bound."""
    first, second = (pd.DataFrame(each) for each in credit)
    wording, question = pd.Series(codes, name="wording"), single_questions(first.index)
    sizes = np.bincount(codes)
    for measure, values in enumerate((first, first - second)):
        # Normal, as a bootstrap over thousands of questions is: the seeds' mean of each question, all independent.
        each = values.mean(axis=1).to_numpy() * 100
        half = 1.96 * each.std() / len(question) ** 0.5
        yield "questions", measure, each.mean() - half, each.mean() + half
        sums = np.stack([np.bincount(codes, values[seed]) for seed in values], axis=1)
        for kind in ("percentile", "bca"):
            bounds = bootstrap_bounds(sums, sizes, clusters, kind=kind, level=0.95)
            yield "bootstrap" if kind == "percentile" else kind, measure, *bounds
    yield "cluster-t", 0, *estimate_accuracy(first, wording).interval()
    yield "cluster-t", 1, *estimate_difference(first, second, wording).interval()


if __name__ == "__main__":
    program(main, Settings)
