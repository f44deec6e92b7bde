"""Raw values, or the heatmap, as a NumPy array for exact work afterwards."""

from __future__ import annotations

import io

import numpy as np

from onnxplain.results.data import ExplanationData
from onnxplain.results.formats.encoding import Request
from onnxplain.tensors import FloatArray


def encode_values(explanation: ExplanationData, request: Request) -> dict[str, bytes]:
    """Return the raw values as float32 in C order."""
    return {".npy": _npy(explanation.values)}


def encode_heatmap(explanation: ExplanationData, request: Request) -> dict[str, bytes]:
    """Return the heatmap as float32 in C order."""
    return {".heatmap.npy": _npy(explanation.heatmap)}


def _npy(array: FloatArray) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return file.getvalue()
