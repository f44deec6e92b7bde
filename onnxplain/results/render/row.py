"""A row of features as a bar chart of those with the largest values of the map."""

from __future__ import annotations

import numpy as np

from onnxplain.results.data import ExplanationData
from onnxplain.results.render.colormaps import colormap_table
from onnxplain.results.render.frame import (
    FAINT_INK,
    INK,
    PAPER,
    Caption,
    frame,
    legend_strips,
    page_for,
)
from onnxplain.results.render.text import Color, Style, default_font, wrapped
from onnxplain.tensors import Array

_MOST_BARS = 20
_WIDTH = 760  # px
_NAMES = 250  # px: the width of names and of the features' own values
_NUMBERS = 80  # px: the width of the numbers at both ends of bars
_BAR = 24  # px: the height of a bar with the space around it
_SPACE = 4
_NAME, _NUMBER = Style(14, INK), Style(13, FAINT_INK)
_LINE = (190, 190, 194)
_WARM = 150  # of 255: the place in the colormap
_COLD: Color = (64, 156, 224)


def draw_row(explanation: ExplanationData, caption: Caption, colormap: str) -> Array:
    """Draw the 20 features with the largest absolute values, the largest first.

    A line has the feature's name, its own value, and a bar from 0 with the value of the map.
    Returns uint8 (h, w, 3), RGB.
    """
    low, high = explanation.heatmap_range
    heat = low + explanation.heatmap.astype(np.float64).ravel() * (high - low)
    order = np.argsort(-np.abs(heat), kind="stable")[:_MOST_BARS]
    warm: Color = tuple(int(c) for c in colormap_table(colormap)[_WARM])  # type: ignore[assignment]
    chart = np.full((_BAR * len(order), _WIDTH, 3), PAPER, np.uint8)
    names, own = feature_names(explanation), explanation.picture.ravel()
    left, right = _NAMES + _NUMBERS, _WIDTH - _NUMBERS
    least, most = min(low, 0.0), max(high, 0.0)
    scale = (right - left) / (most - least)
    zero = round(left - least * scale)
    for line, i in enumerate(order):
        strip = chart[line * _BAR : (line + 1) * _BAR]
        end = round(zero + heat[i] * scale)
        first, last = sorted((zero, end))
        strip[_SPACE : _BAR - _SPACE, first:last] = warm if heat[i] > 0 else _COLD
        strip[:, zero : zero + 1] = _LINE
        _write(strip, names[i], f"{own[i]:.4g}", f"{heat[i]:.3g}", end, right=heat[i] >= 0)
    page = page_for(chart)
    signs = [(warm, "above 0", high > 0), (_COLD, "below 0", low < 0)]
    legend = [(_swatch(color), text) for color, text, found in signs if found]
    left_out = heat.size - len(order)
    more = f" · {left_out:,} smaller ones are not drawn" if left_out else ""
    caption = Caption(caption.title, caption.score, f"{caption.details}{more}")
    return frame(chart, caption, legend_strips(legend, page), page)


def feature_names(explanation: ExplanationData) -> list[str]:
    """The names of all features; by default, their indices."""
    given = explanation.array.names if explanation.array else ()
    if given:
        return list(given)
    return [f"feature {','.join(map(str, i))}" for i in np.ndindex(explanation.heatmap.shape)]


def _write(strip: Array, name: str, own: str, value: str, end: int, *, right: bool) -> None:
    """The feature's name and own value on the left, and the number at the end of its bar."""
    font, baseline = default_font(), _BAR - 8
    room = _NAMES - font.width(own, _NUMBER) - 3 * _SPACE
    (shown,) = wrapped(name, font, _NAME, room, 1) or [""]
    font.draw(strip, shown, 0, baseline, _NAME)
    font.draw(strip, own, _NAMES - font.width(own, _NUMBER), baseline, _NUMBER)
    x = end + 2 * _SPACE if right else end - font.width(value, _NUMBER) - 2 * _SPACE
    font.draw(strip, value, x, baseline, _NUMBER)


def _swatch(color: Color) -> Array:
    return np.full((14, 28, 3), color, np.uint8)
