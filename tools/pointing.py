"""How often each method points at the object: `python -m tools.pointing --cache FOLDER`.

Draws scenes that were not in the training set of the shipped vision transformer, in which the box
of every digit is known. Explains the transformer's output with every method that supports it. With
`--model models/digit_detector.onnx`, explains the box of the digit that the detector finds. Prints,
as Markdown:

- points: how often the pixel with the largest value lies in the digit's box (the pointing game of
  Zhang et al., "Top-down Neural Attention by Excitation Backprop", 2016). Pixels with the same
  largest value count as one.
- inside: the share of the heat that lies in the box, on average. Heat is the positive part of a
  map, or the difference from its least value if the map has no negative values.
- of two: the same share in scenes of two digits, for the digit that is explained.
- own digit: in scenes of two digits, how often the largest value of the map for one digit is higher
  on that digit than on the other. 50% is chance.

Only scenes that the model classifies correctly count: otherwise a map need not show the digit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import onnxplain
from onnxplain.errors import MapError, OnnxplainError, TargetError
from onnxplain.tensors import Array, FloatArray
from tools.build_models.pictures import Box
from tools.build_models.scenes import ONE, TWO, Material, Recipe, Scene, draw, material
from tools.docs.families import FAMILIES

MODEL = Path(__file__).parents[1] / "models" / "digit_vit.onnx"
SHOW_NO_PLACE = ("feature_maps", "activation_maximization", "regression_activation_map")

VARIANTS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "scorecam": [{"score": "logit"}],
    "legrad": [{"blocks": 1}, {"blocks": 2}],
    "vit_reciprocam": [{"neighbors": False}],
}
"""Options that get their own line, in addition to the defaults."""


@dataclass(frozen=True)
class Judgment:
    """The measurements of one method: shares of 1, and seconds for each map."""

    name: str
    points: float
    inside: float
    of_two: float
    own: float
    seconds: float


def scenes(
    rng: np.random.Generator, explainer: onnxplain.Explainer, source: Material, recipe: Recipe
) -> Iterator[Scene]:
    """An endless series of scenes of which the model classifies every digit correctly."""
    while True:
        scene = draw(rng, source, recipe)
        try:
            best = explainer.targets(scene.pixels, f"top{len(scene.digits)}")
        except TargetError:  # a detector that finds fewer
            continue
        if {one.described.index for one in best} == {digit for digit, _ in scene.digits}:
            yield scene


def inside(heat: FloatArray, box: Box) -> FloatArray:
    """The part of a heat map (rows, columns) in the box."""
    left, top, right, bottom = box
    return heat[top:bottom, left:right]


def points(heat: FloatArray, box: Box) -> float:
    """The share of the pixels with the largest value that lies in the box."""
    hottest = heat == heat.max()
    return float(inside(hottest, box).sum() / hottest.sum())


def share(heat: FloatArray, box: Box) -> float:
    """The share of the heat in the box; 0 if there is no heat."""
    positive = np.maximum(heat - max(heat.min(), 0), 0)
    return float(inside(positive, box).sum() / max(positive.sum(), 1e-30))


def heat_of(explain: Callable[[], onnxplain.Explanation], shape: tuple[int, ...]) -> FloatArray:
    """The heat in the method's own units, with its sign; 0 if the method finds nothing."""
    try:
        found = explain()
    except MapError:
        return np.zeros(shape, np.float32)
    low, high = found.heatmap_range
    return found.heatmap * (high - low) + low


