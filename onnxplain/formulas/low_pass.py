"""A low-pass filter of maps: what varies along rows and columns faster than a cut-off goes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from onnxplain.formulas.namespace import Namespace
from onnxplain.tensors import FloatArray


def low_pass(xp: Namespace, a: Any, axes: tuple[int, int], cutoff: float) -> Any:
    """`a` without frequencies above `cutoff` along two negative `axes`, whose sizes are known.

    A frequency (f, g), in periods over the whole axes of the sizes m and n, is kept where
    √((f / m)² + (g / n)²) · min(m, n) ≤ `cutoff`. The mean is always kept.

    The products of sines and cosines of two frequencies span the same maps as the four complex
    exponentials with (±f, ±g), which are kept or removed together, so real matrices are enough.
    """
    sizes = [a.shape[axis] for axis in axes]
    per_period = [min(sizes) / size for size in sizes]
    waves = [waves_of(size, cutoff / scale) for size, scale in zip(sizes, per_period, strict=True)]
    for axis, (basis, _) in zip(axes, waves, strict=True):
        a = xp.along(basis, a, axis)
    down, across = (scale * found for scale, (_, found) in zip(per_period, waves, strict=True))
    kept = np.hypot(down[:, None], across) <= cutoff
    a = a * kept.reshape(*kept.shape, *[1] * (-1 - axes[1])).astype(np.float32)
    for axis, (basis, _) in zip(axes, waves, strict=True):
        a = xp.along(basis.T, a, axis)
    return a


@functools.lru_cache(maxsize=16)
def waves_of(size: int, most: float) -> tuple[FloatArray, FloatArray]:
    """The real Fourier basis of `size` values up to a frequency, and the frequency of each row.

    The basis is orthonormal, (waves, size): the constant, then a cosine and a sine for each
    frequency; of half the size there is only the cosine. The arrays are cached, so they are
    read-only.
    """
    last = min(int(most), size // 2)
    angles = 2 * np.pi * np.outer(np.arange(last + 1), np.arange(size)) / size
    pairs = np.stack([np.cos(angles), np.sin(angles)], axis=1).reshape(-1, size)
    frequencies = np.repeat(np.arange(last + 1.0), 2)
    lengths = np.linalg.norm(pairs, axis=1)
    real = lengths > 0.5  # the sines of frequency 0 and of half the size are 0
    basis = pairs[real] / lengths[real, None]
    found = basis, frequencies[real]
    for array in found:
        array.setflags(write=False)
    return found
