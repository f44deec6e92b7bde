"""A heatmap drawn over its picture.

The photograph fades towards grey and dims where the heat is low, and takes on colour where it is
high. In greyscale what stays dark was cold; an outline at half the range keeps the shape readable
where a bright photograph would drown the colours.
"""

from __future__ import annotations

import numpy as np

from onnxplain.render.colormaps import DEFAULT_COLORMAP, colormap_table
from onnxplain.render.frame import (
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
_COLOUR_KEPT = 0.55  # of the photograph's own saturation
_DIMMED_WHERE_COLD = 0.4
_OPACITY_WHERE_HOT = 0.7
_OUTLINE_AT = 0.5
_SMALLEST_OUTLINE = 1e-3  # of the picture: speckle below this is left to the colours
# The two stripes of the hatching: a share of the photograph, and light added to show on black.
_UNSEEN_STRIPES = ((0.24, 14), (0.34, 34))
_MID_GREY = 128  # the photograph that a swatch stands for


def overlay(
    picture: Array,
    heatmap: FloatArray,
    caption: Caption,
    scale: tuple[float, float],
    *,
    colormap: str = DEFAULT_COLORMAP,
    seen: Array | None = None,
) -> Array:
    """Draw a heatmap over its picture, with a caption above and a colour bar below.

    Args:
        picture: uint8 (H, W, 3), RGB.
        heatmap: float32 (H, W), 0 to 1.
        caption: what to write above.
        scale: the raw values that heat 0 and 1 stand for, written at the colour bar.
        colormap: one of `onnxplain.render.COLORMAPS`.
        seen: bool (H, W), False where the model never saw the picture (cropped away); hatched.

    Returns:
        uint8 RGB, larger than the picture by its frame. A small picture is enlarged by a whole
        factor, so that the text beside it can be read.

    Raises:
        OptionError: no such colormap.
    """
    import cv2

    height, width = picture.shape[:2]
    factor = max(1, round(_SHOWN_SIDE / max(height, width)))
    size = (width * factor, height * factor)
    shown = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    page = page_for(shown)
    blended, outlined = laid_over(shown, heatmap, page, colormap, seen)
    legend = [(_outline_swatch(page), "outline: half of the range")] if outlined else []
    if seen is not None and not seen.all():
        legend.append((_hatched(_grey_swatch(page), page), "hatched: not seen by the model"))
    bar = _colour_bar(colormap_table(colormap), page)
    below = np.concatenate([bar, _scale_labels(scale, page)])
    return frame(blended, caption, [below, *legend_strips(legend, page)], page)


def laid_over(
    shown: Array, heatmap: FloatArray, page: Page, colormap: str, seen: Array | None
) -> tuple[Array, bool]:
    """A photograph of any size with a heatmap over it, and whether there is an outline.

    The heatmap, and what the model has `seen`, are enlarged to the photograph.
    """
    import cv2

    size = shown.shape[1::-1]
    shrinks = size[0] < heatmap.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    heat = cv2.resize(heatmap, size, interpolation=how)
    blended = _blended(shown, heat, colormap_table(colormap))
    outlines = _outlines(heat)
    _draw_outlines(blended, outlines, page)
    if seen is not None and not seen.all():
        mask = cv2.resize(seen.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        blended = np.where(mask[..., None], blended, _hatched(shown, page))
    return blended, bool(outlines)


def _blended(picture: Array, heat: FloatArray, colours: Array) -> Array:
    """Mix photograph and colours by the heat."""
    import cv2

    # 8.8 fixed point: floats would need twice the memory, and 12-megapixel pictures are common.
    level = np.arange(256) / 255
    opacity = _OPACITY_WHERE_HOT * level**0.8
    photo_share = (1 - _DIMMED_WHERE_COLD * (1 - level)) * (1 - opacity)
    photo_table = np.floor(256 * photo_share).astype(np.uint16)
    colour_table = np.floor(256 * opacity[:, None] * colours).astype(np.uint16)

    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    muted = cv2.addWeighted(picture, _COLOUR_KEPT, grey, 1 - _COLOUR_KEPT, 0)
    index = cv2.convertScaleAbs(heat, alpha=255)
    mixed = muted.astype(np.uint16)
    mixed *= photo_table[index][..., None]
    mixed += colour_table[index]
    mixed >>= 8
    return np.asarray(mixed, np.uint8)


def _outlines(heat: FloatArray) -> list[Array]:
    """Trace where the heat passes half of its range, leaving out speckle."""
    import cv2

    above = (heat >= _OUTLINE_AT).astype(np.uint8)
    contours, _ = cv2.findContours(above, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return [c for c in contours if cv2.contourArea(c) >= _SMALLEST_OUTLINE * above.size]


def _draw_outlines(image: Array, outlines: list[Array], page: Page) -> None:
    import cv2

    thin = max(1, page.text // 14)
    for colour, thickness in (((0, 0, 0), 3 * thin), ((255, 255, 255), thin)):
        cv2.drawContours(image, outlines, -1, colour, thickness, cv2.LINE_AA)


def _hatched(picture: Array, page: Page) -> Array:
    """Return the photograph dark and grey under diagonal stripes."""
    import cv2

    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    dark, light = (cv2.convertScaleAbs(grey, alpha=a, beta=b) for a, b in _UNSEEN_STRIPES)
    rows, columns = np.ogrid[: picture.shape[0], : picture.shape[1]]
    in_stripe = (rows + columns) // (page.text // 2) % 2 > 0
    return np.asarray(np.where(in_stripe[..., None], dark, light))


def _grey_swatch(page: Page) -> Array:
    return np.full((page.text, 2 * page.text, 3), _MID_GREY, np.uint8)


def _outline_swatch(page: Page) -> Array:
    swatch = _grey_swatch(page)
    ends = np.array([(0, page.text // 2), (2 * page.text, page.text // 2)])
    _draw_outlines(swatch, [ends[:, None]], page)
    return swatch


def _colour_bar(colours: Array, page: Page) -> Array:
    """Return the scale as it looks on a mid-grey photograph, marked where the outline is."""
    ramp = np.linspace(0, 1, page.width, dtype=np.float32)
    heat = np.repeat(ramp[None], page.text, axis=0)
    bar = _blended(np.full((*heat.shape, 3), _MID_GREY, np.uint8), heat, colours)
    mark = round(_OUTLINE_AT * page.width)
    thin = max(1, page.text // 12)
    bar[:, mark - thin : mark + 2 * thin] = 0
    bar[:, mark : mark + thin] = 255
    return bar


def _scale_labels(scale: tuple[float, float], page: Page) -> Array:
    low, high = scale
    style = page.small
    strip = text_strip([f"{low:.3g}"], style, page)
    middle, right = f"{low + _OUTLINE_AT * (high - low):.3g}", f"{high:.3g}"
    baseline = baseline_in(style)
    x = round(_OUTLINE_AT * page.width - page.font.width(middle, style) / 2)
    page.font.draw(strip, middle, x, baseline, style)
    page.font.draw(strip, right, page.width - page.font.width(right, style), baseline, style)
    return strip
