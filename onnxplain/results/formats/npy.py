"""Raw values and heatmap as NumPy arrays, for exact work afterwards."""

from __future__ import annotations

import io

import numpy as np

from onnxplain.results.data import ExplanationData
from onnxplain.results.formats.encoding import Request
from onnxplain.tensors import FloatArray


def encode(explanation: ExplanationData, request: Request) -> dict[str, bytes]:
    """Return both arrays as float32 in C order."""
    return {
        ".npy": _npy(explanation.values),
        ".heatmap.npy": _npy(explanation.heatmap),
    }


def _npy(array: FloatArray) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return file.getvalue()
