"""The heatmap as a float32 TIFF, for `cv::imread(path, IMREAD_UNCHANGED)` and GIS tools."""

from __future__ import annotations

import numpy as np

from onnxplain.results.data import ExplanationData
from onnxplain.results.formats.encoding import Request


def encode(explanation: ExplanationData, request: Request) -> dict[str, bytes]:
    """Return a one-channel float32 TIFF, compressed without loss."""
    import cv2

    _, data = cv2.imencode(".tiff", np.ascontiguousarray(explanation.heatmap))
    return {".tiff": data.tobytes()}
