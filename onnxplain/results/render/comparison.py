"""Several maps of one picture side by side: methods in columns, targets in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.data import ExplanationData
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP
from onnxplain.results.render.colors import Colors
from onnxplain.results.render.frame import FAINT_INK, INK, PAPER, Page, legend_strips
from onnxplain.results.render.overlay import color_bar, laid_over
from onnxplain.results.render.text import Style, default_font, wrapped
from onnxplain.tensors import Array

_CELL = 224  # px: the width of every picture
_GAP = 10
_NAME = Style(15, INK, bold=True)
_SMALL = Style(13, FAINT_INK)
_LINE = 19  # px
_LINES = 2  # of text below a picture
_NO_MAP = 240  # gray
_PAGE = Page(width=_CELL, text=_SMALL.size)
_NO_BAR = np.full_like(color_bar(Colors(DEFAULT_COLORMAP, (0, 1)), _PAGE), PAPER)


@dataclass(frozen=True, eq=False)
class TargetRow:
    """One target: a title and a note, written below the photograph, and a cell for each column.

    A cell is an explanation, of which the heatmap is drawn, or the sheet if there is one. A cell of
    None means a method that has no map to show.
    """

    title: str
    note: str
    cells: Sequence[ExplanationData | None]


def comparison(
    picture: Array,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[TargetRow],
    colormap: str,
    seen: Array | None = None,
) -> Array:
    """Draw the table: uint8 (h, w, 3), RGB.

    Args:
        picture: uint8 (H, W, 3), RGB.
        columns: a heading, and a note below it, for each cell of a row.
        rows: one for each target.
        colormap: one of `onnxplain.results.render.colormaps.COLORMAPS`.
        seen: bool (H, W), False where the model did not see the picture; hatched.

    Raises:
        OptionError: no such colormap.
    """
    photo = _scaled(picture, _CELL / picture.shape[1])
    heads = [_text(name, note) for name, note in (("", ""), *columns)]
    bands, legend = [_side_by_side(heads)], dict[str, Array]()
    for row in rows:
        parts = [_below(photo, _NO_BAR, row.title, row.note)]
        for cell in row.cells:
            shown, bar, known = _drawn(cell, photo, colormap, seen)
            parts.append(_below(shown, bar, "", "no map" if cell is None else ""))
            legend |= known
        bands.append(_side_by_side(parts))
    page = Page(width=bands[0].shape[1], text=_SMALL.size)
    entries = [(swatch, meaning) for meaning, swatch in legend.items()]
    strips = [strip[:, : page.width] for strip in legend_strips(entries, page)]
    table = np.concatenate([*bands, *strips])
    return np.pad(table, ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=PAPER)


def _drawn(
    cell: ExplanationData | None, photo: Array, colormap: str, seen: Array | None
) -> tuple[Array, Array, dict[str, Array]]:
    """A cell's picture in the photograph's size, its color bar, and swatches by their meaning."""
    blank = np.full_like(photo, _NO_MAP)
    if cell is None:
        return blank, _NO_BAR, {}
    if cell.sheet is None:
        scale = cell.heatmap_range
        boxes = cell.target.boxes
        drawn = laid_over(
            photo, cell.heatmap, scale, _PAGE, colormap=colormap, seen=seen, boxes=boxes
        )
        known = {meaning: swatch for swatch, meaning in drawn.legend(_PAGE)}
        return drawn.picture, drawn.color_bar(_PAGE), known
    height, width = cell.sheet.shape[:2]
    inside = _scaled(cell.sheet, min(photo.shape[1] / width, photo.shape[0] / height))
    blank[: inside.shape[0], : inside.shape[1]] = inside
    return blank, _NO_BAR, {}


def _scaled(picture: Array, factor: float) -> Array:
    size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how))


def _below(picture: Array, bar: Array, title: str, note: str) -> Array:
    """A picture with its color bar and two lines of text below it."""
    return np.concatenate([picture, bar, _text(title, note)])


def _text(title: str, note: str) -> Array:
    """A strip with two lines of text; what does not fit is cut."""
    strip = np.full((_LINES * _LINE + _GAP, _CELL, 3), PAPER, np.uint8)
    font, row = default_font(), 0
    for text, style in ((title, _NAME), (note, _SMALL)):
        for line in wrapped(text, font, style, _CELL, _LINES - row) if row < _LINES else ():
            font.draw(strip, line, 0, row * _LINE + style.size, style)
            row += 1
    return strip


def _side_by_side(parts: Sequence[Array]) -> Array:
    gap = ((0, 0), (0, _GAP), (0, 0))
    return np.concatenate([np.pad(part, gap, constant_values=PAPER) for part in parts], axis=1)
