"""Baselines: inputs without content. Methods compare with them, or take fill values from them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.formulas.namespace import Namespace
from onnxplain.formulas.numpy_namespace import NUMPY
from onnxplain.images.opencv import cv2
from onnxplain.model.shapes import Shape
from onnxplain.tensors import Array, FloatArray

BaselineSpec = str | float | Array
"""A name from `BASELINES`, one value for all elements, or an array that broadcasts to the input."""


class Colors(Protocol):
    """Colors, 0 to 255, after preprocessing."""

    def color(self, red: float, green: float, blue: float) -> FloatArray:
        """The value of each channel in the model's input, (channels,)."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A sample that a baseline is made for.

    `x` is (1, ...); `channels` is its channel axis, None if unknown. `spatial` are its axes of
    rows and columns, or of time. `colors` is None if the input is no picture. `xp` is the namespace
    of `x`; in a graph `x` is (N, 1, ...), and axes are counted as in (1, ...).
    """

    x: Any
    channels: int | None
    spatial: tuple[int, ...]
    colors: Colors | None
    seed: int = 0
    xp: Namespace = NUMPY

    @property
    def shape(self) -> Shape:
        """The shape of one sample, (1, ...)."""
        own: Shape = self.x.shape[1:] if self.x.shape[0] is None else self.x.shape
        return own

    def from_end(self, axis: int) -> int:
        """An axis of the sample, counted from the last."""
        return axis - len(self.shape)

    @property
    def planes(self) -> tuple[int, ...] | None:
        """The axis order that makes (N, channels, rows, columns); None if this is no picture."""
        if self.channels is None or len(self.spatial) != 2 or len(self.shape) != 4:
            return None
        return (0, self.channels, *self.spatial)

    @property
    def has_spatial_axes(self) -> bool:
        """Whether neighbors along `spatial` are related, as pixels are; features are not.

        If False, `spatial` is every axis except the batch, or that of the tokens of a text.
        """
        return self.channels is not None

    @property
    def places(self) -> tuple[int, ...]:
        """The sizes along `spatial`."""
        return tuple(self.shape[axis] for axis in self.spatial)

    def baseline(self, spec: BaselineSpec, seed: int = 0) -> Any:
        """The baseline that `spec` names, for the shape of `x`; see `make_baseline`.

        `seed` is for random baselines.
        """
        return make_baseline(spec, replace(self, seed=seed))

    def broadcast_to_input(self, maps: Array) -> FloatArray:
        """Maps over `spatial`, (targets, ...), broadcast to (targets, *shape of the input)."""
        shape = [n if i in self.spatial else 1 for i, n in enumerate(self.shape)]
        placed = maps.reshape(len(maps), *shape[1:]).astype(np.float32)
        full = (len(maps), *self.shape[1:])
        return np.ascontiguousarray(np.broadcast_to(placed, full))


def make_baseline(spec: BaselineSpec, scene: Scene) -> Any:
    """The baseline that `spec` describes, float32 in the shape of `scene.x`.

    In a graph it is an array that broadcasts to this shape.

    Raises:
        OptionError: there is no such baseline, it needs a picture or a signal and the input is
            none, or the array does not broadcast to the input.
    """
    if not isinstance(spec, str):
        array = np.asarray(spec, np.float32)
        try:
            np.broadcast_to(array, scene.shape)
        except ValueError:
            raise OptionError(
                f"The baseline has shape {array.shape}, the model's input {scene.shape}."
            ) from None
        full = array.reshape(*[1] * (len(scene.shape) - array.ndim), *array.shape)
        return scene.xp.filled(full, scene.shape)
    if spec not in BASELINES:
        raise OptionError(
            f"There is no baseline {spec!r}: choose {', '.join(BASELINES)}, or give an array."
        )
    return scene.xp.filled(BASELINES[spec](scene), scene.shape)


def _plain(value: float) -> Callable[[Scene], Array]:
    def make(scene: Scene) -> Array:
        if scene.colors is None or scene.channels is None:
            raise OptionError(
                "This input is no picture, so it has no black, gray or white: choose zeros or "
                "mean, or give an array."
            )
        shape = [1] * len(scene.shape)
        shape[scene.channels] = -1
        color = scene.colors.color(value, value, value)
        return color.reshape(shape)

    return make


def _zeros(scene: Scene) -> Array:
    return np.zeros([1] * len(scene.shape))


def _mean(scene: Scene) -> Any:
    axes = tuple(map(scene.from_end, scene.spatial))
    return scene.xp.mean(scene.x, axis=axes, keepdims=True)


def _blur(scene: Scene) -> Any:
    """Gaussian blur, so strong that no outline remains: sigma is a tenth of the longer side."""
    if scene.channels is None or len(scene.spatial) > 2:
        raise OptionError("A blur needs a picture or a signal: choose zeros or mean.")
    blurred, sigma = scene.x, 0.1 * max(scene.places)
    for axis, length in zip(scene.spatial, scene.places, strict=True):
        blurred = scene.xp.along(_blur_matrix(length, sigma), blurred, scene.from_end(axis))
    return blurred


@functools.lru_cache(maxsize=16)
def _blur_matrix(length: int, sigma: float) -> FloatArray:
    """The matrix (length, length) that blurs along one axis; the outermost values are repeated.

    The array is cached, so it is read-only.
    """
    # The size that OpenCV chooses for pictures of floats.
    reach = round(4 * sigma)
    weights = cv2.getGaussianKernel(2 * reach + 1, sigma, cv2.CV_64F)[:, 0]
    matrix = np.zeros((length, length))
    for step, weight in zip(range(-reach, reach + 1), weights, strict=True):
        rows = np.arange(length)
        np.add.at(matrix, (rows, np.clip(rows + step, 0, length - 1)), weight)
    blur: FloatArray = matrix.astype(np.float32)
    blur.setflags(write=False)
    return blur


def _uniform(scene: Scene) -> Any:
    """Independent uniform noise between the smallest and the largest value of the sample."""
    noise = np.random.default_rng(scene.seed).random(scene.shape, np.float32)
    axes = tuple(map(scene.from_end, range(1, len(scene.shape))))
    low, high = (pick(scene.x, axes, keepdims=True) for pick in (scene.xp.min, scene.xp.max))
    return low + (high - low) * noise


BASELINES: dict[str, Callable[[Scene], Any]] = {
    "black": _plain(0),
    "white": _plain(255),
    "gray": _plain(127.5),
    "mean": _mean,
    "blur": _blur,
    "zeros": _zeros,
    "uniform": _uniform,
}
"""By name. Only `uniform` is random; it uses the scene's seed."""
