"""Plots as SVG, a part of the page: they stay sharp, need no library, and take few bytes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from onnxplain.tensors import Array

COLORS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e07b39", "#7b6fd0",
    "#2a9d8f", "#8d6e63",
)  # fmt: skip
"""Colors of classes that differ in lightness and hue; the first are Paul Tol's "bright"."""

OTHER = "#b8b8b8"

_WIDTH, _HEIGHT, _MARGIN = 640, 420, 14
_BAR_WIDTH, _BAR_HEIGHT = 26, 90


def scatter(
    places: Array, colors: Sequence[str], titles: Sequence[str], ringed: Sequence[bool]
) -> str:
    """Points in the plane, (n, 2), each with its color and the title that a pointer shows.

    A ringed point has a dark outline.
    """
    low, high = places.min(0), places.max(0)
    room = np.array([_WIDTH, _HEIGHT]) - 2 * _MARGIN
    at = _MARGIN + (places - low) / np.maximum(high - low, 1e-9) * room
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if ring else 3.2}" fill="{color}"'
        f"{_RING if ring else ''}><title>{escape(title)}</title></circle>"
        for (x, y), color, title, ring in zip(at, colors, titles, ringed, strict=True)
    )
    return (
        f'<svg class="scatter" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Each map as a point, near the maps that are like it">{dots}</svg>'
    )


_RING = ' stroke="#111" stroke-width="1.4"'


def eigenvalue_bars(values: Sequence[float], count: int) -> str:
    """The smallest eigenvalues as bars; the first `count` are those of the clusters."""
    top = max(*values, 1e-9)
    width = _BAR_WIDTH * len(values)
    bars = "".join(
        f'<rect x="{i * _BAR_WIDTH + 4}" y="{_BAR_HEIGHT - h:.1f}" width="{_BAR_WIDTH - 8}" '
        f'height="{h:.1f}" class="{"kept" if i < count else "rest"}">'
        f"<title>{value:.3g}</title></rect>"
        f'<text x="{i * _BAR_WIDTH + _BAR_WIDTH / 2}" y="{_BAR_HEIGHT + 13}">{i + 1}</text>'
        for i, value in enumerate(values)
        for h in [2 + (_BAR_HEIGHT - 8) * value / top]
    )
    return (
        f'<svg class="bars" viewBox="0 0 {width} {_BAR_HEIGHT + 18}" width="{width}" role="img" '
        f'aria-label="Eigenvalues; {count} before the largest gap">{bars}</svg>'
    )
