"""Where objects really are: masks, and annotations of COCO and Pascal VOC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol
from xml.etree import ElementTree

import numpy as np

from onnxplain.errors import PictureError, PreprocessError
from onnxplain.images.files import read_json, read_text
from onnxplain.images.opencv import cv2
from onnxplain.images.picture import read_pixels
from onnxplain.images.voc_masks import voc_regions
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
        return Pixels(self.path, np.asarray(read_pixels(self.path).any(axis=-1))).mask(size)


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of an object, bool (rows, columns), of a mask from a file."""

    path: Path
    inside: Array

    def mask(self, size: Size) -> Array:
        """See `Region`.

        Raises:
            PictureError: the mask has another size than the picture.
        """
        if self.inside.shape != size:
            rows, columns = self.inside.shape
            raise PictureError(
                f"{self.path} has {columns} x {rows} pixels, and its picture "
                f"{size[1]} x {size[0]}: save the mask at the size of the picture."
            )
        return self.inside


@dataclass(frozen=True)
class Objects:
    """The annotated objects of a picture.

    `size` is rows and columns of the picture that was annotated; None if it is not known.
    """

    regions: Sequence[Region]
    size: Size | None = None

    def inside(self, size: Size, among: Sequence[Region] | None = None) -> Array:
        """Where the objects are in the picture at a size: bool (rows, columns).

        `among` are those that count, by default all.

        Raises:
            PictureError: a mask cannot be read, or has another size than the picture.
        """
        annotated = self.size or size
        inside = np.zeros(annotated, bool)
        for region in self.regions if among is None else among:
            inside |= region.mask(annotated)
        if annotated != size:
            shrunk = cv2.resize(inside.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
            inside = np.asarray(shrunk, bool)
        return inside


class Annotations(Protocol):
    """The objects of pictures."""

    @property
    def path(self) -> Path:
        """The file or the folder that holds them."""

    def of(self, picture: str | Path) -> Objects | None:
        """The objects of a picture; None if it is not annotated.

        The annotated path must end the path of the picture; the longest one counts.

        Raises:
            PictureError: they are malformed.
        """


def _ends(picture: str | Path) -> Iterator[PurePath]:
    """The last parts of a path, the most first."""
    parts = [part for part in PurePath(picture).parts if part not in ("/", "\\", "..")]
    yield from (PurePath(*parts[first:]) for first in range(len(parts)))


@dataclass(frozen=True)
class InFolder:
    """A folder with a file for each picture, of the same stem: VOC's .xml, or a mask as .png.

    A mask is VOC's, with its palette, or any other picture; see `voc_masks` and `Drawn`.
    """

    path: Path

    def of(self, picture: str | Path) -> Objects | None:
        """See `Annotations`."""
        for end in _ends(picture):
            written = self.path / end.with_suffix(".xml")
            if written.is_file():
                return read_voc(written)
            drawn = self.path / end.with_suffix(".png")
            if drawn.is_file():
                return _masked(drawn)
        return None


def _masked(path: Path) -> Objects:
    """The objects of a mask."""
    known = voc_regions(path)
    if known is None:
        return Objects([Region("", Drawn(path))])
    return Objects([Region(category, Pixels(path, inside)) for category, inside in known])


@dataclass(frozen=True)
class Coco:
    """One COCO file."""

    path: Path
    by_picture: Mapping[PurePath, Objects]

    def of(self, picture: str | Path) -> Objects | None:
        """See `Annotations`."""
        return next(
            (self.by_picture[end] for end in _ends(picture) if end in self.by_picture), None
        )


def read_annotations(path: Path) -> Annotations:
    """Annotations from a COCO file (.json), or a folder of VOC files (.xml) or masks (.png).

    Raises:
        PictureError: it is neither, cannot be read, or is malformed.
    """
    if path.is_dir():
        if not any(file.suffix in (".xml", ".png") for file in path.rglob("*")):
            raise PictureError(f"{path} holds neither VOC files (.xml) nor masks (.png).")
        return InFolder(path)
    if path.suffix.lower() != ".json":
        raise PictureError(
            f"{path} holds no annotations: name a COCO .json file, or a folder of VOC .xml files "
            "or of masks (.png) with the names of their pictures."
        )
    return read_coco(path)


def read_coco(path: Path) -> Coco:
    """Annotations from a COCO file.

    Raises:
        PictureError: it cannot be read, or is malformed.
    """
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
        pictures = {int(one["id"]): one for one in content["images"]}
        found: dict[int, list[Region]] = {number: [] for number in pictures}
        for one in content["annotations"]:
            number = int(one["image_id"])
            shape = _coco_shape(one, _coco_size(pictures[number]))
            found[number].append(Region(names[int(one["category_id"])], shape))
        by_picture = {
            PurePath(str(picture["file_name"])): Objects(found[number], _coco_size(picture))
            for number, picture in pictures.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise PictureError(
            f"{path} is no COCO file of objects ({type(error).__name__}: {error}): it must hold "
            "images, categories and annotations with a bbox or a segmentation."
        ) from None
    return Coco(path, by_picture)


def _coco_size(picture: Mapping[str, Any]) -> Size | None:
    if "height" not in picture or "width" not in picture:
        return None
    return _checked_size(picture["height"], picture["width"])


def _checked_size(rows: Any, columns: Any) -> Size:
    size = int(rows), int(columns)
    if min(size) < 1 or size[0] * size[1] > _MOST_PIXELS:
        raise ValueError(f"a picture of {rows} x {columns} pixels")
    return size


def _coco_shape(one: Mapping[str, Any], size: Size | None) -> BoxShape | Polygons | Runs:
    segmentation = one.get("segmentation")
    if isinstance(segmentation, Mapping):
        own_size = _checked_size(*(segmentation.get("size") or size or ()))
        counts = segmentation["counts"]
        own = _decoded(counts) if isinstance(counts, str) else [int(count) for count in counts]
        return Runs(tuple(own), own_size)
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


def read_voc(path: Path) -> Objects:
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
        root = ElementTree.fromstring(text)
        found = [_voc_region(one) for one in root.iter("object")]
        sides = [root.findtext(f"size/{side}") for side in ("height", "width")]
        size = None if None in sides else _checked_size(*sides)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise PictureError(f"{path} is no Pascal VOC file of objects: {error}.") from None
    return Objects(found, size)


def _voc_region(one: ElementTree.Element) -> Region:
    left, top, right, bottom = (
        float(one.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    name = (one.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object without a name")
    return Region(name, BoxShape(left - 1, top - 1, right, bottom))
