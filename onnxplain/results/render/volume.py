"""A volume, or a clip, as a sheet of its slices with their heat."""

from __future__ import annotations

import math

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.data import ExplanationData
from onnxplain.results.render.colors import Colors
from onnxplain.results.render.frame import FAINT_INK, PAPER, Caption, frame, page_for
from onnxplain.results.render.overlay import color_bar
from onnxplain.results.render.text import Style, default_font
from onnxplain.tensors import Array, FloatArray

_MOST_SLICES = 12
_COLUMNS = 4
_TILE = 176  # px: the longer side of a slice
_GUTTER = 6
_NAME = Style(13, FAINT_INK)
_STRIP = 18  # px below a slice, for its number


def draw_volume(explanation: ExplanationData, caption: Caption, colormap: str) -> Array:
    """Draw slices along the first axis, at most 12: uint8 (h, w, 3), RGB.

    They are evenly spaced, but the one with the largest value is among them. All have one scale.
    """
    colors = Colors(colormap, explanation.heatmap_range)
    shown = slices(explanation.heatmap, colors.zero)
    tiles = [
        _tile(explanation.picture[i], explanation.heatmap[i], f"slice {i}", colors) for i in shown
    ]
    sheet = _sheet(tiles)
    page = page_for(sheet)
    return frame(sheet, caption, [color_bar(colors, page)], page)


def slices(heatmap: FloatArray, zero: float) -> list[int]:
    """The indices of the slices to draw; `zero` is the heat of raw value 0."""
    depth = len(heatmap)
    if depth <= _MOST_SLICES:
        return list(range(depth))
    even = np.rint(np.linspace(0, depth - 1, _MOST_SLICES)).astype(int)
    strongest = int(np.abs(heatmap - np.float32(zero)).reshape(depth, -1).max(axis=1).argmax())
    even[np.abs(even - strongest).argmin()] = strongest
    return [int(i) for i in even]


def _tile(picture: Array, heat: FloatArray, name: str, colors: Colors) -> Array:
    """One slice, enlarged or reduced, with its number below it."""
    factor = _TILE / max(heat.shape)
    size = [max(1, round(side * factor)) for side in heat.shape[::-1]]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    shown = np.asarray(cv2.resize(picture, size, interpolation=how))
    drawn = colors.blend(shown, np.asarray(cv2.resize(heat, size, interpolation=how)))
    strip = np.full((_STRIP, max(size[0], _TILE // 2), 3), PAPER, np.uint8)
    default_font().draw(strip, name, 2, _NAME.size, _NAME)
    right = ((0, 0), (0, strip.shape[1] - size[0]), (0, 0))
    return np.concatenate([np.pad(drawn, right, constant_values=PAPER), strip])


def _sheet(tiles: list[Array]) -> Array:
    """Tiles of one size in rows."""
    height, width = tiles[0].shape[:2]
    columns = min(_COLUMNS, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    pitch = height + _GUTTER, width + _GUTTER
    size = rows * pitch[0] - _GUTTER, columns * pitch[1] - _GUTTER
    sheet = np.full((*size, 3), PAPER, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * pitch[0], i % columns * pitch[1]
        sheet[top : top + height, left : left + width] = tile
    return sheet
