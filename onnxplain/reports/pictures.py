"""Small pictures as addresses that a page needs no other file for."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from onnxplain.errors import OnnxplainError
from onnxplain.images.opencv import cv2
from onnxplain.images.picture import as_uint8, read_pixels
from onnxplain.results.formats.png_file import encode_png
from onnxplain.results.render.colormaps import DEFAULT_COLORMAP, colormap_table
from onnxplain.results.render.colors import Colors
from onnxplain.tensors import Array, FloatArray

THUMBNAIL = 112
_MAP_SIDE = 128
_QUALITY = 82
_GRAY = 110


def map_address(grid: FloatArray, outlined: Array | None = None) -> str:
    """A map, (rows, columns), 0 and more, in colors up to its largest value.

    `outlined` is bool of the same shape; its region gets an outline.
    """
    level = np.rint(255 * grid / max(float(grid.max()), 1e-12)).astype(np.float32)
    large = cv2.resize(level, (_MAP_SIDE, _MAP_SIDE), interpolation=cv2.INTER_LINEAR)
    colored = colormap_table(DEFAULT_COLORMAP)[np.rint(large).astype(np.uint8)]
    if outlined is not None:
        mask = cv2.resize(
            outlined.astype(np.uint8), (_MAP_SIDE, _MAP_SIDE), interpolation=cv2.INTER_NEAREST
        )
        inner = cv2.erode(np.pad(mask, 1), np.ones((5, 5), np.uint8))[1:-1, 1:-1]
        colored[(mask - inner) > 0] = (120, 220, 255)
    return _address("image/png", encode_png(np.ascontiguousarray(colored)))


def picture_of(path: Path, size: tuple[int, int]) -> Array:
    """The picture, uint8 (rows, columns, 3), RGB; gray if its file is not there any more."""
    try:
        found = as_uint8(read_pixels(path))
    except OnnxplainError:
        found = np.full((*size, 3), _GRAY, np.uint8)
    return found


def heat_address(picture: Array, heat: FloatArray) -> str:
    """A picture with heat over it, both (rows, columns), not larger than a thumbnail."""
    size = _size(picture)
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    scaled = heat / max(float(heat.max()), 1e-12)
    over = cv2.resize(scaled.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return _jpeg(Colors(DEFAULT_COLORMAP, (0.0, 1.0)).blend(small, over))


def picture_address(picture: Array) -> str:
    """A picture, not larger than a thumbnail."""
    return _jpeg(cv2.resize(picture, _size(picture), interpolation=cv2.INTER_AREA))


def _size(picture: Array) -> tuple[int, int]:
    """Width and height of the thumbnail."""
    height, width = picture.shape[:2]
    factor = THUMBNAIL / max(height, width)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _jpeg(picture: Array) -> str:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return _address("image/jpeg", data.tobytes())


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
