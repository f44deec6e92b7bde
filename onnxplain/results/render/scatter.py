"""Values of several methods against their cost, a panel for each metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.render.frame import FAINT_INK, INK, PAPER
from onnxplain.results.render.text import Font, Style, default_font
from onnxplain.tensors import Array

_PLOT = 520, 300  # px: width and height of the area of the points
_LEFT, _TOP, _BOTTOM, _NAMES = 80, 46, 50, 250  # px: around it
_ROW = 17  # px: between two names
_GRID = (225, 225, 225)
_PLAIN, _BEST = (120, 120, 120), (0, 110, 190)
_TITLE, _TEXT = Style(16, INK, bold=True), Style(13, FAINT_INK)
_TICKS = 4
_BESIDE = 9  # px: between two points of the same cost


@dataclass(frozen=True)
class Point:
    """A method: its cost (above 0), its value, and the interval of the value.

    `best` are drawn in another color.
    """

    name: str
    cost: float
    value: float
    low: float
    high: float
    best: bool = False


@dataclass(frozen=True)
class Panel:
    """The points of a metric; reference values, by name, are drawn as lines."""

    title: str
    points: Sequence[Point]
    references: Sequence[tuple[str, float]] = ()


def scatter(panels: Sequence[Panel], cost: str) -> Array:
    """Draw the panels below each other, with the cost on a logarithmic axis: uint8 (h, w, 3), RGB.

    `cost` is what the axis shows, in words.
    """
    return np.concatenate([_drawn(panel, cost) for panel in panels])


def _drawn(panel: Panel, cost: str) -> Array:
    width, height = _PLOT
    names = max(height, _ROW * (len(panel.points) + len(panel.references)))
    canvas = np.full((_TOP + names + _BOTTOM, _LEFT + width + _NAMES, 3), PAPER, np.uint8)
    font = default_font()
    font.draw(canvas, panel.title, 12, 28, _TITLE)
    first, last = _decades([point.cost for point in panel.points])
    values = [v for one in panel.points for v in (one.low, one.high)]
    bottom, top = _range([*values, *(value for _, value in panel.references)])

    def across(given: float) -> int:
        return _LEFT + round(width * (log10(given) - first) / (last - first))

    def down(value: float) -> int:
        return _TOP + round(height * (top - value) / (top - bottom))

    for decade in range(first, last + 1):
        x = across(10.0**decade)
        cv2.line(canvas, (x, _TOP), (x, _TOP + height), _GRID, 1)
        _centered(canvas, font, f"{10**decade:,}", x, _TOP + height + 18)
    for value in np.linspace(bottom, top, _TICKS):
        y = down(value)
        cv2.line(canvas, (_LEFT, y), (_LEFT + width, y), _GRID, 1)
        text = f"{value:.3g}"
        font.draw(canvas, text, _LEFT - 8 - font.width(text, _TEXT), y + 5, _TEXT)
    _centered(canvas, font, cost, _LEFT + width // 2, _TOP + height + 38)
    labels = []
    for name, value in panel.references:
        y = down(value)
        _dashed(canvas, y, _LEFT, _LEFT + width)
        labels.append((y, _LEFT + width, name, _PLAIN))
    for one in panel.points:
        color = _BEST if one.best else _PLAIN
        # Points of one cost stand beside each other, so that their intervals can be seen.
        alike = [other for other in panel.points if other.cost == one.cost]
        x = across(one.cost) + round(_BESIDE * (alike.index(one) - (len(alike) - 1) / 2))
        y = down(one.value)
        cv2.line(canvas, (x, down(one.low)), (x, down(one.high)), color, 1, cv2.LINE_AA)
        cv2.circle(canvas, (x, y), 4, color, -1, cv2.LINE_AA)
        labels.append((y, x, one.name, color))
    _name(canvas, font, sorted(labels), _TOP, _TOP + names, _LEFT + width + 24)
    return canvas


def _decades(costs: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that enclose the costs."""
    first, last = floor(log10(min(costs))), ceil(log10(max(costs)))
    return first, max(last, first + 1)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the axis of values, with some space."""
    low, high = min(values), max(values)
    space = 0.06 * (high - low) or max(abs(high), 1.0) / 10
    return low - space, high + space


def _centered(canvas: Array, font: Font, text: str, x: int, baseline: int) -> None:
    font.draw(canvas, text, x - font.width(text, _TEXT) // 2, baseline, _TEXT)


def _dashed(canvas: Array, y: int, start: int, stop: int) -> None:
    for x in range(start, stop, 10):
        cv2.line(canvas, (x, y), (min(x + 5, stop), y), _PLAIN, 1)


def _name(
    canvas: Array,
    font: Font,
    labels: Sequence[tuple[int, int, str, tuple[int, int, int]]],
    top: int,
    bottom: int,
    left: int,
) -> None:
    """Write the names at the right, a line from each point to its name, no name on another."""
    places: list[int] = []
    for y, *_ in labels:
        places.append(max(y, places[-1] + _ROW if places else top))
    # Names that were moved below the end go up again.
    limit = bottom
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - _ROW
    for (y, x, name, color), place in zip(labels, places, strict=True):
        cv2.line(canvas, (x + 6, y), (left - 4, place), _GRID, 1, cv2.LINE_AA)
        font.draw(canvas, name, left, place + 5, Style(_TEXT.size, color))
