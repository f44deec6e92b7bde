"""Sobol indices and HSIC of cells of masks, as in the papers, one number at a time.

`x` and `absent` are (1, C, H, W) float32, `labels`, (H, W), has the cell of each pixel, and `score`
maps such an array to one number. Everything else is float64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .perturbation import Float32, Score, blend
from .resize import Float64


def drawn(samples: int, columns: int, seed: int) -> Float64:
    """A Latin hypercube (samples, columns): the strata of each column, then places in them."""
    random = np.random.default_rng(seed)
    strata = random.permuted(np.tile(np.arange(samples), (columns, 1)), axis=1)
    return np.asarray((strata + random.random((columns, samples))).T / samples)


def placed(values: NDArray[Any], labels: NDArray[np.int64]) -> Float64:
    """Each pixel with the value of its cell."""
    return np.asarray(values[labels], np.float64)


def sobol(
    x: Float32, absent: Float32, labels: NDArray[np.int64], score: Score, design: Float64
) -> Float64:
    """Total indices by Jansen 1999, (H, W); `design`, (n, 2 cells), holds a and b (Fel 2021)."""
    a, b = np.split(design.astype(np.float32), 2, axis=1)

    def scored(z: NDArray[np.float32]) -> float:
        return score(blend(x, absent, placed(z, labels)))

    plain = np.array([scored(z) for z in a])
    indices = np.zeros(a.shape[1])
    for cell in range(a.shape[1]):
        for own, other, before in zip(a, b, plain, strict=True):
            moved = own.copy()
            moved[cell] = other[cell]
            indices[cell] += (before - scored(moved)) ** 2 / (2 * len(a))
    return placed(indices / plain.var(ddof=1), labels)


def hsic(
    x: Float32, absent: Float32, labels: NDArray[np.int64], score: Score, design: Float64
) -> Float64:
    """tr(K H L H) / n², (H, W), of masks that are `design`, (n, cells), rounded (Novello 2022)."""
    masks = np.round(design)
    scores = np.array([score(blend(x, absent, placed(z, labels))) for z in masks])
    n, found = len(masks), []
    centering = np.eye(n) - np.full((n, n), 1 / n)
    of_scores = gram(scores, gaussian(np.median(gram(scores, lambda s, t: abs(s - t)))))
    for cell in masks.T:
        of_cell = gram(cell, lambda s, t: 0.5 - (s - t) ** 2)
        found.append(np.trace(of_cell @ centering @ of_scores @ centering) / n**2)
    return placed(np.array(found), labels)


def gaussian(width: float) -> Callable[[float, float], float]:
    """The kernel exp(-(s - t)^2 / (2 width^2))."""
    return lambda s, t: float(np.exp(-((s - t) ** 2) / (2 * width**2)))


def gram(values: NDArray[Any], kernel: Callable[[float, float], float]) -> Float64:
    """The matrix of a kernel over all pairs."""
    return np.array([[kernel(s, t) for t in values] for s in values])
