"""Run an exported file beside the model that it was made from, and compare."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxplain.errors import MapError, ModelError, OptionError
from onnxplain.explainer import Explainer, Picture
from onnxplain.explainer.heat import to_heatmap
from onnxplain.explainer.taken import Canvas
from onnxplain.exporting.picture_heat import OK
from onnxplain.images.places import Places
from onnxplain.methods.base import Method
from onnxplain.methods.registry import make_method
from onnxplain.model.load import load
from onnxplain.model.model import KEY
from onnxplain.model.shapes import Shape
from onnxplain.runtime.backend import Backend
from onnxplain.runtime.session import Session
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True)
class Verified:
    """How far a file is from the model and from `run`, for one picture.

    Attributes:
        picture: the picture, as it was given.
        outputs: the largest difference of an output of the model, relative to the largest value of
            that output.
        values: the same for the method's values; NaN where neither shows anything.
        heatmap: the largest difference of the heatmap, whose values are 0 to 1; NaN likewise.
        problem: a difference that is no number, in words; empty if there is none.
    """

    picture: Picture
    outputs: float
    values: float
    heatmap: float
    problem: str = ""

    @property
    def largest(self) -> float:
        """The largest of the differences."""
        found = [self.outputs, self.values, self.heatmap]
        return max(one for one in found if not np.isnan(one))


class ExportedFile:
    """An exported file, opened with ONNX Runtime."""

    def __init__(self, path: str | Path, backend: Backend) -> None:
        """Open the file.

        Raises:
            ModelError: it cannot be loaded, or was not made by `export`.
        """
        model = load(path)
        self.facts = {
            name.removeprefix(KEY): value
            for name, value in model.metadata.items()
            if name.startswith(KEY)
        }
        if "method" not in self.facts:
            raise ModelError(f"{path} was not made by `onnxplain export`: name a file that was.")
        self.path = Path(path)
        self.names: Mapping[str, str] = json.loads(self.facts["names"])
        self._session = Session(model, backend)

    @property
    def takes_pictures(self) -> bool:
        """Whether it takes pictures, and not samples in the form of the model's input."""
        return self.names["picture"] in self._session.inputs

    @property
    def takes_target(self) -> bool:
        """Whether an input chooses what is explained."""
        return self.names["target"] in self._session.inputs

    def method(self, options: Mapping[str, Any]) -> Method:
        """The method, with the options that the file was made with; `options` replace some.

        Raises:
            OptionError: one of them was a large array, which must be given again.
        """
        made_with = {**json.loads(self.facts["options"]), **options}
        for name, value in made_with.items():
            if isinstance(value, dict):
                raise OptionError(
                    f"{self.path} was made with an array as {name}, of shape {value['shape']}, "
                    f"which it does not hold as an option: give {name} again."
                )
        return make_method(self.facts["method"], made_with)

    def check_settings(self, model: Explainer) -> None:
        """Check that the file was made from a model, with the same output, size and random draws.

        Raises:
            ModelError: it was not.
        """
        facts = self.facts
        if facts["model_sha256"] != model.model.sha256:
            raise ModelError(
                f"{self.path} was made from another model ({facts.get('model', 'not a file')}): "
                "name the one that it was made from."
            )
        if facts.get("output") != model.output:
            raise ModelError(
                f"{self.path} explains the output {facts.get('output', 'that is the default')!r}: "
                "give the same --output."
            )
        fixed = "fixed_random" in facts
        if fixed != bool(model.fixed_random):
            raise ModelError(
                f"{self.path} was made {'with' if fixed else 'without'} --fix-random "
                "(fix_random=True): verify it in the same way."
            )
        size = list(model.scene(model.trial).places)
        if json.loads(facts["input_size"]) != size:
            raise ModelError(
                f"{self.path} takes samples of size {facts['input_size']}, and the preprocessing "
                f"makes {size}: give the flags for preprocessing that it was made with."
            )

    @property
    def target(self) -> str:
        """What the file explains unless its input says otherwise, as `explain` takes it.

        Raises:
            ModelError: it was fixed as an object of Python.
        """
        if self.takes_target:
            return "top1"
        if "fixed_target" not in self.facts:
            raise ModelError(
                f"The target in {self.path} was given as an object of Python, so it cannot be "
                "made again: compare the file in Python."
            )
        return self.facts["fixed_target"]

    def run(self, inputs: Mapping[str, Array], places: Shape, samples: int = 1) -> dict[str, Array]:
        """All outputs by name, for −1 as the target of each of the samples.

        `places` are the sizes of the heatmap of a sample.
        """
        feeds = dict(inputs)
        if self.takes_target:
            feeds[self.names["target"]] = np.full(samples, -1)
        region = self.names.get("region", "")
        if region in self._session.inputs:
            feeds[region] = np.zeros((samples, *places), np.uint8)
        return dict(zip(self._session.outputs, self._session.run(feeds), strict=True))


