"""The heatmap as a 16-bit grey PNG, for programs that read no floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnxplain.results.formats.encoding import Request, encode_image

if TYPE_CHECKING:
    from onnxplain.results.explanation import Explanation


def encode(explanation: Explanation, request: Request) -> dict[str, bytes]:
    """Return a one-channel PNG in which 0 is heat 0 and 65,535 is heat 1."""
    levels = np.rint(explanation.heatmap * np.float32(65535)).astype(np.uint16)
    return {".heatmap16.png": encode_image(".png", levels)}
