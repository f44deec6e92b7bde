"""Explanations drawn side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from onnxplain.errors import MapError
from onnxplain.images.opencv import cv2
from onnxplain.results.data import PICTURES, ExplanationData
from onnxplain.results.formats.png import draw
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP
from onnxplain.results.render.comparison import TargetRow, comparison
from onnxplain.tensors import Array


def draw_comparison(
    explanations: Iterable[ExplanationData],
    colormap: str = DEFAULT_COLORMAP,
    methods: Sequence[str] = (),
) -> Array:
    """Draw methods in columns and targets in rows: uint8 (h, w, 3), RGB.

    Args:
        explanations: of one picture, in any order.
        colormap: one of `onnxplain.results.render.colormaps.COLORMAPS`.
        methods: the columns in order; a method without an explanation has an empty column. By
            default, the methods of the explanations in their order.

    Raises:
        MapError: there is no explanation, or they are of several pictures, or of no picture.
        OptionError: no such colormap.
    """
    found = list(explanations)
    if not found or any(e.picture.shape != found[0].picture.shape for e in found):
        raise MapError("A comparison needs explanations of one picture: give at least one.")
    require_picture(found[0].kind)
    columns = list(methods or dict.fromkeys(e.method for e in found))
    table: dict[str, dict[str, ExplanationData]] = {}
    for explanation in found:
        table.setdefault(explanation.target.name, {})[explanation.method] = explanation
    rows = [_row(by_method, columns) for by_method in table.values()]
    # Explanations of one method for several targets share its passes.
    costs = {e.method: e.passes for e in found}
    headings = [(name, costs.get(name, "")) for name in columns]
    return comparison(found[0].picture, headings, rows, colormap, found[0].seen)


def require_picture(kind: str) -> None:
    """Check that maps of such an input can be drawn side by side.

    Raises:
        MapError: it is a volume, a signal or a row.
    """
    if kind not in PICTURES:
        raise MapError(
            f"Maps are drawn side by side on pictures and scenes, and this is a {kind}: draw one "
            "explanation at a time, with `onnxplain run` or Explanation.draw."
        )


def draw_side_by_side(
    explanations: Sequence[ExplanationData], colormap: str = DEFAULT_COLORMAP
) -> Array:
    """Draw explanations of any pictures in a row, all as high as the highest: uint8 (h, w, 3), RGB.

    Raises:
        MapError: there is no explanation.
        OptionError: no such colormap.
    """
    if not explanations:
        raise MapError("There is no explanation to draw: give at least one.")
    drawn = [draw(explanation, colormap) for explanation in explanations]
    height = max(len(one) for one in drawn)
    return np.concatenate([_of_height(one, height) for one in drawn], axis=1)


def _of_height(image: Array, height: int) -> Array:
    if len(image) == height:
        return image
    width = round(image.shape[1] * height / len(image))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def _row(by_method: Mapping[str, ExplanationData], columns: Sequence[str]) -> TargetRow:
    first = next(iter(by_method.values()))
    cells = [by_method.get(name) for name in columns]
    return TargetRow(first.target.title, first.scored, cells)
