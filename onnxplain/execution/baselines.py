"""Baselines: inputs without content. Methods compare with them, or take fill values from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.images.opencv import cv2
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
    rows and columns, or of time. `colors` is None if the input is no picture.
    """

    x: FloatArray
    channels: int | None
    spatial: tuple[int, ...]
    colors: Colors | None
    seed: int = 0

    @property
    def planes(self) -> tuple[int, ...] | None:
        """The axis order that makes (N, channels, rows, columns); None if this is no picture."""
        if self.channels is None or len(self.spatial) != 2 or self.x.ndim != 4:
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
        return tuple(self.x.shape[axis] for axis in self.spatial)

    def baseline(self, spec: BaselineSpec, seed: int = 0) -> FloatArray:
        """The baseline that `spec` names, in the shape of `x`; see `make_baseline`.

        `seed` is for random baselines.
        """
        return make_baseline(spec, replace(self, seed=seed))

    def broadcast_to_input(self, maps: Array) -> FloatArray:
        """Maps over `spatial`, (targets, ...), broadcast to (targets, *shape of the input)."""
        shape = [n if i in self.spatial else 1 for i, n in enumerate(self.x.shape)]
        placed = maps.reshape(len(maps), *shape[1:]).astype(np.float32)
        full = (len(maps), *self.x.shape[1:])
        return np.ascontiguousarray(np.broadcast_to(placed, full))


def make_baseline(spec: BaselineSpec, scene: Scene) -> FloatArray:
    """The baseline that `spec` describes, float32 in the shape of `scene.x`.

    Raises:
        OptionError: there is no such baseline, it needs a picture or a signal and the input is
            none, or the array does not broadcast to the input.
    """
    if not isinstance(spec, str):
        array = np.asarray(spec, np.float32)
        try:
            return np.ascontiguousarray(np.broadcast_to(array, scene.x.shape))
        except ValueError:
            raise OptionError(
                f"The baseline has shape {array.shape}, the model's input {scene.x.shape}."
            ) from None
    if spec not in BASELINES:
        raise OptionError(
            f"There is no baseline {spec!r}: choose {', '.join(BASELINES)}, or give an array."
        )
    return np.ascontiguousarray(BASELINES[spec](scene), np.float32)


def _plain(value: float) -> Callable[[Scene], FloatArray]:
    def make(scene: Scene) -> FloatArray:
        if scene.colors is None or scene.channels is None:
            raise OptionError(
                "This input is no picture, so it has no black, gray or white: choose zeros or "
                "mean, or give an array."
            )
        shape = [1] * scene.x.ndim
        shape[scene.channels] = -1
        color = scene.colors.color(value, value, value)
        return np.broadcast_to(color.reshape(shape), scene.x.shape)

    return make


def _zeros(scene: Scene) -> FloatArray:
    return np.zeros_like(scene.x)


def _mean(scene: Scene) -> FloatArray:
    mean = scene.x.mean(axis=scene.spatial, keepdims=True)
    return np.broadcast_to(mean, scene.x.shape)


def _blur(scene: Scene) -> FloatArray:
    """Gaussian blur, so strong that no outline remains: sigma is a tenth of the longer side."""
    if scene.channels is None or len(scene.spatial) > 2:
        raise OptionError("A blur needs a picture or a signal: choose zeros or mean.")
    axes, front = [axis - 1 for axis in scene.spatial], list(range(len(scene.spatial)))
    planes = np.moveaxis(scene.x[0], axes, front)
    sigma = 0.1 * max(planes.shape[i] for i in front)
    picture = planes.reshape(planes.shape[0], -1, planes.shape[-1])  # a signal is one column
    blurred = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    placed: FloatArray = np.moveaxis(blurred.reshape(planes.shape), front, axes)[None]
    return placed


def _uniform(scene: Scene) -> FloatArray:
    """Independent uniform noise between the smallest and the largest value of the sample."""
    noise = np.random.default_rng(scene.seed).random(scene.x.shape, np.float32)
    low, high = scene.x.min(), scene.x.max()
    between: FloatArray = low + (high - low) * noise
    return between


BASELINES: dict[str, Callable[[Scene], FloatArray]] = {
    "black": _plain(0),
    "white": _plain(255),
    "gray": _plain(127.5),
    "mean": _mean,
    "blur": _blur,
    "zeros": _zeros,
    "uniform": _uniform,
}
"""By name. Only `uniform` is random; it uses the scene's seed."""
