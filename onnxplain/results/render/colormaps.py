"""The colors of a heatmap.

The lightness of the default rises steadily, so the order of its colors can be seen in a grayscale
print and by color-blind readers. The others are offered because users know them by name.
"""

from __future__ import annotations

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.images.opencv import cv2
from onnxplain.tensors import Array

DEFAULT_COLORMAP = "inferno"

COLORMAPS = ("inferno", "magma", "plasma", "viridis", "cividis", "bone", "hot", "turbo", "jet")


def check_colormap(name: str) -> None:
    """Raise OptionError unless the name is one of `COLORMAPS`."""
    if name not in COLORMAPS:
        raise OptionError(f"There is no colormap {name!r}; choose one of {', '.join(COLORMAPS)}.")


def colormap_table(name: str) -> Array:
    """Return the 256 colors of a colormap, from heat 0 to heat 1: uint8 (256, 3), RGB.

    Raises:
        OptionError: the name is not one of `COLORMAPS`.
    """
    check_colormap(name)
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    bgr: Array = cv2.applyColorMap(ramp, getattr(cv2, f"COLORMAP_{name.upper()}"))
    return np.ascontiguousarray(bgr[:, 0, ::-1])
