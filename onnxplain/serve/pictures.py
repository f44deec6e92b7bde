"""Pictures in requests: JPEG or PNG files in base64, refused by size before they are decoded."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any

from onnxplain.serve.refusals import bad

MAX_PIXELS = 2**24
"""Most pixels of a picture, 17 million: a file of some kilobytes may hold a thousand times more.

A picture and its heatmap take 120 MB then, and so do those of each instance in the same call.
"""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG file before which its size is written."""

_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers that no length follows."""


def picture(text: Any) -> bytes:
    """The file that a text in base64 holds.

    Raises:
        RefusedError: it is no JPEG or PNG file in base64, or has too many pixels.
    """
    if not isinstance(text, str):
        raise bad('The value of "b64" is no text: send the file of a picture in base64.')
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise bad('The value of "b64" is not base64: send the file of a picture.') from None
    size = _size(data)
    if size is None or not all(size):
        raise bad("The picture is no whole JPEG or PNG file: send one of these.")
    width, height = size
    if width * height > MAX_PIXELS:
        raise bad(
            f"The picture has {width:,} x {height:,} pixels, and the most is {MAX_PIXELS:,}: "
            "scale it down first."
        )
    return data


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG or JPEG file; None if it is neither, or cut short."""
    if data.startswith(_PNG):
        return struct.unpack(">II", data[16:24]) if len(data) > 24 else None
    return _jpeg_size(data) if data.startswith(_JPEG) else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte before a marker
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
