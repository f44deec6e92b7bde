"""A heatmap drawn over its picture.

The photograph fades towards gray and dims where nothing speaks for or against the target, and takes
on color where something does. An outline at half of what speaks for it keeps the shape readable
where a bright photograph would drown the colors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from onnxplain.images.opencv import cv2
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
from onnxplain.tensors import Array, FloatArray

_SHOWN_SIDE = 512  # px: smaller pictures are enlarged by a whole factor to about this
_SMALLEST_OUTLINE = 1e-3  # of the picture: speckle below this is left to the colors
_LONGEST_OUTLINE = 10  # times width and height: a map of single pixels has no shape to outline
# The two stripes of the hatching: a share of the photograph, and light added to show on black.
_UNSEEN_STRIPES = ((0.24, 14), (0.34, 34))
_MID_GRAY = 128  # the photograph that a swatch stands for


def overlay(
    picture: Array,
    heatmap: FloatArray,
    caption: Caption,
    scale: tuple[float, float],
    *,
    colormap: str = DEFAULT_COLORMAP,
    seen: Array | None = None,
) -> Array:
    """Draw a heatmap over its picture, with a caption above and a color bar below.

    Args:
        picture: uint8 (H, W, 3), RGB.
        heatmap: float32 (H, W), 0 to 1.
        caption: what to write above.
        scale: the raw values that heat 0 and 1 stand for, written at the color bar.
        colormap: one of `onnxplain.results.render.colormaps.COLORMAPS`.
        seen: bool (H, W), False where the model never saw the picture (cropped away); hatched.

    Returns:
        uint8 RGB, larger than the picture by its frame. A small picture is enlarged by a whole
        factor, so that the text beside it can be read.

    Raises:
        OptionError: no such colormap.
    """
    height, width = picture.shape[:2]
    factor = max(1, round(_SHOWN_SIDE / max(height, width)))
    size = (width * factor, height * factor)
    shown = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    page = page_for(shown)
    colors = Colors(colormap, scale)
    blended, outlined = laid_over(shown, heatmap, colors, page, seen)
    legend = [(_outline_swatch(page), f"outline: {colors.half}")] if outlined else []
    if seen is not None and not seen.all():
        legend.append((_hatched(_gray_swatch(page), page), "hatched: not seen by the model"))
    below = np.concatenate([_color_bar(colors, page), _scale_labels(colors, page)])
    return frame(blended, caption, [below, *legend_strips(legend, page)], page)


def laid_over(
    shown: Array, heatmap: FloatArray, colors: Colors, page: Page, seen: Array | None
) -> tuple[Array, bool]:
    """A photograph of any size with a heatmap over it, and whether there is an outline.

    The heatmap, and what the model has `seen`, are enlarged to the photograph.
    """
    size = shown.shape[1::-1]
    covered = heatmap if seen is None else np.where(seen, heatmap, np.float32(colors.zero))
    heat = cv2.resize(_swollen(covered, size, colors.zero), size, interpolation=cv2.INTER_LINEAR)
    blended = colors.blend(shown, heat)
    outlines = _outlines(heat, colors.outline_at)
    _draw_outlines(blended, outlines, page)
    if seen is not None and not seen.all():
        unseen = cv2.resize((~seen).view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        cv2.copyTo(_hatched(shown, page), unseen, blended)
    return blended, bool(outlines)


def _swollen(heat: FloatArray, size: Sequence[int], zero: float) -> FloatArray:
    """What stands out most around each pixel, so that single ones survive being made smaller."""
    factor = heat.shape[1] // size[0]
    if factor < 2:
        return heat
    around = np.ones((factor, factor), np.uint8)
    most, least = cv2.dilate(heat, around), cv2.erode(heat, around)
    stands_out: FloatArray = np.where(most - zero >= zero - least, most, least)
    return stands_out


def _outlines(heat: FloatArray, at: float) -> list[Array]:
    """Trace where the heat passes a value, leaving out speckle, and maps that are all speckle."""
    above = (heat >= at).astype(np.uint8)
    contours, _ = cv2.findContours(above, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    if sum(len(c) for c in contours) > _LONGEST_OUTLINE * sum(above.shape):
        return []
    return [c for c in contours if cv2.contourArea(c) >= _SMALLEST_OUTLINE * above.size]


def _draw_outlines(image: Array, outlines: list[Array], page: Page) -> None:
    thin = max(1, page.text // 14)
    for color, thickness in (((0, 0, 0), 3 * thin), ((255, 255, 255), thin)):
        cv2.drawContours(image, outlines, -1, color, thickness, cv2.LINE_AA)


def _hatched(picture: Array, page: Page) -> Array:
    """Return the photograph dark and gray under diagonal stripes."""
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


def _color_bar(colors: Colors, page: Page) -> Array:
    """Return the scale as it looks on a mid-gray photograph, marked where the outline is."""
    ramp = np.linspace(0, 1, page.width, dtype=np.float32)
    line = colors.blend(np.full((1, page.width, 3), _MID_GRAY, np.uint8), ramp[None])
    bar = np.repeat(line, page.text, axis=0)
    mark = round(colors.outline_at * page.width)
    thin = max(1, page.text // 12)
    bar[:, mark - thin : mark + 2 * thin] = 0
    bar[:, mark : mark + thin] = 255
    return bar


def _scale_labels(colors: Colors, page: Page) -> Array:
    (low, high), at = colors.scale, colors.outline_at
    style = page.small
    strip = text_strip([f"{low:.3g}"], style, page)
    middle, right = f"{low + at * (high - low):.3g}", f"{high:.3g}"
    baseline = baseline_in(style)
    x = round(at * page.width - page.font.width(middle, style) / 2)
    page.font.draw(strip, middle, x, baseline, style)
    page.font.draw(strip, right, page.width - page.font.width(right, style), baseline, style)
    return strip
