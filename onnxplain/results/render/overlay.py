"""A heatmap drawn over its picture.

The photograph is drawn darker and with less color where the values are near 0. Where they are far
from 0, colors are mixed into it. An outline at half of the highest value shows the shape also where
a bright photograph makes the colors hard to see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from onnxplain.images.opencv import cv2
from onnxplain.results.render.boxes import box_swatch, draw_boxes
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP
from onnxplain.results.render.colors import Colors
from onnxplain.results.render.frame import (
    Caption,
    Page,
    baseline_in,
    frame,
    legend_strips,
    page_for,
    text_strip,
)
from onnxplain.targets.described import ExplainedBox
from onnxplain.tensors import Array, FloatArray

_SHOWN_SIDE = 512  # px: smaller pictures are enlarged by a whole factor to about this
_SMALLEST_OUTLINE = 1e-3  # of the picture's area: smaller regions get no outline
_PERCENTILE = 97
_MODEL_SIDE = 224  # px: about the resolution of maps of single pixels
_ROUGH = 0.3  # change from pixel to pixel, relative to the mean value
_TURNING = 0.8  # change of that change, relative to it
_PAPER_LIGHT = 0.3  # of the photograph's brightness, below a map of single pixels
# The two stripes of the hatching: a factor for the photograph, and a brightness to add to it.
_UNSEEN_STRIPES = ((0.24, 14), (0.34, 34))
_MID_GRAY = 128  # of the photograph in a swatch


def overlay(
    picture: Array,
    heatmap: FloatArray,
    caption: Caption,
    scale: tuple[float, float],
    *,
    colormap: str = DEFAULT_COLORMAP,
    seen: Array | None = None,
    boxes: Sequence[ExplainedBox] = (),
) -> Array:
    """Draw a heatmap over its picture, with a caption above and a color bar below.

    Args:
        picture: uint8 (H, W, 3), RGB.
        heatmap: float32 (H, W), 0 to 1.
        caption: what to write above.
        scale: the raw values that heat 0 and 1 represent, written below the color bar.
        colormap: one of `onnxplain.results.render.colormaps.COLORMAPS`.
        seen: bool (H, W), False where the model did not see the picture (cropped away); hatched.
        boxes: the detected boxes that are explained.

    Returns:
        uint8 (h, w, 3), RGB, larger than the picture because of the frame. A small picture is
        enlarged by a whole factor, so that the text can be read.

    Raises:
        OptionError: no such colormap.
    """
    height, width = picture.shape[:2]
    factor = max(1, round(_SHOWN_SIDE / max(height, width)))
    size = (width * factor, height * factor)
    shown = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    page = page_for(shown)
    drawn = laid_over(shown, heatmap, scale, page, colormap=colormap, seen=seen, boxes=boxes)
    below = [drawn.color_bar(page), *legend_strips(drawn.legend(page), page)]
    return frame(drawn.picture, caption, below, page)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A heatmap over a photograph, uint8 (h, w, 3), and what its colors and marks mean."""

    picture: Array
    colors: Colors
    outlined: bool
    plain: bool
    hatched: bool
    boxed: bool

    def color_bar(self, page: Page) -> Array:
        """The color scale on a mid-gray photograph, with its numbers: uint8 (h, width, 3)."""
        marks = [self.colors.outline_at] if self.outlined else []
        return color_bar(self.colors, page, marks)

    def legend(self, page: Page) -> list[tuple[Array, str]]:
        """A swatch and its meaning for each kind of mark in the picture."""
        known = []
        if self.outlined:
            known.append((_outline_swatch(page), f"outline: {self.colors.half}"))
        if self.boxed:
            known.append((box_swatch(_gray_swatch(page)), "rectangle: the box that is explained"))
        if self.plain:
            text = f"single pixels; colors end at the {_PERCENTILE}th percentile"
            known.append((_paper(_gray_swatch(page)), text))
        if self.hatched:
            known.append((_hatched(_gray_swatch(page), page), "hatched: not seen by the model"))
        return known


