"""Where objects really are: masks, and annotations of COCO and Pascal VOC."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from onnxplain.errors import PictureError, PreprocessError, TargetError
from onnxplain.images.files import read_json, read_text
from onnxplain.images.opencv import cv2
from onnxplain.images.picture import read_pixels
from onnxplain.targets.described import ExplainedTarget
from onnxplain.tensors import Array

_LARGEST_JSON = 2**30
_LARGEST_XML = 2**22
_MOST_PIXELS = 2**28
_FRACTION_BITS = 4
"""OpenCV draws polygons with this many bits after the point."""

Size = tuple[int, int]


@dataclass(frozen=True)
class Region:
    """An object of a picture: its category, and its mask as a function of (rows, columns)."""

    category: str
    shape: Any

    def mask(self, size: Size) -> Array:
        """The pixels of the object, bool (rows, columns)."""
        mask: Array = self.shape.mask(size)
        return mask


@dataclass(frozen=True)
class BoxShape:
    """A box from `left` and `top` to `right` and `bottom`, exclusive, in pixels.

    A pixel is in it if its center is.
    """

    left: float
    top: float
    right: float
    bottom: float

    def mask(self, size: Size) -> Array:
        """See `Region`."""
        down, across = (np.arange(side) + 0.5 for side in size)
        rows = (down >= self.top) & (down < self.bottom)
        return rows[:, None] & ((across >= self.left) & (across < self.right))


@dataclass(frozen=True)
class Polygons:
    """Polygons, each as x1, y1, x2, y2, ...; together they are the object."""

    points: Sequence[Sequence[float]]

    def mask(self, size: Size) -> Array:
        """See `Region`."""
        drawn = np.zeros(size, np.uint8)
        for flat in self.points:
            corners = np.reshape(np.asarray(flat, np.float64), (-1, 2)) - 0.5
            fixed = np.rint(corners * 2**_FRACTION_BITS).astype(np.int32)
            cv2.fillPoly(drawn, [fixed], 1, shift=_FRACTION_BITS)
        return drawn.astype(bool)


@dataclass(frozen=True)
class Runs:
    """Run lengths of pixels outside and inside in turn, column by column, as COCO writes them."""

    counts: Sequence[int]
    size: Size

    def mask(self, size: Size) -> Array:
        """See `Region`.

        Raises:
            PictureError: the runs are of a picture of another size.
        """
        if self.size != size or sum(self.counts) != size[0] * size[1] or min(self.counts) < 0:
            raise PictureError(
                f"The mask of the annotations is of {self.size[1]} x {self.size[0]} pixels, and "
                f"the picture of {size[1]} x {size[0]}."
            )
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape(size[::-1]).T


@dataclass(frozen=True)
class Drawn:
    """A mask from a file: pixels that are not black are the object."""

    path: Path

    def mask(self, size: Size) -> Array:
        """See `Region`.

        Raises:
            PictureError: the file cannot be read, or has another size than the picture.
        """
        pixels = read_pixels(self.path)
        if pixels.shape[:2] != size:
            raise PictureError(
                f"{self.path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, and its picture "
                f"{size[1]} x {size[0]}: save the mask at the size of the picture."
            )
        return np.asarray(pixels.reshape(*size, -1).any(axis=-1))


class Annotations(ABC):
    """The objects of pictures, which are found by the names of their files."""

    @abstractmethod
    def regions(self, picture: Path) -> Sequence[Region]:
        """The objects of a picture.

        Raises:
            PictureError: there are no annotations of it, or they are malformed.
        """

    def inside(self, picture: Path, size: Size, target: ExplainedTarget) -> Array:
        """Where the explained class is in a picture, bool (rows, columns).

        Regions without a category count for every target. A category fits a class if it is its
        index, its label, or one of the names between commas of the label.

        Raises:
            TargetError: no object of the picture has this class.
            PictureError: as `regions`.
        """
        found = self.regions(picture)
        names = _names(target)
        fitting = [one for one in found if not one.category or one.category.casefold() in names]
        if not fitting:
            known = ", ".join(sorted({one.category for one in found})) or "nothing"
            raise TargetError(
                f"The annotations of {picture.name} hold {known}, and not {target.name!r}: name "
                "the class with --target, or its category as the labels do."
            )
        inside: Array = np.any([one.mask(size) for one in fitting], axis=0)
        return inside


def _names(target: ExplainedTarget) -> set[str]:
    label = target.label or ""
    parts = [label, *label.split(","), "" if target.index is None else str(target.index)]
    return {part.strip().casefold() for part in parts if part.strip()}


@dataclass(frozen=True)
class InFolder(Annotations):
    """A folder with a file for each picture, of the same stem: VOC's .xml, or a mask as .png."""

    folder: Path

    def regions(self, picture: Path) -> Sequence[Region]:
        """See `Annotations`."""
        written = self.folder / f"{picture.stem}.xml"
        if written.is_file():
            return voc_regions(written)
        drawn = self.folder / f"{picture.stem}.png"
        if not drawn.is_file():
            raise PictureError(
                f"There is neither {written.name} nor {drawn.name} in {self.folder}."
            )
        return [Region("", Drawn(drawn))]


