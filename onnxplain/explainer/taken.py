"""What is explained, as the user gives it, and as it is taken for the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from onnxplain.images.geometry import Placement
from onnxplain.results.data import ArrayFacts, stem_of
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True)
class SampleInFile:
    """One of several samples in a .npy file."""

    path: Path
    index: int


@dataclass(frozen=True, eq=False)
class PictureContent:
    """The content of a picture's file, which `read` returns when it is needed.

    `address` is its name in errors and manifests.
    """

    address: str
    read: Callable[[], bytes]


class Canvas(Protocol):
    """Where a map over the model's input is on what was given."""

    def on_seen(self, grid: Array) -> FloatArray:
        """Enlarge a map to the places that the model saw."""

    def on_canvas(self, seen: FloatArray) -> FloatArray:
        """Extend a map of these places to all places; the others are 0."""


@dataclass(frozen=True, eq=False)
class Taken:
    """A picture or an array, and the sample that was made from it.

    Attributes:
        x: the sample, (1, ...), in the form of the model's input.
        picture: what is drawn under the heatmap; see `ExplanationData`.
        canvas: maps over `x` to the places of `picture`.
        settings: how `x` was made, for the manifest.
        to_picture: draws values in the form of `x`, for methods that make a picture.
        placement: where a picture's pixels are in `x`; None where `x` has no rows and columns.
        path: the file.
        address: where a picture comes from that has no file of its own.
        seen: bool, False where the model did not see the picture; None if it saw all of it.
        array: what an array is; None for a picture.
        anchors: values that the scale of the heatmap includes.
        name: the first part of the names of its files; None for the name of its file.
    """

    x: Array
    picture: Array
    canvas: Canvas
    settings: Mapping[str, Any]
    to_picture: Callable[[Array], Array]
    placement: Placement | None = None
    path: Path | None = None
    address: str | None = None
    seen: Array | None = None
    array: ArrayFacts | None = None
    anchors: tuple[float, ...] = ()
    name: str | None = None

    @property
    def stem(self) -> str:
        """The name of its file, and the index of a sample in it."""
        return stem_of(self.path, self.array)


Picture = str | Path | bytes | Array | SampleInFile | PictureContent | Taken
"""A file, the bytes of one, an RGB array, an array in the form of the model's input, or taken."""
