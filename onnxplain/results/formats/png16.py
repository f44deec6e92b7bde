"""The heatmap as a 16-bit grey PNG, for programs that read no floats."""

from __future__ import annotations

import numpy as np

from onnxplain.results.data import ExplanationData
from onnxplain.results.formats.encoding import Request
from onnxplain.results.formats.png_file import encode_png


def encode(explanation: ExplanationData, request: Request) -> dict[str, bytes]:
    """Return a one-channel PNG in which 0 is heat 0 and 65,535 is heat 1."""
    levels = np.rint(explanation.heatmap * np.float32(65535)).astype(np.uint16)
    return {".heatmap16.png": encode_png(levels)}
