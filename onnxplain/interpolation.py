"""Bilinear enlargement as matrices."""

from __future__ import annotations

import functools

import numpy as np

from onnxplain.tensors import FloatArray


@functools.lru_cache(maxsize=64)
def interpolation(length: int, cells: int) -> FloatArray:
    """Bilinear enlargement of `cells` values to `length`, as a matrix (length, cells).

    Centers are half-pixel, and the values at the edges hold beyond them.
    """
    place = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    hats: FloatArray = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells))).astype(
        np.float32
    )
    hats.setflags(write=False)
    return hats
