"""Raw values and heatmaps as files that hold nothing but an array."""

from __future__ import annotations

import io

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.results.formats.png_file import encode_png
from onnxplain.tensors import FloatArray


def npy(array: FloatArray) -> bytes:
    """A NumPy array, float32 in C order, for exact calculations."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return file.getvalue()


def tiff(heatmap: FloatArray) -> bytes:
    """A one-channel float32 TIFF without loss, for `cv::imread(path, IMREAD_UNCHANGED)` and GIS."""
    _, data = cv2.imencode(".tiff", _flat(heatmap))
    return data.tobytes()


def png16(heatmap: FloatArray) -> bytes:
    """A 16-bit gray PNG in which 0 is heat 0 and 65,535 is heat 1, for programs without floats."""
    return encode_png(np.rint(_flat(heatmap) * np.float32(65535)).astype(np.uint16))


def _flat(heatmap: FloatArray) -> FloatArray:
    """A heatmap of any rank as rows and columns: one row, or the slices one below the other."""
    return np.ascontiguousarray(heatmap.reshape(-1, heatmap.shape[-1]))
