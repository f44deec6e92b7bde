"""Annotated objects of pictures: boxes and masks of a COCO file, boxes of a folder of VOC files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.images.opencv import cv2
from onnxplain.tensors import Array

_DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError)


@dataclass(frozen=True, eq=False)
class Picture:
    """The annotated objects of a picture.

    `size` is rows and columns of the picture that was annotated. `boxes` are left, top, right and
    bottom in its pixels; `polygons` are (points, 2), x and y; `masks` are bool of its size.
    """

    size: tuple[int, int]
    boxes: Sequence[tuple[float, float, float, float]] = ()
    polygons: Sequence[Array] = ()
    masks: Sequence[Array] = ()

    def inside(self, size: tuple[int, int]) -> Array:
        """Where an object is in the picture at a size (rows, columns): bool of that size."""
        mask = np.zeros(self.size, np.uint8)
        for left, top, right, bottom in self.boxes:
            rows = slice(max(0, int(np.floor(top))), int(np.ceil(bottom)))
            columns = slice(max(0, int(np.floor(left))), int(np.ceil(right)))
            mask[rows, columns] = 1
        for polygon in self.polygons:
            cv2.fillPoly(mask, [np.rint(polygon).astype(np.int32)], 1)
        for one in self.masks:
            mask[one] = 1
        if self.size != size:
            mask = np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST))
        return mask > 0


class Annotations:
    """The annotated pictures, found by the path of a picture."""

    def __init__(self, source: str, pictures: Mapping[PurePath, Picture]) -> None:
        """Take the pictures by their paths, which may be the last parts of the paths in use."""
        self.source = source
        self._by_name = defaultdict[str, list[tuple[PurePath, Picture]]](list)
        for path, picture in pictures.items():
            self._by_name[path.name].append((path, picture))
            if path.suffix:
                self._by_name[path.stem].append((path.with_suffix(""), picture))

    def of(self, path: str) -> Picture | None:
        """What is known of a picture; None if it is not annotated.

        The annotated path must end the picture's path; the longest one counts.
        """
        given = PurePath(path)
        for named in (given, given.with_suffix("")):
            fitting = [
                (len(own.parts), picture)
                for own, picture in self._by_name.get(named.name, ())
                if own.parts == named.parts[-len(own.parts) :]
            ]
            if fitting:
                return max(fitting, key=lambda one: one[0])[1]
        return None


def read_annotations(path: Path) -> Annotations:
    """Read a COCO file (.json), or a folder of VOC files (.xml).

    Raises:
        OptionError: it is neither, or it is damaged.
    """
    try:
        if path.is_dir():
            return Annotations(str(path), _read_voc(path))
        return Annotations(str(path), _read_coco(json.loads(path.read_bytes())))
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (*_DAMAGED, ElementTree.ParseError) as error:
        raise OptionError(
            f"{path} is no COCO file of annotations and no folder of VOC files ({error}): COCO has "
            "images, annotations and categories as JSON, VOC an .xml file for each picture."
        ) from error


def _read_coco(facts: Any) -> dict[PurePath, Picture]:
    objects = defaultdict[Any, list[Any]](list)
    for one in facts["annotations"]:
        objects[one["image_id"]].append(one)
    found = {}
    for image in facts["images"]:
        size = int(image["height"]), int(image["width"])
        found[PurePath(image["file_name"])] = _of_coco(size, objects[image["id"]])
    return found


def _of_coco(size: tuple[int, int], objects: Sequence[Any]) -> Picture:
    """Each object by its mask, or by its box where it has no mask."""
    boxes, polygons, masks = [], [], []
    for one in objects:
        outline = one.get("segmentation")
        if isinstance(outline, Mapping):
            masks.append(_from_counts(outline))
        elif outline:
            polygons += [np.reshape(np.array(points, float), (-1, 2)) for points in outline]
        else:
            left, top, width, height = map(float, one["bbox"])
            boxes.append((left, top, left + width, top + height))
    return Picture(size, boxes, polygons, masks)


def _from_counts(outline: Mapping[str, Any]) -> Array:
    """A mask from its run lengths: pixels outside and inside by turns, column by column."""
    rows, columns = outline["size"]
    counts = outline["counts"]
    if isinstance(counts, str):
        raise OptionError(
            "A mask of this COCO file has compressed run lengths, which are not read: write them "
            "as a list, or as polygons, or leave out the key segmentation to use the boxes."
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(columns, rows).T


def _read_voc(folder: Path) -> dict[PurePath, Picture]:
    files = sorted(folder.rglob("*.xml"))
    if not files:
        raise ValueError("it holds no .xml file")
    return dict(_of_voc(file, folder) for file in files)


def _of_voc(file: Path, folder: Path) -> tuple[PurePath, Picture]:
    root = ElementTree.parse(file).getroot()
    boxes = []
    for box in root.iterfind("object/bndbox"):
        left, top, right, bottom = (_number(box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
        # VOC counts pixels from 1, and the last one is in the box.
        boxes.append((left - 1, top - 1, right, bottom))
    size = int(_number(root, "size/height")), int(_number(root, "size/width"))
    return file.relative_to(folder).with_suffix(""), Picture(size, boxes)


def _number(element: ElementTree.Element, path: str) -> float:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"it lacks {path}")
    return float(text)
