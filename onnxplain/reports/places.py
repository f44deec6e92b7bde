"""Shares of a map's heat: on a grid over what the model saw, and in places of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.methods.registry import METHODS
from onnxplain.tensors import Array, FloatArray

GRID: Final = 16
"""Rows and columns of the grid on which maps are compared."""

_QUARTER = GRID // 4
_RIM = GRID // 8

OUTSIDE = "outside the annotated objects"


def evidence(values: FloatArray, method: str) -> FloatArray:
    """What raises the score in a map's values: their positive part, 0 and more.

    A map of scores has no zero: there it is what is above the lowest score.
    """
    known = METHODS.get(method)
    lowest = values.min() if known is not None and known.values_are_scores else 0
    above: FloatArray = np.maximum(values - np.float32(lowest), np.float32(0))
    return above


def shares(heat: FloatArray, seen: tuple[slice, slice]) -> FloatArray | None:
    """The share of a map's heat in each cell of the grid, (GRID, GRID), float32, sum 1.

    `heat`, (rows, columns), is 0 or more on the picture, and the grid covers the part `seen`. None
    if there is no heat.
    """
    part = np.ascontiguousarray(heat[seen], np.float32)
    # INTER_AREA averages only where it shrinks, so a small map is enlarged to a multiple before.
    size = tuple(-(-side // GRID) * GRID for side in part.shape)
    if size != part.shape:
        part = cv2.resize(part, size[::-1], interpolation=cv2.INTER_LINEAR)
    cells = part.reshape(GRID, size[0] // GRID, GRID, size[1] // GRID).mean((1, 3), np.float64)
    total = cells.sum()
    return (cells / total).astype(np.float32) if total > 0 else None


def _cells(rows: slice, columns: slice) -> Array:
    mask = np.zeros((GRID, GRID), bool)
    mask[rows, columns] = True
    return mask


_FIRST, _MIDDLE, _LAST = slice(_QUARTER), slice(_QUARTER, -_QUARTER), slice(-_QUARTER, None)
_INSIDE = slice(_RIM, -_RIM)

PLACES: Final[Mapping[str, Array]] = {
    "upper left corner": _cells(_FIRST, _FIRST),
    "upper right corner": _cells(_FIRST, _LAST),
    "lower left corner": _cells(_LAST, _FIRST),
    "lower right corner": _cells(_LAST, _LAST),
    "upper edge": _cells(_FIRST, _MIDDLE),
    "lower edge": _cells(_LAST, _MIDDLE),
    "left edge": _cells(_MIDDLE, _FIRST),
    "right edge": _cells(_MIDDLE, _LAST),
    "border": ~_cells(_INSIDE, _INSIDE),
}
"""The cells of each place: corners and edges are a quarter of the sides deep, the border an eighth.

An edge is without its corners; the border overlaps the others.
"""

AREAS: Final[Mapping[str, float]] = {name: float(mask.mean()) for name, mask in PLACES.items()}
"""The share of the grid that each place covers."""


def place_shares(grids: FloatArray) -> dict[str, Array]:
    """The share of each map's heat in each place: (maps,) float64 by place."""
    return {name: grids[:, mask].sum(1, np.float64) for name, mask in PLACES.items()}


def outside_share(heat: FloatArray, inside: Array) -> float:
    """The share of the heat, (rows, columns), where `inside` is False; NaN without heat."""
    total = float(heat.sum(dtype=np.float64))
    return float(heat[~inside].sum(dtype=np.float64)) / total if total > 0 else float("nan")
