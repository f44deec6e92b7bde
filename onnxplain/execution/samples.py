"""The axes of an input's samples, and a sample of noise to try a model with."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from onnxplain.analysis.inputs import is_picture
from onnxplain.analysis.layout import input_axes
from onnxplain.execution.baselines import Scene
from onnxplain.images.geometry import Placement
from onnxplain.images.preprocess import Preprocess
from onnxplain.model.model import Model
from onnxplain.tensors import Array, TensorSpec


class Axes(NamedTuple):
    """The meaning of the axes of samples of one rank.

    `channels` is the axis of channels, None if unknown. `spatial` are the axes along which
    neighbors are related: rows and columns, or time. `colored` means that a sample is a picture.
    """

    channels: int | None
    spatial: tuple[int, ...]
    colored: bool


class Samples:
    """What is known about the samples of one input: pictures, or arrays of any rank.

    `preprocess` is called only for pictures, because finding the preprocessing may fail.
    """

    def __init__(
        self, model: Model, spec: TensorSpec, preprocess: Callable[[], Preprocess]
    ) -> None:
        self._model = model
        self._spec = spec
        self._preprocess = preprocess
        self._axes_by_rank: dict[int, Axes] = {}

    def scene(self, x: Array) -> Scene:
        """A sample, (1, ...), with what is needed to make baselines for it."""
        axes = self._axes(x)
        colors = self._preprocess() if axes.colored else None
        return Scene(x.astype(np.float32, copy=False), axes.channels, axes.spatial, colors)

    def spatial(self, x: Array) -> tuple[int, ...]:
        """The axes along which neighbors are related; if none are known, all after the batch."""
        return self._axes(x).spatial

    def placement(self, x: Array) -> Placement | None:
        """The placement for a sample that is its own picture; None without rows and columns."""
        axes = self._axes(x)
        if axes.channels is None or len(axes.spatial) != 2:
            return None
        rows, columns = axes.spatial
        size = x.shape[rows], x.shape[columns]
        return Placement.stretch(size, size)

    def noise(self) -> Array:
        """A sample of noise, (1, ...), in the shape of preprocessed pictures or of the input."""
        random = np.random.default_rng(0)
        if is_picture(self._spec):
            preprocess = self._preprocess()
            size = preprocess.size or (224, 224)
            return preprocess.apply(255 * random.random((*size, 3), np.float32))[0]
        shape = [d if isinstance(d, int) else 1 for d in self._spec.shape or ()]
        return random.random(shape, np.float32).astype(self._spec.dtype)

    def _axes(self, x: Array) -> Axes:
        if x.ndim not in self._axes_by_rank:
            self._axes_by_rank[x.ndim] = self._axes_of_rank(x.ndim)
        return self._axes_by_rank[x.ndim]

    def _axes_of_rank(self, rank: int) -> Axes:
        colored = is_picture(self._spec) and rank == _PICTURE_RANK
        names = (
            self._preprocess().layout if colored else input_axes(self._model, self._spec.name, rank)
        )
        known = tuple(i for i, name in enumerate(names) if name in "DHW")
        return Axes(names.index("C") if names else None, known or tuple(range(1, rank)), colored)


_PICTURE_RANK = 4
