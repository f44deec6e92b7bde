"""Pascal VOC's segmentation masks: PNG files with a palette, whose indices are classes or objects.

Everingham et al., "The Pascal Visual Object Classes Challenge: A Retrospective", IJCV 111, 2015;
files and palette as in its development kit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxplain.errors import PictureError
from onnxplain.images.picture import read_pixels
from onnxplain.regular_files import read_regular
from onnxplain.tensors import Array

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The class of each index of a palette, from 1; 0 is the background."""

BORDER = 255
"""The index of pixels that belong to no object for sure: around objects, and difficult ones."""

CLASS_FOLDER, OBJECT_FOLDER = "SegmentationClass", "SegmentationObject"

_HEADER_BYTES = 1 << 12
_PALETTE = slice(25, 26)
"""Where a PNG file says its type of color."""


def voc_regions(path: Path) -> list[tuple[str, Array]] | None:
    """The categories of a mask, each with its pixels, bool (rows, columns).

    In a folder `SegmentationObject` there is one for each object, whose category is that of the
    same file in `SegmentationClass`, or empty without this file. None for a PNG file without VOC's
    palette, which is no such mask.

    Raises:
        PictureError: it cannot be read, or has an index that is no class.
    """
    if not _has_voc_palette(path):
        return None
    indices = _indices(path)
    found = [int(one) for one in np.unique(indices) if one not in (0, BORDER)]
    if path.parent.name != OBJECT_FOLDER:
        return [(_class(index, path), indices == index) for index in found]
    classes = path.parent.with_name(CLASS_FOLDER) / path.name
    known = voc_regions(classes) if classes.is_file() else None
    return [(_category(indices == index, known or []), indices == index) for index in found]


def palette() -> Array:
    """VOC's colors by index, uint8 (256, 3), RGB.

    Bit 3 j + c of an index is bit 7 - j of the channel c, for j from 0.
    """
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    bits = [(index >> 3 * j + channel & 1) << 7 - j for j in range(3)]
    colors: Array = sum(bits, np.zeros((256, 3), int)).astype(np.uint8)
    return colors


def _has_voc_palette(path: Path) -> bool:
    """Whether a file is a PNG of indices into VOC's palette, or the first colors of it."""
    try:
        head = read_regular(path, start=0, length=_HEADER_BYTES)
    except OSError:
        return False  # reading its pixels says why
    at = head.find(b"PLTE")
    if head[_PALETTE] != b"\x03" or at < 0:
        return False
    colors = head[at + 4 : at + 4 + int.from_bytes(head[at - 4 : at])]
    return palette().tobytes().startswith(colors)


def _indices(path: Path) -> Array:
    """The indices of a mask, uint8 (rows, columns), from its colors: no two indices have one."""
    pixels = read_pixels(path).astype(np.int64)
    bits = [(pixels[..., c] >> 7 - j & 1) << 3 * j + c for c in range(3) for j in range(3)]
    indices: Array = sum(bits, np.zeros(pixels.shape[:2], np.int64)).astype(np.uint8)
    return indices


def _class(index: int, path: Path) -> str:
    if index > len(CLASSES):
        raise PictureError(
            f"{path} has the index {index}, and VOC has {len(CLASSES)} classes: if its indices are "
            f"objects, name their folder {OBJECT_FOLDER}."
        )
    return CLASSES[index - 1]


def _category(inside: Array, classes: list[tuple[str, Array]]) -> str:
    """The class that most pixels of an object have; empty if none is known."""
    counts = {name: int((pixels & inside).sum()) for name, pixels in classes}
    return max(counts, key=counts.__getitem__, default="")
