"""The heatmap as a float32 TIFF, for `cv::imread(path, IMREAD_UNCHANGED)` and GIS tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxplain.results.formats.encoding import Request, encode_image

if TYPE_CHECKING:
    from onnxplain.results.explanation import Explanation


def encode(explanation: Explanation, request: Request) -> dict[str, bytes]:
    """Return a one-channel float32 TIFF, compressed without loss."""
    return {".tiff": encode_image(".tiff", explanation.heatmap)}
