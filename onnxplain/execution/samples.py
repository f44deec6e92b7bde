"""The axes of an input's samples, and a sample of noise to try a model with."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from onnxplain.analysis.inputs import is_picture
from onnxplain.analysis.layout import PICTURE_RANK, input_axes
from onnxplain.execution.baselines import Scene
from onnxplain.images.geometry import Placement
from onnxplain.images.preprocess import Preprocess
from onnxplain.model.model import Model
from onnxplain.tensors import Array, TensorSpec

_SIDES = {1: 1024, 2: 224, 3: 32}
"""Undeclared sizes in a sample of noise, by the number of axes with related neighbors."""


class Samples:
    """What is known about the samples of one input: pictures, or arrays of any rank.

    `preprocess` is called only for pictures, because finding the preprocessing may fail.
    """

    def __init__(
        self, model: Model, spec: TensorSpec, preprocess: Callable[[], Preprocess]
    ) -> None:
        self._spec = spec
        self._preprocess = preprocess
        self._names = functools.cache(functools.partial(input_axes, model, spec.name))

    def scene(self, x: Array) -> Scene:
        """A sample, (1, ...), with what is needed to make baselines for it."""
        colors = self._preprocess() if self._is_colored(x.ndim) else None
        names = self.axes(x.ndim)
        known = tuple(i for i, name in enumerate(names) if name in "DHW")
        channels = names.index("C") if names else None
        spatial = known or tuple(range(1, x.ndim))
        return Scene(x.astype(np.float32, copy=False), channels, spatial, colors)

    def axes(self, rank: int) -> str:
        """The axes of samples of that rank, such as "NCHW"; empty where they are not known."""
        return self._preprocess().layout if self._is_colored(rank) else self._names(rank)

    def _is_colored(self, rank: int) -> bool:
        return rank == PICTURE_RANK and is_picture(self._spec)

    def spatial(self, x: Array) -> tuple[int, ...]:
        """The axes along which neighbors are related; if none are known, all after the batch."""
        return self.scene(x[:1]).spatial

    def placement(self, x: Array) -> Placement | None:
        """The placement for a sample that is its own picture; None without rows and columns."""
        scene = self.scene(x)
        if scene.channels is None or len(scene.spatial) != 2:
            return None
        rows, columns = scene.places
        return Placement.stretch((rows, columns), (rows, columns))

    def plain(self, gray: float) -> Array:
        """A sample, (1, ...), made of a picture of one gray value in 0..255."""
        preprocess = self._preprocess()
        picture = np.full((*preprocess.trial_size, 3), gray, np.float32)
        return preprocess.apply(picture)[0]

    def noise(self) -> Array:
        """A sample of noise, (1, ...), in the shape of preprocessed pictures or of the input."""
        random = np.random.default_rng(0)
        if is_picture(self._spec):
            preprocess = self._preprocess()
            size = preprocess.trial_size
            return preprocess.apply(255 * random.random((*size, 3), np.float32))[0]
        declared = self._spec.shape or ()
        axes = self._names(len(declared)) or "N" * len(declared)
        side = _SIDES.get(sum(axis in "DHW" for axis in axes), 1)
        shape = [
            size if isinstance(size, int) else side if axis in "DHW" else 1
            for size, axis in zip(declared, axes, strict=True)
        ]
        return random.random(shape, np.float32).astype(self._spec.dtype)


class TokenSamples(Samples):
    """Samples (1, tokens, size) of embeddings: tokens are removed one by one, with all values."""

    def __init__(self, model: Model, spec: TensorSpec, x: Array) -> None:
        """Describe samples like `x`, (1, tokens, size)."""
        super().__init__(model, spec, _no_picture)
        self._x = x

    def scene(self, x: Array) -> Scene:
        """See `Samples`."""
        return Scene(x.astype(np.float32, copy=False), None, (1,), None)

    def noise(self) -> Array:
        """See `Samples`; tokens without noise, because a model may refuse other lengths."""
        return self._x


def _no_picture() -> Preprocess:
    raise AssertionError("an embedding is no picture")
