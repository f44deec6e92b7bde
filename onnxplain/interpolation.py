"""Bilinear interpolation as matrices."""

from __future__ import annotations

import functools

import numpy as np

from onnxplain.tensors import FloatArray


@functools.lru_cache(maxsize=64)
def interpolation(length: int, cells: int) -> FloatArray:
    """The matrix (length, cells) that enlarges `cells` values to `length` along one axis.

    Its weights are those of bilinear interpolation with half-pixel centers. Beyond the outermost
    centers the outermost value is repeated. The array is cached, so it is read-only.
    """
    place = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    hats: FloatArray = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells))).astype(
        np.float32
    )
    hats.setflags(write=False)
    return hats
