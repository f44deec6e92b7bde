"""How samples of an input lie: their axes, and one to try a model with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxplain.analysis.inputs import is_picture
from onnxplain.analysis.layout import input_axes
from onnxplain.execution.baselines import Scene
from onnxplain.images.geometry import Placement
from onnxplain.images.preprocess import Preprocess
from onnxplain.model.model import Model
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
        self._axes_by_rank: dict[int, str] = {}

    def scene(self, x: Array) -> Scene:
        """A sample, (1, ...), as baselines are made for it."""
        axes = self._axes(x)
        channels = axes.index("C") if axes else None
        colours = self._preprocess() if is_picture(self._spec) and x.ndim == _PICTURE_RANK else None
        return Scene(x.astype(np.float32, copy=False), channels, self.spatial(x), colours)

    def spatial(self, x: Array) -> tuple[int, ...]:
        """Axes along which neighbours belong together, else every axis behind the batch."""
        axes = self._axes(x)
        known = tuple(i for i, axis in enumerate(axes) if axis in "DHW")
        return known or tuple(range(1, x.ndim))

    def placement(self, x: Array) -> Placement | None:
        """The sample itself, taken as the picture that it was made from."""
        axes = self.spatial(x)
        if not self._axes(x) or len(axes) != 2:
            return None
        size = x.shape[axes[0]], x.shape[axes[1]]
        return Placement.stretch(size, size)

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
        """Axes of a sample, such as "NCHW" or "NCW"; empty where they are not known."""
        if x.ndim not in self._axes_by_rank:
            self._axes_by_rank[x.ndim] = self._axes_of_rank(x.ndim)
        return self._axes_by_rank[x.ndim]

    def _axes_of_rank(self, rank: int) -> str:
        if is_picture(self._spec) and rank == _PICTURE_RANK:
            return self._preprocess().layout
        return input_axes(self._model, self._spec.name, rank)


_PICTURE_RANK = 4
