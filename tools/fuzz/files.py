"""Contents of files."""

from __future__ import annotations

import io

import numpy as np

from onnxplain.images.opencv import cv2
from onnxplain.tensors import Array


def png(pixels: Array) -> bytes:
    """The file of a picture."""
    done, content = cv2.imencode(".png", pixels)
    assert done
    return bytes(content)


def npy(array: Array) -> bytes:
    """The file of an array."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
