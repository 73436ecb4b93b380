"""Answers to questions in clusters, made up."""

import numpy as np
import pandas as pd

SIZES = [1, 7, 2, 3, 1, 1, 11, 2, 5, 1, 3, 2]


def series(values):
    return pd.Series(np.asarray(values, dtype=float), index=[str(i) for i in range(len(values))])


def clustered(sizes):
    return pd.Series(np.repeat(np.arange(len(sizes)), sizes), name="wording").set_axis(map(str, range(sum(sizes))))


def answers(seed, sizes, spread=1.5, seeds=1):
    """Right or wrong, alike within a cluster."""
    rng = np.random.default_rng(seed)
    odds = np.repeat(rng.normal(0.7, spread, len(sizes)), sizes)[:, None]
    right = rng.random((sum(sizes), seeds)) < 1 / (1 + np.exp(-odds))
    frame = pd.DataFrame(right.astype(float), index=[str(i) for i in range(sum(sizes))])
    return frame if seeds > 1 else frame[0]
