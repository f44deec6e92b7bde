"""Convert places in the picture to cells of the answer's map of scores."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from onnxplain.errors import PictureError, TargetError
from onnxplain.images.geometry import Placement, Size
from onnxplain.images.picture import read_picture
from onnxplain.model.shapes import Shape
from onnxplain.tensors import Array

_PIXELS = r"box:-?\d+,-?\d+,\d+,\d+|\d+,\d+"

PLACE = rf"{_PIXELS}|(?!\d+,\d)[^,@]+"
"""A place, as a regular expression whose alternatives exclude each other."""

ALL = "all"
PREDICTED = "predicted"

FORMS = "all, predicted, X,Y, box:X,Y,WIDTH,HEIGHT, or a picture of a mask"
"""The ways to write a place, for messages."""


def place(text: str, placement: Placement | None, grid: Shape) -> Array:
    """The cells of an answer's map that a place in the picture covers, bool (rows, columns).

    `text` is "all" for the whole picture, a box or a point in pixels of the picture, x to the right
    and y downward, or the file of a mask of the picture's size, which selects all pixels that are
    not black. A cell is covered if the pixel at its center is selected. If no center is selected,
    the cells that contain selected pixels are covered.

    Raises:
        TargetError: there is no such place, the mask cannot be used, or the model does not see the
            place.
    """
    if placement is None or len(grid) != 2:
        raise TargetError(
            f"The place {text!r} needs a picture and an answer with rows and columns: use all or "
            "predicted."
        )
    picture = _in_picture(text, placement.picture)
    height, width = placement.picture
    if not picture.any():
        raise TargetError(
            f"The place {text!r} holds no pixel of the picture, which has {width} x {height}."
        )
    cells = _under_centers(picture, placement, grid)
    if not cells.any():
        cells = _holding(picture, placement, grid)
    if not cells.any():
        raise TargetError(
            f"The place {text!r} is in a part of the picture that preprocessing crops, so the "
            "model does not see it: choose another place, or --fit letterbox."
        )
    return cells


def cells_at(places: Iterable[str], placement: Placement | None, grid: Shape) -> Array:
    """The cells that show the picture and are in all of the places, bool (rows, columns).

    Raises:
        TargetError: as `place`.
    """
    found = np.ones(grid, bool) if placement is None else place(ALL, placement, grid)
    for text in places:
        if text != ALL:
            found &= place(text, placement, grid)
    return found


def _in_picture(text: str, size: Size) -> Array:
    """The place as a mask of the picture, bool (H, W)."""
    if text == ALL:
        return np.ones(size, bool)
    if not re.fullmatch(_PIXELS, text):
        return _from_file(text, size)
    numbers = map(int, text.removeprefix("box:").split(","))
    x, y, width, height = (*numbers, 1, 1)[:4]
    mask = np.zeros(size, bool)
    mask[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)] = True
    return mask


def _from_file(text: str, size: Size) -> Array:
    path = Path(text)
    if text.startswith("box:"):
        raise TargetError(f"A box is box:X,Y,WIDTH,HEIGHT in pixels, and this is {text!r}.")
    if not path.is_file():
        raise TargetError(f"There is no place {text!r} and no such file: a place is {FORMS}.")
    try:
        mask = np.asarray(read_picture(path)).any(axis=2)
    except PictureError as error:
        raise TargetError(f"The mask cannot be used: {error}") from None
    if mask.shape != size:
        raise TargetError(
            f"The mask {text} has {mask.shape[1]} x {mask.shape[0]} pixels, and the picture "
            f"{size[1]} x {size[0]}: they must be the same."
        )
    if not mask.any():
        raise TargetError(f"The mask {text} is black everywhere: make the region to explain white.")
    return mask


def _under_centers(picture: Array, placement: Placement, grid: Shape) -> Array:
    rows, columns = (
        ((np.arange(cells) + 0.5) * model / cells - offset) / scale
        for cells, model, offset, scale in zip(
            grid, placement.model, placement.offset, placement.scale, strict=True
        )
    )
    row, column = (np.floor(i).astype(int) for i in (rows, columns))
    height, width = picture.shape
    inside = np.outer((row >= 0) & (row < height), (column >= 0) & (column < width))
    under = picture[np.ix_(row.clip(0, height - 1), column.clip(0, width - 1))]
    return np.asarray(under & inside)


def _holding(picture: Array, placement: Placement, grid: Shape) -> Array:
    found = np.zeros(grid, bool)
    places = [
        np.floor(((pixels + 0.5) * scale + offset) * cells / model).astype(int)
        for pixels, cells, model, offset, scale in zip(
            np.nonzero(picture),
            grid,
            placement.model,
            placement.offset,
            placement.scale,
            strict=True,
        )
    ]
    inside = np.all([(p >= 0) & (p < n) for p, n in zip(places, grid, strict=True)], axis=0)
    found[tuple(p[inside] for p in places)] = True
    return found
