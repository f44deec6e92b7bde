"""Pictures of the shipped models, with the class to explain and the place of its object.

For the networks on ImageNet they are photographs, alone and in pairs next to each other or one
above the other: then half of the picture is the object. For the digit models they are scenes, and
the object is the box of a digit.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import onnxplain
from onnxplain.tensors import Array

MODELS = Path(__file__).parents[2] / "models"
_PHOTOGRAPHS = ("chelsea.png", "coffee.png", "camera.png")
_SIDE = 512

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Case:
    """A picture, the class to explain, and the box that its object is in; None for all of it."""

    pixels: Array
    target: int
    box: Box | None


def photographs(explainer: onnxplain.Explainer) -> list[Case]:
    """Each photograph alone, and each pair of them side by side and one above the other."""
    known = {}
    for name in _PHOTOGRAPHS:
        pixels = onnxplain.read_picture(MODELS / "pictures" / name).astype(np.uint8)
        index = explainer.explain(pixels, "gradient").target.index
        assert index is not None, "classifiers are compared"
        known[name] = pixels, index
    cases = [Case(pixels, target, None) for pixels, target in known.values()]
    half = _SIDE // 2
    for (one, target), (other, _) in itertools.permutations(known.values(), 2):
        joined = np.concatenate([_filled(p, (half, _SIDE)) for p in (one, other)], axis=1)
        cases.append(Case(joined, target, (0, 0, half, _SIDE)))
        joined = np.concatenate([_filled(p, (_SIDE, half)) for p in (other, one)], axis=0)
        cases.append(Case(joined, target, (0, half, _SIDE, _SIDE)))
    return cases


def _filled(pixels: Array, size: tuple[int, int]) -> Array:
    """The center of a picture, as large as fits (width, height)."""
    width, height = size
    factor = max(width / pixels.shape[1], height / pixels.shape[0])
    large = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return np.asarray(large[top : top + height, left : left + width])


def digits(explainer: onnxplain.Explainer) -> list[Case]:
    """The shipped scenes, each digit in them that is found."""
    return _scenes("scenes")


def detected(explainer: onnxplain.Explainer) -> list[Case]:
    """The scenes of the detector, each digit in them."""
    return _scenes("detector_scenes")


def _scenes(folder: str) -> list[Case]:
    found = []
    for name, objects in json.loads((MODELS / folder / "scenes.json").read_text()).items():
        pixels = onnxplain.read_picture(MODELS / folder / name).astype(np.uint8)
        for one in objects["objects"]:
            left, top, right, bottom = one["box"]
            found.append(Case(pixels, one["class"], (left, top, right, bottom)))
    return found


CASES: Mapping[str, Callable[[onnxplain.Explainer], list[Case]]] = {
    "efficientnet_lite0": photographs,
    "squeezenet1_1": photographs,
    "digit_vit": digits,
    "digit_detector": detected,
}
"""The pictures of each model, by the stem of its file."""
