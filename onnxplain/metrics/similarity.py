"""How alike two maps are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from onnxplain.tensors import Array


def rank_correlation(a: Array, b: Array) -> float:
    """Spearman's rank correlation, −1 to 1; equal values get the mean of their ranks."""
    return correlation(_ranks(a), _ranks(b))


def correlation(a: Array, b: Array) -> float:
    """Pearson's correlation, −1 to 1."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


SIMILARITIES: Mapping[str, Callable[[Array, Array], float]] = {
    "spearman": rank_correlation,
    "pearson": correlation,
}


def _ranks(values: Array) -> Array:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: Array = last - (counts - 1) / 2
    return shared[places.ravel()]