@dataclass(frozen=True)
class Coco(Annotations):
    """One COCO file; pictures are found by the last part of `file_name`."""

    path: Path
    by_picture: Mapping[str, Sequence[Region]]

    def regions(self, picture: Path) -> Sequence[Region]:
        """See `Annotations`."""
        if picture.name not in self.by_picture:
            raise PictureError(f"{self.path} names no picture {picture.name!r}.")
        return self.by_picture[picture.name]


def read_annotations(path: Path) -> Annotations:
    """Annotations from a COCO file (.json), or a folder of VOC files (.xml) or masks (.png).

    Raises:
        PictureError: it is neither, cannot be read, or is malformed.
    """
    if path.is_dir():
        return InFolder(path)
    if path.suffix.lower() != ".json":
        raise PictureError(
            f"{path} holds no annotations: name a COCO .json file, or a folder of VOC .xml files "
            "or of masks (.png) with the names of their pictures."
        )
    try:
        return coco(path, read_json(path, _LARGEST_JSON))
    except PreprocessError as error:
        raise PictureError(str(error)) from error


def coco(path: Path, content: Any) -> Coco:
    """The annotations that a COCO object holds.

    Raises:
        PictureError: it is malformed.
    """
    try:
        names = {int(one["id"]): str(one["name"]) for one in content["categories"]}
        pictures = {
            int(one["id"]): (
                Path(str(one["file_name"])).name,
                (one.get("height"), one.get("width")),
            )
            for one in content["images"]
        }
        found: dict[str, list[Region]] = {name: [] for name, _ in pictures.values()}
        for one in content["annotations"]:
            name, size = pictures[int(one["image_id"])]
            found[name].append(Region(names[int(one["category_id"])], _coco_shape(one, size)))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise PictureError(
            f"{path} is no COCO file of objects ({type(error).__name__}: {error}): it must hold "
            "images, categories and annotations with a bbox or a segmentation."
        ) from None
    return Coco(path, found)


def _coco_shape(one: Mapping[str, Any], size: Any) -> BoxShape | Polygons | Runs:
    segmentation = one.get("segmentation")
    if isinstance(segmentation, Mapping):
        rows, columns = map(int, segmentation.get("size", size))
        if not 0 < rows * columns <= _MOST_PIXELS:
            raise ValueError(f"a mask of {rows} x {columns} pixels")
        counts = segmentation["counts"]
        own = _decoded(counts) if isinstance(counts, str) else [int(count) for count in counts]
        return Runs(tuple(own), (rows, columns))
    if segmentation:
        polygons = [tuple(map(float, flat)) for flat in segmentation]
        if any(len(flat) < 6 or len(flat) % 2 for flat in polygons):
            raise ValueError("a polygon without three corners")
        if (
            not np.isfinite(np.concatenate(polygons)).all()
            or np.abs(np.concatenate(polygons)).max() > 2**24
        ):
            raise ValueError("a corner far outside of the picture")
        return Polygons(tuple(polygons))
    x, y, width, height = map(float, one["bbox"])
    return BoxShape(x, y, x + width, y + height)


_FIRST, _BITS = 48, 5
"""COCO's compressed runs: characters from 48 on hold five bits each, the lowest first."""


def _decoded(text: str) -> list[int]:
    """The run lengths of a compressed mask.

    From the third on, a run is written as the difference from the run two before it. A bit of 32
    in a character says that more follow, and one of 16 in the last that the number is negative.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - _FIRST
        if not 0 <= bits < 64 or shift > 50:
            raise ValueError("a damaged compressed mask")
        number |= (bits & 31) << shift
        shift += _BITS
        if bits & 32:
            continue
        number -= (1 << shift) if bits & 16 else 0
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    return counts


def voc_regions(path: Path) -> list[Region]:
    """The objects of a Pascal VOC file; its boxes count pixels from 1 and include the last.

    Raises:
        PictureError: it cannot be read, or is malformed.
    """
    try:
        text = read_text(path, _LARGEST_XML)
    except PreprocessError as error:
        raise PictureError(str(error)) from error
    if "<!" in text.replace("<!--", ""):
        raise PictureError(f"{path} declares entities or a document type: annotations have none.")
    try:
        found = [_voc_region(one) for one in ElementTree.fromstring(text).iter("object")]
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise PictureError(f"{path} is no Pascal VOC file of objects: {error}.") from None
    return found


def _voc_region(one: ElementTree.Element) -> Region:
    left, top, right, bottom = (
        float(one.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    name = (one.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object without a name")
    return Region(name, BoxShape(left - 1, top - 1, right, bottom))
