"""Maps and scenes that are made by a formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from sklearn.datasets import load_digits

from onnxplain.reports.places import GRID
from onnxplain.tensors import FloatArray
from tools.build_models.marked_scenes import RECIPE
from tools.build_models.scenes import Material, Scene, draw, smooth


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


def scenes_of(digits: Sequence[int], each: int, part: slice, seed: int) -> list[Scene]:
    """Scenes of digits on soft colors, `each` of every one; `part` says of which written digits."""
    data, rng = load_digits(), np.random.default_rng(seed)
    source = Material(
        smooth(data.images[part]),
        data.target[part].astype(np.int64),
        np.zeros((1, 48, 48)),
        tuple((_background(rng),) for _ in range(6)),
    )
    found: dict[int, list[Scene]] = {digit: [] for digit in digits}
    while min(map(len, found.values())) < each:
        scene = draw(rng, source, replace(RECIPE, marks=0))
        own = found.get(scene.digits[0][0])
        if own is not None and len(own) < each:
            own.append(scene)
    return [scene for own in found.values() for scene in own]


def _background(rng: np.random.Generator) -> np.ndarray:
    small = rng.uniform(60, 200, (6, 6, 3)).astype(np.float32)
    return cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC).astype(np.float64)
