"""Mixing of a photograph with colors, by the values of a heatmap."""

from __future__ import annotations

import functools

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.render.colormaps import COLORMAPS, colormap_table
from onnxplain.tensors import Array, FloatArray

COLOR_KEPT = 0.55  # of the photograph's own saturation
_DIMMED_WHERE_COLD = 0.4
_MOSTLY_NEGATIVE = 2  # the lowest value, in units of the highest
_OPACITY_WHERE_HOT = 0.7

# Colors of negative values, from weak to strong: they get lighter, as the warm colors do.
_COLD_STOPS = ((0, (0, 0, 8)), (85, (18, 62, 138)), (170, (64, 156, 224)), (255, (214, 240, 255)))


_BAND = 1 << 16  # pixels that are processed at a time, few enough for the CPU cache


class Colors:
    """The colors of heat: warm where the raw value is above 0, cold where it is below 0.

    If no raw value is negative, or all are below 0, the warm colors cover the whole range: such
    values are scores, which have no zero.
    """

    def __init__(self, colormap: str, scale: tuple[float, float]) -> None:
        """Take the name of a colormap, and the raw values that heat 0 and 1 represent."""
        low, high = scale
        self.scale = scale
        self.signed = low < 0 <= high
        self.zero = -low / (high - low) if self.signed else 0.0
        self.outline_at = (1 + self.zero) / 2
        self._colormap = colormap

    @property
    def outlines(self) -> bool:
        """Whether an outline is useful: not if the values are mostly negative."""
        return self.zero <= _MOSTLY_NEGATIVE * (1 - self.zero)

    @property
    def half(self) -> str:
        """The value along the outline, in words."""
        return "half of the highest value" if self.signed else "half of the range"

    def blend(self, picture: Array, heat: FloatArray) -> Array:
        """Mix photograph and colors; the farther from raw value 0, the more color."""
        mixed = np.empty_like(picture)
        rows = max(1, _BAND // picture.shape[1])
        for start in range(0, len(picture), rows):
            band = slice(start, start + rows)
            mixed[band] = self._blended(picture[band], heat[band])
        return mixed

    def _blended(self, picture: Array, heat: FloatArray) -> Array:
        per_level = 255 / max(self.zero, 1 - self.zero)
        level = cv2.convertScaleAbs(heat, alpha=per_level, beta=-self.zero * per_level)
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        photo_share, warm, cold = mixing_tables(self._colormap)
        share, below = cv2.LUT(level, photo_share), (heat < self.zero).view(np.uint8)
        planes = []
        for channel, plane in enumerate(cv2.split(picture)):
            color = cv2.LUT(level, warm[channel])
            if self.signed:
                cv2.copyTo(cv2.LUT(level, cold[channel]), below, color)
            mixed = cv2.addWeighted(plane, COLOR_KEPT, gray, 1 - COLOR_KEPT, 0) * share
            mixed += color
            mixed >>= 8
            planes.append(mixed.astype(np.uint8))
        return np.asarray(cv2.merge(planes))


@functools.lru_cache(maxsize=len(COLORMAPS))
def mixing_tables(colormap: str) -> tuple[Array, Array, Array]:
    """The photograph's share (256,), and the warm and the cold colors (3, 256) to add to it.

    The index is the distance of the raw value from 0, as a level from 0 to 255. Entries are 8.8
    fixed point in uint16, because floats would need twice the memory.
    """
    level = np.arange(256) / 255
    opacity = _OPACITY_WHERE_HOT * level**0.8
    photo_share = (1 - _DIMMED_WHERE_COLD * (1 - level)) * (1 - opacity)
    warm, cold = (opacity * table.T for table in (colormap_table(colormap), _cold()))
    return _fixed_point(photo_share), _fixed_point(warm), _fixed_point(cold)


def _fixed_point(shares: Array) -> Array:
    return np.asarray(np.floor(256 * shares), np.uint16)


def _cold() -> Array:
    levels = [level for level, _ in _COLD_STOPS]
    stops = np.array([color for _, color in _COLD_STOPS])
    ramp = np.arange(256)
    channels = [np.interp(ramp, levels, stops[:, channel]) for channel in range(3)]
    return np.asarray(np.rint(np.stack(channels, axis=1)).astype(np.uint8))
