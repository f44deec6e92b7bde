"""Which method `auto` should take: `python -m tools.default_method`.

For each shipped classifier and each candidate it prints, as Markdown:

- points: how often the pixel with the largest value lies on the object that is explained. For the
  networks on ImageNet the pictures are pairs of photographs next to each other or one above the
  other, and half of the picture is the object: 50% is chance. For the digit ViT they are scenes,
  and the digit's box is about 16% of the picture;
- inside: the share of the heat there;
- deletion and insertion (Petsiuk et al., "RISE", 2018): the mean probability while 8 x 8 blocks of
  the picture are replaced by a blurred copy, or put back into one, those with the most heat first.
  Low deletion and high insertion are good;
- cost: the time of a map, in plain forward passes.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import onnxplain
from onnxplain.errors import OnnxplainError
from onnxplain.tensors import Array, FloatArray
from tools.pointing import heat_of, points, share

MODELS = Path(__file__).parents[1] / "models"
CANDIDATES = (
    "hirescam",
    "gradcam",
    "layercam",
    "ablationcam",
    "scorecam",
    "lrp",
    "gradient",
    "occlusion",
)
_PHOTOGRAPHS = ("chelsea.png", "coffee.png", "camera.png")
_SIDE, _BLOCKS = 512, 8

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
    """The shipped scenes, each digit in them."""
    found = []
    for name, objects in json.loads((MODELS / "scenes" / "scenes.json").read_text()).items():
        pixels = onnxplain.read_picture(MODELS / "scenes" / name).astype(np.uint8)
        for one in objects["objects"]:
            left, top, right, bottom = one["box"]
            found.append(Case(pixels, one["class"], (left, top, right, bottom)))
    return found


def curves(explainer: onnxplain.Explainer, case: Case, heat: FloatArray) -> tuple[float, float]:
    """Deletion and insertion."""
    height, width = heat.shape
    rows, columns = np.arange(height) * _BLOCKS // height, np.arange(width) * _BLOCKS // width
    block = rows[:, None] * _BLOCKS + columns
    order = np.argsort(-np.bincount(block.ravel(), heat.ravel()), kind="stable")
    rank = np.argsort(order)[block]
    blurred = cv2.GaussianBlur(case.pixels, (0, 0), min(height, width) / 12)
    steps = range(0, _BLOCKS**2 + 1, 4)
    deleted = [np.where((rank < k)[..., None], blurred, case.pixels) for k in steps]
    inserted = [np.where((rank < k)[..., None], case.pixels, blurred) for k in steps]
    x = np.concatenate([explainer.preprocess.apply(p)[0] for p in (*deleted, *inserted)])
    scores = explainer.attribute(x, "eigencam", case.target, score="probability").scores
    first, second = scores[: len(deleted)], scores[len(deleted) :]
    return float(first.mean()), float(second.mean())


def judge(
    explainer: onnxplain.Explainer, method: str, cases: Sequence[Case], forward: float
) -> str:
    """A line of the table."""
    hits, shares, faithful, seconds = [], [], [], []
    for case in cases:
        began = time.perf_counter()
        explain = partial(explainer.explain, case.pixels, method, case.target)
        heat = heat_of(explain, case.pixels.shape[:2])
        seconds.append(time.perf_counter() - began)
        if case.box is not None:
            hits.append(points(heat, case.box))
            shares.append(share(heat, case.box))
        faithful.append(curves(explainer, case, heat))
    deletion, insertion = np.mean(faithful, axis=0)
    return (
        f"| `{method}` | {np.mean(hits):.0%} | {np.mean(shares):.0%} | {deletion:.2f} "
        f"| {insertion:.2f} | {np.median(seconds) / forward:.0f} |"
    )


def main() -> None:
    for name in ("efficientnet_lite0", "squeezenet1_1", "digit_vit"):
        explainer = onnxplain.Explainer(MODELS / f"{name}.onnx", provider="cpu")
        vit = name == "digit_vit"
        cases = digits(explainer) if vit else photographs(explainer)
        x = explainer.preprocess.apply(cases[0].pixels)[0]
        explainer.attribute(x, "eigencam")
        began = time.perf_counter()
        for _ in range(10):
            explainer.attribute(x, "eigencam")
        forward = (time.perf_counter() - began) / 10
        print(f"\n{name}, {len(cases)} pictures\n")
        print("| method | points | inside | deletion | insertion | cost |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for method in CANDIDATES:
            try:
                print(judge(explainer, method, cases, forward), flush=True)
            except OnnxplainError as error:
                print(f"| `{method}` | {error} |", flush=True)


if __name__ == "__main__":
    main()
