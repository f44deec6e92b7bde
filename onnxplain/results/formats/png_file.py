"""PNG files, compressed on several threads.

OpenCV compresses on one thread, which takes longer than drawing the picture.
"""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np

from onnxplain.tensors import Array
from onnxplain.worker_threads import worker_threads

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB, _GRAY = 2, 0  # PNG's color types
_SUB = 1  # PNG's filter that subtracts the pixel to the left
_PIECE = 1 << 17  # bytes before compression that one thread compresses at a time
_FASTEST = 1  # level; zlib's default takes three times as long for files 7% smaller
_ZLIB_HEADER = b"\x78\x01"  # a window of 32 KiB, fastest level


def encode_png(image: Array) -> bytes:
    """Return a PNG file of a picture: RGB uint8 (h, w, 3), or gray uint16 (h, w).

    The bytes depend on the picture alone, not on the number of threads.
    """
    height, width = image.shape[:2]
    depth, color = (8, _RGB) if image.ndim == 3 else (16, _GRAY)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = [
        _chunk(b"IHDR", header),
        *(_chunk(b"IDAT", data) for data in _compressed(_filtered(image))),
        _chunk(b"IEND", b""),
    ]
    return _SIGNATURE + b"".join(chunks)


def _filtered(image: Array) -> memoryview:
    """The bytes of all lines, in the form that PNG compresses.

    A line is its filter type, its first pixel, and the difference of each pixel to the one before.
    """
    pixels = image if image.dtype == np.uint8 else image.astype(">u2").view(np.uint8)
    lines = np.ascontiguousarray(pixels).reshape(len(image), -1)
    step = lines.shape[1] // image.shape[1]
    filtered = np.empty((len(lines), 1 + lines.shape[1]), np.uint8)
    filtered[:, 0] = _SUB
    filtered[:, 1 : 1 + step] = lines[:, :step]
    np.subtract(lines[:, step:], lines[:, :-step], out=filtered[:, 1 + step :])
    return filtered.reshape(-1).data


def _compressed(data: memoryview) -> list[bytes]:
    """A zlib stream in pieces, compressed separately so that threads can share the work."""
    pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
    ends = [zlib.Z_SYNC_FLUSH] * (len(pieces) - 1) + [zlib.Z_FINISH]
    deflated = worker_threads(os.cpu_count() or 1).map(_deflate, pieces, ends)
    checksum = struct.pack(">I", zlib.adler32(data))
    return [_ZLIB_HEADER, *deflated, checksum]


def _deflate(piece: memoryview, end: int) -> bytes:
    compressor = zlib.compressobj(_FASTEST, wbits=-zlib.MAX_WBITS)
    return compressor.compress(piece) + compressor.flush(end)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
