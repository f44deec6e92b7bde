"""Noisy linear imputation: removed pixels become a weighted mean of their neighbors."""

from __future__ import annotations

from typing import Any

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.metrics.scientific import scipy_module
from onnxplain.tensors import Array

_WEIGHTS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}
"""Weights of neighbors by their offset, as Rong et al. 2022 choose them; so are opposite ones."""

_STENCIL = np.array([[1 / 12, 1 / 6, 1 / 12], [1 / 6, 0, 1 / 6], [1 / 12, 1 / 6, 1 / 12]])


def imputed(picture: Array, removed: Array) -> Array:
    """A picture, float64 (rows, columns, channels), with its `removed` pixels, bool, imputed.

    Each removed pixel is the weighted mean of its eight neighbors; those outside of the picture do
    not count. This is a sparse linear system with a symmetric positive definite matrix. Where every
    pixel is removed, the system has no answer, and the result is the mean color.

    Raises:
        OptionError: SciPy is missing.
    """
    if removed.all():
        return np.broadcast_to(picture.mean(axis=(0, 1)), picture.shape).copy()
    found = picture.copy()
    if removed.any():
        known = _neighbors(np.where(removed[..., None], 0, picture))[removed]
        linalg = scipy_module("sparse.linalg", "road")
        # The matrix is symmetric, and this order has the fewest entries in the factors.
        factors = linalg.splu(
            _system(removed), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}
        )
        found[removed] = factors.solve(known)
    return found


def _system(removed: Array) -> Any:
    """The matrix of the system, with a row and a column for each removed pixel."""
    sparse = scipy_module("sparse", "road")
    count = int(removed.sum())
    numbers = np.full([side + 2 for side in removed.shape], -1)
    numbers[1:-1, 1:-1][removed] = np.arange(count)
    down, across = np.nonzero(removed)
    own = np.arange(count)
    total = _neighbors(np.ones((*removed.shape, 1)))[removed][:, 0]
    rows, columns, values = [own], [own], [total]
    for (row, column), weight in _WEIGHTS.items():
        for sign in (1, -1):
            other = numbers[1 + down + sign * row, 1 + across + sign * column]
            rows.append(own[other >= 0])
            columns.append(other[other >= 0])
            values.append(np.full(len(rows[-1]), -weight))
    places = np.concatenate(rows), np.concatenate(columns)
    return sparse.csc_matrix((np.concatenate(values), places), shape=(count, count))


def _neighbors(values: Array) -> Array:
    """The weighted sum of the neighbors of each pixel; those outside are 0."""
    found = cv2.filter2D(values, cv2.CV_64F, _STENCIL, borderType=cv2.BORDER_CONSTANT)
    summed: Array = found.reshape(values.shape)
    return summed
