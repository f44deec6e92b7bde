"""Photograph and colours mixed by the heat."""

from __future__ import annotations

import numpy as np

from onnxplain.results.render.colormaps import colormap_table
from onnxplain.tensors import Array, FloatArray

_COLOUR_KEPT = 0.55  # of the photograph's own saturation
_DIMMED_WHERE_COLD = 0.4
_OPACITY_WHERE_HOT = 0.7

# What speaks against the target, from little to much: it gets lighter as the warm colours do.
_COLD_STOPS = ((0, (0, 0, 8)), (85, (18, 62, 138)), (170, (64, 156, 224)), (255, (214, 240, 255)))


class Colours:
    """What a heat looks like: warm where it stands for more than 0, cold where for less.

    Where no value is negative, or none is positive, the colours run over the whole range.
    """

    def __init__(self, colormap: str, scale: tuple[float, float]) -> None:
        """Take colours by name, and the raw values that heat 0 and 1 stand for."""
        low, high = scale
        self.scale = scale
        self.signed = low < 0 < high
        self.zero = -low / (high - low) if self.signed else 0.0
        self.outline_at = (1 + self.zero) / 2
        self._table = np.concatenate([_cold()[:0:-1], colormap_table(colormap)])

    @property
    def half(self) -> str:
        """Where the outline is, in words."""
        return "half of the highest value" if self.signed else "half of the range"

    def blend(self, picture: Array, heat: FloatArray) -> Array:
        """Mix photograph and colours, by how far the heat is from what stands for 0."""
        import cv2

        # 8.8 fixed point: floats would need twice the memory, and 12-megapixel pictures are common.
        level = np.abs(np.arange(-255, 256)) / 255
        opacity = _OPACITY_WHERE_HOT * level**0.8
        photo_share = (1 - _DIMMED_WHERE_COLD * (1 - level)) * (1 - opacity)
        photo_table = np.floor(256 * photo_share).astype(np.uint16)
        colour_table = np.floor(256 * opacity[:, None] * self._table).astype(np.uint16)

        grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        muted = cv2.addWeighted(picture, _COLOUR_KEPT, grey, 1 - _COLOUR_KEPT, 0)
        reach = max(self.zero, 1 - self.zero)
        index = np.rint((heat - self.zero) * (255 / reach)).astype(np.int16) + 255
        mixed = muted.astype(np.uint16)
        mixed *= photo_table[index][..., None]
        mixed += colour_table[index]
        mixed >>= 8
        return np.asarray(mixed, np.uint8)


def _cold() -> Array:
    levels = [level for level, _ in _COLD_STOPS]
    stops = np.array([colour for _, colour in _COLD_STOPS])
    ramp = np.arange(256)
    channels = [np.interp(ramp, levels, stops[:, channel]) for channel in range(3)]
    table: Array = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return table
