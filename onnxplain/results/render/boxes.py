"""Draw detected boxes on a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.render.frame import Caption, Page, baseline_in, frame, page_for
from onnxplain.results.render.text import Color, Style
from onnxplain.targets.described import ExplainedBox
from onnxplain.tensors import Array

_BOX: Color = (90, 255, 120)
_EDGE: Color = (0, 0, 0)
_SHOWN_SIDE = 512  # px: smaller pictures are enlarged by a whole factor to about this


def draw_boxes(
    image: Array, boxes: Sequence[ExplainedBox], scale: tuple[float, float], page: Page
) -> None:
    """Draw rectangles on `image`, uint8 (h, w, 3), in place.

    `scale` has the image's pixels for one pixel of the picture, (vertical, horizontal).
    """
    thin = max(2, page.text // 8)
    for box in boxes:
        corners = _corners(image, box, scale)
        for color, thickness in ((_EDGE, thin + 2), (_BOX, thin)):
            cv2.rectangle(image, *corners, color, thickness)


def box_swatch(swatch: Array) -> Array:
    """The swatch with a line in the color of boxes."""
    height, width = swatch.shape[:2]
    for color, thickness in ((_EDGE, height // 5 + 2), (_BOX, height // 5)):
        cv2.line(swatch, (0, height // 2), (width, height // 2), color, thickness)
    return swatch


def labeled_boxes(
    picture: Array, boxes: Sequence[ExplainedBox], names: Sequence[str], caption: Caption
) -> Array:
    """Draw boxes with their names on a picture, with a caption above.

    Args:
        picture: uint8 (H, W, 3), RGB.
        boxes: in pixels of the picture.
        names: what to write at each box.
        caption: what to write above.

    Returns:
        uint8 (h, w, 3), RGB.
    """
    factor = max(1, round(_SHOWN_SIDE / max(picture.shape[:2])))
    size = [side * factor for side in picture.shape[1::-1]]
    shown = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST))
    page = page_for(shown)
    draw_boxes(shown, boxes, (factor, factor), page)
    style = Style(page.small.size, _EDGE)
    for box, name in zip(boxes, names, strict=True):
        (x, y), _ = _corners(shown, box, (factor, factor))
        _write(shown, f" {name} ", (x, y), style, page)
    return frame(shown, caption, [], page)


def _write(image: Array, text: str, at: tuple[int, int], style: Style, page: Page) -> None:
    """Write a line on a filled rectangle above a point, or below it where there is no room."""
    width, height = page.font.width(text, style), round(1.4 * style.size)
    left = max(0, min(at[0], image.shape[1] - width))
    top = at[1] - height if at[1] >= height else at[1]
    image[top : top + height, left : left + width] = _BOX
    page.font.draw(image, text, left, top + baseline_in(style), style)


def _corners(
    image: Array, box: ExplainedBox, scale: tuple[float, float]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Top left and bottom right, inside of the image."""
    (height, width), (down, across) = image.shape[:2], scale
    x = [min(round(side * across), width - 1) for side in (box.x, box.x + box.width)]
    y = [min(round(side * down), height - 1) for side in (box.y, box.y + box.height)]
    return (x[0], y[0]), (x[1], y[1])