def judge(
    explainer: onnxplain.Explainer,
    name: str,
    method: str,
    options: Mapping[str, Any],
    singles: Sequence[Scene],
    pairs: Sequence[Scene],
) -> Judgment:
    """Measure one method on scenes of one digit and of two."""

    def heat_for(scene: Scene, digit: int) -> FloatArray:
        explain = partial(explainer.explain, scene.pixels, method, digit, **options)
        return heat_of(explain, scene.pixels.shape[:2])

    started = time.perf_counter()
    first = []
    for scene in singles:
        ((digit, box),) = scene.digits
        heat = heat_for(scene, digit)
        first.append((points(heat, box), share(heat, box)))
    seconds = (time.perf_counter() - started) / len(singles)
    own, shares = [], []
    for scene in pairs:
        for (digit, mine), (_, other) in zip(scene.digits, reversed(scene.digits), strict=True):
            heat = heat_for(scene, digit)
            own.append(_hotter(inside(heat, mine).max(), inside(heat, other).max()))
            shares.append(share(heat, mine))
    hits, of_one = map(float, np.mean(first, axis=0))
    return Judgment(name, hits, of_one, float(np.mean(shares)), float(np.mean(own)), seconds)


def _hotter(mine: float, other: float) -> float:
    return 0.5 if mine == other else float(mine > other)


def baselines(singles: Sequence[Scene]) -> list[Judgment]:
    """A map of noise, and a map whose largest value is always in the middle."""
    rng = np.random.default_rng(0)
    side = len(singles[0].pixels)
    middle = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32)
    central = np.minimum(middle[:, None], middle)
    noise = [rng.random((side, side), np.float32) for _ in singles]
    found = []
    for name, maps in {"noise": noise, "the picture's middle": [central] * len(noise)}.items():
        boxes = [scene.digits[0][1] for scene in singles]
        pairs = zip(maps, boxes, strict=True)
        each = [(points(heat, box), share(heat, box)) for heat, box in pairs]
        hits, of_one = map(float, np.mean(each, axis=0))
        found.append(Judgment(name, hits, of_one, of_one, 0.5, 0.0))
    return found


_HEAD = """| map | points | inside | of two | own digit | seconds |
| --- | ---: | ---: | ---: | ---: | ---: |"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", help="methods (default: all that apply)")
    parser.add_argument("--cache", type=Path, required=True, help="keep downloads here")
    parser.add_argument("--scenes", type=int, default=100, help="of each kind (default: 100)")
    parser.add_argument("--model", type=Path, default=MODEL)
    options = parser.parse_args()
    explainer = onnxplain.Explainer(options.model, provider="cpu")
    source, rng = material(options.cache, unseen=True), np.random.default_rng(2)
    kinds = [scenes(rng, explainer, source, recipe) for recipe in (ONE, TWO)]
    singles, pairs = ([next(kind) for _ in range(options.scenes)] for kind in kinds)
    print(_HEAD)
    for one in baselines(singles):
        print_row(one)
    for name, method, given in cases(explainer, source, options.methods):
        try:
            print_row(judge(explainer, name, method, given, singles, pairs))
        except OnnxplainError as error:
            print(f"{name}: {error}", flush=True)


def cases(
    explainer: onnxplain.Explainer, source: Material, methods: Sequence[str]
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """What to measure: a name, the method and its options."""
    every = [name for family in FAMILIES.values() for name in family if name not in SHOW_NO_PLACE]
    for method in methods or every:
        needed: dict[str, Any] = {}
        if method == "expected_gradients":
            needed["baselines"] = backgrounds(explainer, source)
        for given in ({}, *VARIANTS.get(method, ())):
            shown = ", ".join(f"{key}={value}" for key, value in given.items())
            yield f"`{method}`" + (f" {shown}" if shown else ""), method, needed | dict(given)


def backgrounds(explainer: onnxplain.Explainer, source: Material) -> Array:
    """Scenes without a digit or a mark, prepared for the model."""
    rng = np.random.default_rng(3)
    bare = [draw(rng, source, Recipe(digits=0, marks=0)) for _ in range(20)]
    return np.concatenate(
        [explainer.preprocess.apply(scene.pixels.astype(np.float32))[0] for scene in bare]
    )


def print_row(one: Judgment) -> None:
    shares = " | ".join(f"{value:.0%}" for value in (one.points, one.inside, one.of_two, one.own))
    print(f"| {one.name} | {shares} | {one.seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
