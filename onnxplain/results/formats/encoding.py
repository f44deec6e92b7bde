"""What a format is: a function from an explanation to the bytes of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from onnxplain.tensors import Array

if TYPE_CHECKING:
    from onnxplain.results.explanation import Explanation


@dataclass(frozen=True)
class Request:
    """What an encoder may need to know besides the explanation.

    Attributes:
        colormap: the colours of an overlay.
        files: what the formats before this one produced, by file name.
    """

    colormap: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Format:
    """One row of the table of formats.

    Attributes:
        summary: what is in its files, for help texts.
        encode: returns the bytes of each file by the ending of its name, such as ".heatmap.npy".
    """

    summary: str
    encode: Callable[[Explanation, Request], dict[str, bytes]]


def encode_image(ending: str, image: Array) -> bytes:
    """Return an image file as OpenCV writes it; colours are in OpenCV's order, BGR."""
    import cv2

    _, data = cv2.imencode(ending, np.ascontiguousarray(image))
    return bytes(data)
