"""Concepts of a picture as colored regions, with their importance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.render.frame import Caption, frame, legend_strips, page_for
from onnxplain.results.render.text import Color
from onnxplain.tensors import Array, FloatArray

_SHOWN_SIDE = 384  # px: pictures are drawn with about this side
_GAP = 8  # px
_COLORED = 0.65  # of a pixel, where a concept is strongest
_GRAY = 0.75  # of the photograph's brightness below the colors

COLORS: Sequence[Color] = (
    (238, 102, 119), (68, 119, 170), (204, 187, 68), (34, 136, 51), (170, 51, 119),
    (102, 204, 238), (224, 123, 57), (123, 111, 208), (141, 110, 99), (187, 187, 187),
)  # fmt: skip
"""One for each concept; the first are Paul Tol's "bright"."""


def draw_concepts(
    picture: Array, heats: Sequence[FloatArray], notes: Sequence[str], caption: Caption
) -> Array:
    """Draw the photograph, and beside it in gray the region of each concept in its color.

    A pixel has the color of the concept that is largest there, the stronger, the larger it is.

    Args:
        picture: uint8 (H, W, 3), RGB.
        heats: float32 (H, W) for each concept, 0 or more, in the same unit.
        notes: for each concept, what is written next to its color.
        caption: what to write above.

    Returns:
        uint8 (h, w, 3), RGB.
    """
    factor = _SHOWN_SIDE / max(picture.shape[:2])
    width, height = (max(1, round(side * factor)) for side in picture.shape[1::-1])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    photo = cv2.resize(picture, (width, height), interpolation=how)
    heat = np.stack([cv2.resize(one, (width, height)) for one in heats])
    gray = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    strength = (heat.max(0) / max(float(heat.max()), 1e-12))[..., None] * _COLORED
    colors = np.array(COLORS, np.float32)[heat.argmax(0)]
    regions = np.rint(gray * _GRAY * (1 - strength) + colors * strength).astype(np.uint8)
    gap = np.full((height, _GAP, 3), 255, np.uint8)
    drawn = np.concatenate([photo, gap, regions], axis=1)
    page = page_for(drawn)
    entries = [(_swatch(COLORS[i], page.text), note) for i, note in enumerate(notes)]
    return frame(drawn, caption, legend_strips(entries, page), page)


def _swatch(color: Color, side: int) -> Array:
    return np.full((side, 2 * side, 3), color, np.uint8)