def verify(
    path: str | Path, model: Explainer, pictures: Iterable[Picture], **options: Any
) -> Iterator[Verified]:
    """Yield for each picture how far an exported file is from the model that it was made from.

    What is explained is the class with the largest score, or what is fixed in the file. `options`
    of the method are those of the file, unless they are given: arrays must be.

    Raises:
        ModelError: the file was not made by `export`, from another model, or with other settings.
        OptionError: an option must be given.
        OnnxplainError: a picture cannot be read, or cannot be explained.
    """
    file = ExportedFile(path, model.backend)
    file.check_settings(model)
    method = file.method(options)
    for picture in pictures:
        yield _verified(file, model, method, picture)


def _verified(file: ExportedFile, model: Explainer, method: Method, picture: Picture) -> Verified:
    taken = model.take(picture)
    x, own, feeds = taken.x, model.predict(taken.x), model.feeds(taken.x)
    if file.takes_pictures:
        del feeds[model.input.name]
        pixels = taken.picture
        found = file.run({**feeds, file.names["picture"]: pixels}, pixels.shape[:2])
    else:
        found = file.run(feeds, model.scene(x).places, len(feeds[model.input.name]))
    outputs = max(_relative(found[name], value) for name, value in own.items())
    status = int(found[file.names["status"]][0])
    try:
        canvas = taken.canvas if file.takes_pictures else Places(model.scene(x).places)
        values, heatmap = _explained(file, model, method, x, canvas)
    except MapError as error:
        problem = "" if status != OK else f"run shows no map: {error}"
        return Verified(picture, outputs, np.nan, np.nan, problem)
    if status != OK:
        return Verified(picture, outputs, np.nan, np.nan, f"the file's status is {status}")
    far = _relative(found[file.names["values"]][:1], values)
    heat = np.abs(found[file.names["heatmap"]][0] - heatmap).max()
    return Verified(picture, outputs, far, float(heat))


def _explained(
    file: ExportedFile, model: Explainer, method: Method, x: Array, canvas: Canvas
) -> tuple[FloatArray, FloatArray]:
    """The values, (1, ...), and the heatmap that `attribute` and `explain` give for a sample.

    Raises:
        MapError: they show nothing.
    """
    found = model.attribute(x, method, file.target)
    heat = method.heat(found.values[0], model.scene(x).spatial)
    has_zero = not method.values_are_scores
    heatmap, _ = to_heatmap(heat, canvas, method.name, has_zero=has_zero)
    return found.values, heatmap


def _relative(found: Array, expected: Array) -> float:
    """The largest difference, relative to the largest finite expected value.

    It is infinite where the shapes differ, where only one of two numbers is finite, or where texts
    or other values that are no numbers differ.
    """
    if found.shape != expected.shape:
        return np.inf
    if expected.dtype.kind not in "biuf":
        return 0.0 if np.array_equal(found, expected) else np.inf
    pair = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(pair[1])
    (ours, theirs), others = (one[finite] for one in pair), [one[~finite] for one in pair]
    if not np.array_equal(others[0], others[1], equal_nan=True):
        return np.inf
    if not theirs.size:
        return 0.0
    scale = max(float(np.abs(theirs).max()), float(np.finfo(np.float32).tiny))
    difference = float(np.abs(ours - theirs).max()) / scale
    return difference if np.isfinite(difference) else np.inf
