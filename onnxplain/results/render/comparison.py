"""Several maps of one picture side by side: methods in columns, targets in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.render.colors import Colors
from onnxplain.results.render.frame import FAINT_INK, INK, PAPER, Page
from onnxplain.results.render.overlay import laid_over
from onnxplain.results.render.text import Style, default_font, wrapped
from onnxplain.tensors import Array, FloatArray

_CELL = 224  # px: the width of every picture
_GAP = 10
_NAME = Style(15, INK, bold=True)
_SMALL = Style(13, FAINT_INK)
_LINE = 19  # px
_LINES = 2  # of text below a picture
_NO_MAP = 240  # gray


@dataclass(frozen=True, eq=False)
class Cell:
    """One map: a heatmap float32 (H, W) in 0 to 1, or what is drawn in its place, uint8 (h, w, 3).

    `scale` are the raw values that heat 0 and 1 stand for; `note` is written below the map.
    """

    heatmap: FloatArray
    scale: tuple[float, float] = (0.0, 1.0)
    drawn: Array | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class TargetRow:
    """What was explained, written below the photograph, and a cell for each column.

    None stands for a method that had nothing to show.
    """

    title: str
    note: str
    cells: Sequence[Cell | None]


def comparison(
    picture: Array,
    columns: Sequence[str],
    rows: Sequence[TargetRow],
    colormap: str,
    seen: Array | None = None,
) -> Array:
    """Draw the table: uint8 RGB.

    Args:
        picture: uint8 (H, W, 3), RGB.
        columns: a heading for each cell of a row.
        rows: one for each target.
        colormap: one of `onnxplain.results.render.colormaps.COLORMAPS`.
        seen: bool (H, W), False where the model never saw the picture; hatched.

    Raises:
        OptionError: no such colormap.
    """
    photo = _scaled(picture, _CELL / picture.shape[1])
    heads = [_text([(name, _NAME)], lines=1) for name in ("", *columns)]
    bands = [_side_by_side(heads)]
    for row in rows:
        parts = [_above_text(photo, row.title, row.note)]
        for cell in row.cells:
            shown = _drawn(cell, photo, colormap, seen)
            parts.append(_above_text(shown, "", "no map" if cell is None else cell.note))
        bands.append(_side_by_side(parts))
    table = np.concatenate(bands)
    return np.pad(table, ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=PAPER)


def _drawn(cell: Cell | None, photo: Array, colormap: str, seen: Array | None) -> Array:
    """A cell's picture, of the size of the photograph."""
    blank = np.full_like(photo, _NO_MAP)
    if cell is None:
        return blank
    if cell.drawn is None:
        page = Page(width=_CELL, text=_SMALL.size)
        return laid_over(photo, cell.heatmap, Colors(colormap, cell.scale), page, seen)[0]
    height, width = cell.drawn.shape[:2]
    inside = _scaled(cell.drawn, min(photo.shape[1] / width, photo.shape[0] / height))
    blank[: inside.shape[0], : inside.shape[1]] = inside
    return blank


def _scaled(picture: Array, factor: float) -> Array:
    size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how))


def _above_text(picture: Array, title: str, note: str) -> Array:
    return np.concatenate([picture, _text([(title, _NAME), (note, _SMALL)], lines=_LINES)])


def _text(pieces: Sequence[tuple[str, Style]], lines: int) -> Array:
    """A strip with some lines of text; what does not fit is cut."""
    strip = np.full((lines * _LINE + _GAP, _CELL, 3), PAPER, np.uint8)
    font, row = default_font(), 0
    for text, style in pieces:
        for line in wrapped(text, font, style, _CELL, lines - row) if row < lines else ():
            font.draw(strip, line, 0, row * _LINE + style.size, style)
            row += 1
    return strip


def _side_by_side(parts: Sequence[Array]) -> Array:
    gap = ((0, 0), (0, _GAP), (0, 0))
    return np.concatenate([np.pad(part, gap, constant_values=PAPER) for part in parts], axis=1)
