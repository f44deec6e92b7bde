"""Feature maps as a contact sheet, with a small gray picture for every channel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.errors import MapError
from onnxplain.images.opencv import cv2
from onnxplain.results.render.frame import FAINT_INK, PAPER
from onnxplain.results.render.text import Style, default_font
from onnxplain.tensors import Array, FloatArray

_SHEET_SIDE = 2048  # px: the sheet's longer side, roughly
_CELL_SIDE = 256  # px: a channel's longer side never exceeds this
_GUTTER = 2
_INDEX_TEXT = 11  # px
_INDEX_STRIP = 14
_CELL_WITH_INDEX = 30  # px: narrower cells have no room for a four-digit index


def contact_sheet(maps: FloatArray, names: Sequence[str] = ()) -> Array:
    """Draw channels on a near-square grid, each on its own scale from black to white.

    Small maps are enlarged by a whole factor with nearest neighbors, so that one value of the map
    is one square. Maps that are too large for the sheet are reduced by averaging. A constant
    channel is black. If a drawn map is wide enough, the end of its name, or its index, is written
    below it.

    Args:
        maps: float (C, h, w).
        names: one for each map; if empty, the index of each channel.

    Returns:
        uint8 (h, w, 3), RGB. Its longer side is at most about 2,048 pixels for any number of
        channels.

    Raises:
        MapError: a value is not finite.
    """
    if not np.isfinite(maps).all():
        raise MapError("The feature maps hold values that are not finite, so they cannot be drawn.")
    channels, height, width = maps.shape
    grid = _grid_for(channels, height, width)
    canvas = np.full((*grid.canvas, 3), PAPER, np.uint8)
    for channel, pixels in enumerate(maps):
        top, left = grid.corner(channel)
        tile = grid.fitted(_to_bytes(pixels))
        canvas[top : top + grid.height, left : left + grid.width] = tile[..., None]
    if grid.index_strip:
        _write_below(canvas, grid, names or [str(channel) for channel in range(channels)])
    return canvas


@dataclass(frozen=True)
class _Grid:
    rows: int
    columns: int
    height: int  # of a drawn map, in pixels
    width: int
    index_strip: int  # pixels below each map, 0 for none

    @property
    def _pitch(self) -> tuple[int, int]:
        return self.height + self.index_strip + _GUTTER, self.width + _GUTTER

    @property
    def canvas(self) -> tuple[int, int]:
        height, width = self._pitch
        return self.rows * height + _GUTTER, self.columns * width + _GUTTER

    def corner(self, channel: int) -> tuple[int, int]:
        row, column = divmod(channel, self.columns)
        height, width = self._pitch
        return _GUTTER + row * height, _GUTTER + column * width

    def fitted(self, pixels: Array) -> Array:
        enlarges = self.height >= pixels.shape[0]
        how = cv2.INTER_NEAREST if enlarges else cv2.INTER_AREA
        return np.asarray(cv2.resize(pixels, (self.width, self.height), interpolation=how))


def _grid_for(channels: int, height: int, width: int) -> _Grid:
    columns = min(channels, max(1, round(math.sqrt(channels * height / width))))
    rows = math.ceil(channels / columns)
    columns = math.ceil(channels / rows)
    with_index = _fitted_grid(rows, columns, height, width, _INDEX_STRIP)
    if with_index.width >= _CELL_WITH_INDEX:
        return with_index
    return _fitted_grid(rows, columns, height, width, 0)


def _fitted_grid(rows: int, columns: int, height: int, width: int, index_strip: int) -> _Grid:
    room = min(
        (_SHEET_SIDE / rows - index_strip - _GUTTER) / height,
        (_SHEET_SIDE / columns - _GUTTER) / width,
        _CELL_SIDE / max(height, width),
    )
    factor = math.floor(room) if room >= 1 else room
    drawn = max(1, round(height * factor)), max(1, round(width * factor))
    return _Grid(rows, columns, *drawn, index_strip)


def _to_bytes(pixels: FloatArray) -> Array:
    low, high = pixels.min(), pixels.max()
    scaled = (pixels - low) * (255 / (high - low) if high > low else 0)
    return np.asarray(np.rint(scaled), np.uint8)


def _write_below(canvas: Array, grid: _Grid, names: Sequence[str]) -> None:
    font, style = default_font(), Style(_INDEX_TEXT, FAINT_INK)
    for channel, name in enumerate(names):
        top, left = grid.corner(channel)
        ends = (("…" if start else "") + name[start:] for start in range(len(name)))
        shown = next((end for end in ends if font.width(end, style) <= grid.width - 4), "")
        font.draw(canvas, shown, left + 2, top + grid.height + _INDEX_TEXT, style)
