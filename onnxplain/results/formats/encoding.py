"""What a format is: a function from an explanation to the bytes of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnxplain.results.data import ExplanationData


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
    encode: Callable[[ExplanationData, Request], dict[str, bytes]]
