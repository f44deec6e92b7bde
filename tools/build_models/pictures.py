"""The pictures: photographs that are copied unchanged, and pairs of crops next to each other.

A pair is made only by cropping, without resampling. So its pixels are the same on every machine,
and each half shows exactly one of the two objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .sources import SCIKIT_IMAGE, BuildError, Member

# x0, y0, x1, y1 in pixels; x1 and y1 are the first column and row outside.
Box = tuple[int, int, int, int]
# ImageNet classes that a person would accept for an object.
Classes = tuple[int, ...]

CAT: Classes = (281, 282, 285)
ESPRESSO: Classes = (967,)
TRIPOD: Classes = (872,)
ROCKET: Classes = (657, 744)

PUBLIC_DOMAIN = "Public domain"
CC0 = "CC0-1.0"


@dataclass(frozen=True)
class Photo:
    """A photograph of one object; `top1` is each model's top class, as measured."""

    name: str
    title: str
    classes: Classes
    top1: dict[str, int]
    author: str
    licence: str

    @property
    def member(self) -> Member:
        """The original file."""
        return Member(SCIKIT_IMAGE, f"skimage/data/{self.name}")

    def build(self, cache: Path) -> bytes:
        """The file's bytes, unchanged."""
        return self.member.read(cache)

    def facts(self) -> dict[str, Any]:
        """Its entry in `pictures.json`."""
        return {
            "title": self.title,
            "objects": [{"classes": self.classes}],
            "top1": self.top1,
            "author": self.author,
            "licence": self.licence,
            "source": f"{SCIKIT_IMAGE.requirement}: {self.member.path}",
        }


@dataclass(frozen=True)
class Pair:
    """Two crops of equal height, next to each other: each a photograph and the box of the crop."""

    name: str
    title: str
    top1: dict[str, int]
    left: tuple[Photo, Box]
    right: tuple[Photo, Box]

    def build(self, cache: Path) -> bytes:
        """The pair as a PNG file."""
        halves = [_crop(decode(photo.build(cache)), box) for photo, box in (self.left, self.right)]
        return encode_png(np.concatenate(halves, axis=1))

    def facts(self) -> dict[str, Any]:
        """Its entry in `pictures.json`."""
        (left, left_box), (right, right_box) = self.left, self.right
        height, seam = left_box[3] - left_box[1], left_box[2] - left_box[0]
        width = seam + right_box[2] - right_box[0]
        return {
            "title": self.title,
            "objects": [
                {"classes": left.classes, "box": (0, 0, seam, height)},
                {"classes": right.classes, "box": (seam, 0, width, height)},
            ],
            "top1": self.top1,
            "author": f"{left.author}; {right.author}",
            "licence": left.licence,
            "source": f"{left.name} {list(left_box)} beside {right.name} {list(right_box)}",
        }


def decode(data: bytes) -> NDArray[np.uint8]:
    """A picture file as (height, width, 3) BGR pixels."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise BuildError("OpenCV could not read a picture file.")
    return np.asarray(pixels, np.uint8)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of (height, width, 3) BGR pixels."""
    done, data = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise BuildError("OpenCV could not write a PNG file.")
    return bytes(data)


def _crop(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = box
    return pixels[y0:y1, x0:x1]


def _top1(efficientnet: int, squeezenet: int) -> dict[str, int]:
    return {"efficientnet_lite0": efficientnet, "squeezenet1_1": squeezenet}


CHELSEA = Photo("chelsea.png", "Chelsea the cat", CAT, _top1(282, 285), "Stefan van der Walt", CC0)
COFFEE = Photo("coffee.png", "A cup of espresso", ESPRESSO, _top1(967, 967), "Rachel Michetti", CC0)
CAMERA = Photo(
    "camera.png", "A camera on a tripod (gray)", TRIPOD, _top1(872, 872), "Lav Varshney", CC0
)
FALCON = Photo(
    "rocket.jpg", "A Falcon 9 on its launch pad", ROCKET, _top1(657, 733), "SpaceX", PUBLIC_DOMAIN
)

PICTURES: tuple[Photo | Pair, ...] = (
    CHELSEA,
    COFFEE,
    CAMERA,
    FALCON,
    Pair(
        "coffee_camera.png",
        "An espresso beside a tripod",
        _top1(967, 967),
        left=(COFFEE, (160, 0, 360, 400)),
        right=(CAMERA, (220, 112, 420, 512)),
    ),
    Pair(
        "chelsea_camera.png",
        "A cat beside a tripod",
        _top1(872, 872),
        left=(CHELSEA, (90, 0, 240, 300)),
        right=(CAMERA, (220, 130, 370, 430)),
    ),
)
