"""Everything a C++ program needs, as an OpenCV FileStorage: matrices and key facts."""

from __future__ import annotations

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.data import ExplanationData

_LONGEST_STRING = 1000  # characters: FileStorage refuses strings above about 4,000 bytes


def encode(explanation: ExplanationData) -> bytes:
    """Return a YAML file that `cv::FileStorage` opens.

    `values` keeps its rank: above two it is an n-dimensional `cv::Mat`. Facts that are missing
    (no layer, no label, no class index) are left out.
    """
    storage = cv2.FileStorage(".yml", cv2.FileStorage_WRITE | cv2.FileStorage_MEMORY)
    for name, value in _facts(explanation).items():
        if value is not None:
            storage.write(name, value[:_LONGEST_STRING] if isinstance(value, str) else value)
    for name, array in (("values", explanation.values), ("heatmap", explanation.heatmap)):
        matrix = np.ascontiguousarray(array, np.float32)
        # Without this wrapper the last axis of a rank-3 array would become the matrix's channels.
        storage.write(name, cv2.Mat(matrix, wrap_channels=False))
    text: str = storage.releaseAndGetString()
    return text.encode()


def _facts(explanation: ExplanationData) -> dict[str, str | int | float | None]:
    low, high = explanation.heatmap_range
    model = explanation.provenance.model
    return {
        "method": explanation.method,
        "layer": explanation.layer,
        "target": explanation.target.name,
        "target_index": explanation.target.index,
        "target_label": explanation.target.label,
        "score": float(explanation.score),
        "score_kind": explanation.score_kind,
        "score_tensor": explanation.score_tensor,
        "heatmap_low": float(low),
        "heatmap_high": float(high),
        "model_sha256": model.sha256,
        "model_input": model.input_name,
        "provider": explanation.provenance.provider,
    }
