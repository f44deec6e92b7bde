"""How samples of an input lie: their axes, and one to try a model with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxplain.baselines import Scene
from onnxplain.graph.inputs import is_picture
from onnxplain.graph.layout import input_axes
from onnxplain.graph.model import Model
from onnxplain.images.preprocess import Preprocess
from onnxplain.tensors import Array, TensorSpec


class Samples:
    """Samples of one input, which may be pictures or arrays of any rank.

    `preprocess` is asked for pictures only: it may have to be found first.
    """

    def __init__(
        self, model: Model, spec: TensorSpec, preprocess: Callable[[], Preprocess]
    ) -> None:
        self._model = model
        self._spec = spec
        self._preprocess = preprocess

    def scene(self, x: Array) -> Scene:
        """A sample, (1, ...), as baselines are made for it."""
        axes = self._axes(x)
        channels = axes.index("C") if axes else None
        colours = self._preprocess() if axes and is_picture(self._spec) else None
        return Scene(x.astype(np.float32), channels, self.spatial(x), colours)

    def spatial(self, x: Array) -> tuple[int, ...]:
        """Axes of rows and columns, else every axis behind the batch."""
        axes = self._axes(x)
        return (axes.index("H"), axes.index("W")) if axes else tuple(range(1, x.ndim))

    def noise(self) -> Array:
        """One sample of the shape that pictures are given, or that the input declares."""
        random = np.random.default_rng(0)
        if is_picture(self._spec):
            preprocess = self._preprocess()
            size = preprocess.size or (224, 224)
            return preprocess.apply(255 * random.random((*size, 3), np.float32))[0]
        shape = [d if isinstance(d, int) else 1 for d in self._spec.shape or ()]
        return random.random(shape, np.float32).astype(self._spec.dtype)

    def _axes(self, x: Array) -> str:
        """Axes of a sample of rank 4; empty for others."""
        if x.ndim != 4:
            return ""
        if is_picture(self._spec):
            return self._preprocess().layout
        return input_axes(self._model, self._spec.name)
