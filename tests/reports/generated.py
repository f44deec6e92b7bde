"""Maps that are made by a formula."""

from __future__ import annotations

import numpy as np

from onnxplain.reports.places import GRID
from onnxplain.tensors import FloatArray


def blobs(count: int, seed: int, at: tuple[float, float] | None = None) -> FloatArray:
    """Maps with one spot each, (count, GRID, GRID), sum 1: near `at`, else anywhere inside."""
    rng = np.random.default_rng(seed)
    centers = (
        rng.uniform(4, GRID - 5, (count, 2)) if at is None else at + rng.normal(0, 0.3, (count, 2))
    )
    rows, columns = np.mgrid[:GRID, :GRID]
    distance = (rows - centers[:, :1, None]) ** 2 + (columns - centers[:, 1:, None]) ** 2
    spots = np.exp(-distance / 6) + 0.002 * rng.random((count, GRID, GRID))
    maps: FloatArray = (spots / spots.sum((1, 2), keepdims=True)).astype(np.float32)
    return maps
