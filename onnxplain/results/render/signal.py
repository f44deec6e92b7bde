"""A signal as curves on its heat, or with many channels as a picture below its heat."""

from __future__ import annotations

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.data import ExplanationData
from onnxplain.results.render.colors import Colors
from onnxplain.results.render.frame import FAINT_INK, PAPER, Caption, frame, page_for
from onnxplain.results.render.overlay import color_bar
from onnxplain.results.render.text import Style, default_font
from onnxplain.tensors import Array, FloatArray

_WIDTH = 900  # px
_CURVE = 130  # px: the height of one curve
_MOST_CURVES = 6
_PICTURE = 320  # px: the height of many channels
_GUTTER = 6
_MID_GRAY = 128
_CURVE_COLORS = ((0, 0, 0), 3), ((255, 255, 255), 1)
"""Color and width in px of the edge of a curve, and of its line."""

_NAME = Style(13, FAINT_INK)
_STRIP = 18  # px: a line of text
_PERCENTILES = 2, 98


def draw_signal(explanation: ExplanationData, caption: Caption, colormap: str) -> Array:
    """Draw each channel as a curve whose background is the heat: uint8 (h, w, 3), RGB.

    More than 6 channels, such as those of a spectrogram, are drawn as rows of gray with the heat
    on them, the first channel at the bottom. The length is drawn from left to right.
    """
    colors = Colors(colormap, explanation.heatmap_range)
    values = explanation.picture
    heat = _stretched(explanation.heatmap, colors.zero)
    if values.shape[1] > _MOST_CURVES:
        parts = [colors.blend(_rows(values), np.tile(heat, (_PICTURE, 1)))]
    else:
        parts = [
            part for i in range(values.shape[1]) for part in _curve(values[:, i], heat, colors, i)
        ]
    drawn = np.concatenate([*parts, _line("0", str(len(values) - 1))])
    page = page_for(drawn)
    return frame(drawn, caption, [color_bar(colors, page)], page)


def _curve(values: FloatArray, heat: FloatArray, colors: Colors, channel: int) -> list[Array]:
    """A line with the channel's name and range, and its curve."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    gray = np.full((_CURVE, _WIDTH, 3), _MID_GRAY, np.uint8)
    image = colors.blend(gray, np.tile(heat, (_CURVE, 1)))
    span = high - low if high > low else 1
    x = (np.arange(len(values)) + 0.5) * _WIDTH / len(values)
    y = (_CURVE - 1) * (0.95 - 0.9 * (values - low) / span)
    gaps = np.flatnonzero(~np.isfinite(values))
    parts = np.split(np.stack([x, y], axis=1), np.unique([*gaps, *(gaps + 1)]))
    points = [np.rint(part).astype(np.int32) for part in parts if np.isfinite(part).all()]
    for color, width in _CURVE_COLORS:
        cv2.polylines(image, points, False, color, width, cv2.LINE_AA)
    return [_line(f"channel {channel}", f"{low:.3g} to {high:.3g}"), image]


def _rows(values: FloatArray) -> Array:
    """All channels as rows of gray, the last one on top: uint8 (h, w, 3)."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, _PERCENTILES) if known.size else (0, 1)
    span = high - low if high > low else 1
    level = np.nan_to_num(np.clip((values.T[::-1] - low) / span, 0, 1))
    how = cv2.INTER_AREA if values.shape[0] > _WIDTH else cv2.INTER_NEAREST
    gray = cv2.resize(np.rint(255 * level).astype(np.uint8), (_WIDTH, _PICTURE), interpolation=how)
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB))


def _stretched(heat: FloatArray, zero: float) -> FloatArray:
    """The heat of each column of the drawing; of several values, the one farthest from `zero`."""
    edges = np.arange(_WIDTH + 1) * len(heat) / _WIDTH
    starts = np.floor(edges[:-1]).astype(int)
    stops = np.maximum(starts + 1, np.ceil(edges[1:]).astype(int))
    parts = (heat[a:b] for a, b in zip(starts, stops, strict=True))
    strongest = [part[np.abs(part - np.float32(zero)).argmax()] for part in parts]
    return np.array(strongest, np.float32)


def _line(left: str, right: str) -> Array:
    """A line of text at both ends."""
    strip = np.full((_STRIP + _GUTTER, _WIDTH, 3), PAPER, np.uint8)
    font, baseline = default_font(), _GUTTER + _NAME.size
    font.draw(strip, left, 0, baseline, _NAME)
    font.draw(strip, right, _WIDTH - font.width(right, _NAME), baseline, _NAME)
    return strip
