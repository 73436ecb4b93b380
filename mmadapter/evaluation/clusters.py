"""Questions that are not independent: clusters, and what each of them got right.

S seeds, C clusters, Q questions. A credit is 1 for a right answer, 0 for a wrong one, or the fraction of a baseline.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import pandas as pd

from mmadapter.errors import UserError

Credit: TypeAlias = pd.Series | pd.DataFrame
"""By pid; a frame has a column a training seed."""


def single_questions(index: pd.Index) -> pd.Series:
    """Clusters of one question each: for intervals over questions as if they were independent."""
    return pd.Series(np.arange(len(index)), index=index, name="question")


def credit_matrix(credit: Credit) -> np.ndarray:
    """Return the credits as Q x S numbers."""
    values = credit.to_numpy(dtype=float)
    return values[:, None] if values.ndim == 1 else values


def cluster_codes(index: pd.Index, clusters: pd.Series) -> np.ndarray:
    """Return the cluster of each question, as 0 to C - 1.

    Raises:
        UserError: a question without a cluster.
    """
    place = clusters.index.get_indexer(index)
    if (place < 0).any():
        raise UserError(f"{int((place < 0).sum())} of {len(index)} questions have no cluster")
    return np.unique(clusters.to_numpy()[place], return_inverse=True)[1]


def cluster_sums(values: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the C x S sums and the C sizes of Q x S values."""
    sizes = np.bincount(codes)
    return np.column_stack([np.bincount(codes, column, len(sizes)) for column in values.T]), sizes