def laid_over(
    shown: Array,
    heatmap: FloatArray,
    scale: tuple[float, float],
    page: Page,
    *,
    colormap: str,
    seen: Array | None,
    boxes: Sequence[ExplainedBox] = (),
) -> Drawn:
    """Draw a heatmap over a photograph of any size.

    The heatmap, the mask `seen` and the boxes are resized to the photograph. A map of single pixels
    would be hard to see on it. So it is drawn on a dark copy, with colors that end at a percentile,
    as in the paper on SmoothGrad (Smilkov 2017).
    """
    size = shown.shape[1::-1]
    colors = Colors(colormap, scale)
    covered = heatmap if seen is None else np.where(seen, heatmap, np.float32(colors.zero))
    distance = np.abs((heatmap if seen is None else heatmap[seen]) - np.float32(colors.zero))
    top = float(np.percentile(distance, _PERCENTILE))
    plain = top > 0 and _is_of_single_pixels(covered, seen, colors.zero)
    if plain:
        covered, scale = _up_to(top, covered, colors)
        colors, shown = Colors(colormap, scale), _paper(shown)
    heat = cv2.resize(_swollen(covered, size, colors.zero), size, interpolation=cv2.INTER_LINEAR)
    blended = colors.blend(shown, heat)
    outlines = _outlines(heat, colors.outline_at) if colors.outlines and not plain else []
    _draw_outlines(blended, outlines, page)
    hatched = seen is not None and not seen.all()
    if seen is not None and hatched:
        unseen = cv2.resize((~seen).view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        cv2.copyTo(_hatched(shown, page), unseen, blended)
    down, across = (new / old for new, old in zip(shown.shape, heatmap.shape, strict=False))
    draw_boxes(blended, boxes, (down, across), page)
    return Drawn(blended, colors, bool(outlines), plain, hatched, bool(boxes))


def _is_of_single_pixels(heat: FloatArray, seen: Array | None, zero: float) -> bool:
    """Whether neighboring pixels differ much, and without a trend.

    The change from pixel to pixel is large, relative to the mean value: measured are 0.02 to 0.04
    for maps of a grid and of windows, 0.5 to 2.5 for gradients. It is as large for a grid with one
    hot cell; but there it goes on in the same direction, so that its own change is small.
    """
    window = (
        np.ix_(*(np.flatnonzero(seen.any(axis)) for axis in (1, 0))) if seen is not None else ()
    )
    own = heat[window]
    factor = _MODEL_SIDE / max(own.shape)
    if factor < 1:  # pixels of a map that was enlarged to a photograph are smooth
        own = cv2.resize(own, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    change, turn = (
        sum(
            float(np.abs(np.diff(own, order, axis)).mean())
            for axis in (0, 1)
            if own.shape[axis] > order
        )
        for order in (1, 2)
    )
    mean = float(np.abs(own - np.float32(zero)).mean())
    return change > _ROUGH * mean and turn > _TURNING * change


def _up_to(top: float, heat: FloatArray, colors: Colors) -> tuple[FloatArray, tuple[float, float]]:
    """Clip a map at heat `top` above and below raw value 0, and scale it to 0 to 1 again.

    Also returns the raw values that heat 0 and 1 then represent.
    """
    low, high = colors.scale
    start, end = max(0.0, colors.zero - top), min(1.0, colors.zero + top)
    clipped: FloatArray = ((np.clip(heat, start, end) - start) / (end - start)).astype(np.float32)
    return clipped, (low + start * (high - low), low + end * (high - low))


def _paper(photo: Array) -> Array:
    """A photograph in gray, so dark that single pixels can be seen on it."""
    gray = cv2.convertScaleAbs(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), alpha=_PAPER_LIGHT)
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB))


def _swollen(heat: FloatArray, size: Sequence[int], zero: float) -> FloatArray:
    """Copy the value that is farthest from `zero` to the pixels around it.

    So single pixels can still be seen when the map is made smaller.
    """
    factor = heat.shape[1] // size[0]
    if factor < 2:
        return heat
    around = np.ones((factor, factor), np.uint8)
    most, least = cv2.dilate(heat, around), cv2.erode(heat, around)
    stands_out: FloatArray = np.where(most - zero >= zero - least, most, least)
    return stands_out


def _outlines(heat: FloatArray, at: float) -> list[Array]:
    """Outlines of the regions where heat is at least `at`, without very small regions."""
    above = (heat >= at).astype(np.uint8)
    contours, _ = cv2.findContours(above, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return [c for c in contours if cv2.contourArea(c) >= _SMALLEST_OUTLINE * above.size]


def _draw_outlines(image: Array, outlines: list[Array], page: Page) -> None:
    thin = max(1, page.text // 14)
    for color, thickness in (((0, 0, 0), 3 * thin), ((255, 255, 255), thin)):
        cv2.drawContours(image, outlines, -1, color, thickness, cv2.LINE_AA)


def _hatched(picture: Array, page: Page) -> Array:
    """Return the photograph in dark gray with diagonal stripes."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    dark, light = (cv2.convertScaleAbs(gray, alpha=a, beta=b) for a, b in _UNSEEN_STRIPES)
    height, width = gray.shape
    diagonals = np.arange(height + width - 1) // (page.text // 2) % 2 > 0
    in_stripe = sliding_window_view(diagonals, width)
    return np.asarray(cv2.cvtColor(np.where(in_stripe, dark, light), cv2.COLOR_GRAY2RGB))


def _gray_swatch(page: Page) -> Array:
    return np.full((page.text, 2 * page.text, 3), _MID_GRAY, np.uint8)


def _outline_swatch(page: Page) -> Array:
    swatch = _gray_swatch(page)
    ends = np.array([(0, page.text // 2), (2 * page.text, page.text // 2)])
    _draw_outlines(swatch, [ends[:, None]], page)
    return swatch


def color_bar(colors: Colors, page: Page, marks: Sequence[float] = ()) -> Array:
    """The color scale on a mid-gray photograph, with its numbers: uint8 (h, width, 3).

    `marks` are the positions, from 0 to 1, of marks on the bar.
    """
    ramp = np.linspace(0, 1, page.width, dtype=np.float32)
    line = colors.blend(np.full((1, page.width, 3), _MID_GRAY, np.uint8), ramp[None])
    bar = np.repeat(line, page.text, axis=0)
    thin = max(1, page.text // 12)
    for place in marks:
        mark = round(place * page.width)
        bar[:, mark - thin : mark + 2 * thin] = 0
        bar[:, mark : mark + thin] = 255
    return np.concatenate([bar, _scale_labels(colors, page, marks)])


def _scale_labels(colors: Colors, page: Page, marks: Sequence[float]) -> Array:
    """A strip with the values at both ends, and at marks whose text does not touch the others."""
    (low, high), style, font = colors.scale, page.small, page.font
    left, right = f"{low:.3g}", f"{high:.3g}"
    strip, baseline = text_strip([left], style, page), baseline_in(style)
    start, end = font.width(left, style), page.width - font.width(right, style)
    font.draw(strip, right, end, baseline, style)
    for place in marks:
        text = f"{low + place * (high - low):.3g}"
        x, width = round(place * page.width - font.width(text, style) / 2), font.width(text, style)
        if start + page.text / 2 < x and x + width < end - page.text / 2:
            font.draw(strip, text, x, baseline, style)
    return strip
