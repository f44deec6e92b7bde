"""Occlusion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from onnxplain.errors import OptionError
from onnxplain.execution.baselines import Scene
from onnxplain.execution.points import Blend, Feeds
from onnxplain.execution.sampling import Original, Sampling
from onnxplain.formulas.namespace import Namespace
from onnxplain.methods.base import InputMethod, ScoredMethod, Sums
from onnxplain.methods.options import Absent, Option, Sizes
from onnxplain.tensors import Array
from onnxplain.transforms.masks import Erase, box_feeds

_SHARE = 1 / 5
"""Of the input, that a window covers along each axis where neighbors are related."""

_BAND = 4
"""Rows of windows that are taken together."""


@dataclass(frozen=True, kw_only=True)
class Occlusion(InputMethod, ScoredMethod):
    """S(x) − S(x with a window filled), averaged over the windows that cover each pixel.

    `window` and `stride` are pixels of the model's input, one number or one for each axis of rows
    and columns; by default the window is a fifth of the input and the stride a quarter of the
    window, and features of a row are covered one by one. Windows start at 0, stride, 2·stride, ...;
    the last one in a row is clipped at the border, so that every pixel is covered. `fill` is what a
    window is filled with.

    Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
    """

    name = "occlusion"
    summary = "the score that is lost when a window is covered"
    paper = "Zeiler 2013"
    cost = "1 + one per window"

    window: Annotated[
        Sizes, Option("PIXELS", "Window that is covered: 32, or 32x48 (rows x columns).")
    ] = None
    stride: Annotated[Sizes, Option("PIXELS", "Step from window to window.")] = None
    fill: Annotated[Absent, Option("WHAT", "What a window is filled with: as --baseline.")] = (
        "black"
    )

    def check(self, scene: Scene) -> None:
        """See `Method`."""
        self._windows(scene)

    def sampling(self, original: Original) -> Sequence[Sampling]:
        """The sample with one window filled."""
        scene = original.scene
        window, stride = self._windows(scene)
        per_axis = [_intervals(*sizes) for sizes in zip(scene.places, window, stride, strict=True)]
        boxes = _in_order(per_axis)
        ends = {axis: (boxes[:, i, 0], boxes[:, i, 1]) for i, axis in enumerate(scene.spatial)}
        feeds = Feeds.of(box_feeds(len(scene.shape), ends), scene.xp)
        filled = Blend(Erase(scene.spatial), feeds, scene.baseline(self.fill))
        return [Sampling(filled, facts=lambda: {"window": list(window), "stride": list(stride)})]

    def terms(self, xp: Namespace, original: Original, score: Any, seen: Any) -> Sums:
        """See `SampledMethod`."""
        filled = 1 - seen
        return {
            "lost": xp.matmul(original.score - score, filled),
            "cover": xp.sum(filled, axis=-2),
        }

    def map(self, xp: Namespace, original: Original, sums: Sums) -> Any:
        """See the class."""
        return sums["lost"] / sums["cover"]

    def _windows(self, scene: Scene) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Window and stride, which must be positive and fit the input and each other."""
        shape, window = scene.places, sides("window", self.window, scene)
        stride = _sizes("stride", self.stride, [max(1, size // 4) for size in window], shape)
        if any(step > size for step, size in zip(stride, window, strict=True)):
            raise OptionError(
                f"stride {stride} leaves pixels between windows of {window} uncovered: it must not "
                "be larger than the window."
            )
        return window, stride


def sides(name: str, given: Sizes, scene: Scene) -> tuple[int, ...]:
    """The sides of a window in pixels: those given, or a fifth of the input, or one feature.

    Raises:
        OptionError: they do not fit the input; `name` is that of the option.
    """
    share = _SHARE if scene.has_spatial_axes else 0
    return _sizes(name, given, [max(1, round(share * n)) for n in scene.places], scene.places)


def _sizes(name: str, given: Sizes, default: list[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    if given is None:
        return tuple(default)
    sizes = (given,) * len(shape) if isinstance(given, int) else tuple(given)
    if len(sizes) != len(shape):
        raise OptionError(f"{name} takes one number or {len(shape)}, not {len(sizes)}.")
    for size, length in zip(sizes, shape, strict=True):
        if not 1 <= size <= length:
            raise OptionError(
                f"{name} must be between 1 and the input's {length} pixels, and is {size}."
            )
    return sizes


def _intervals(length: int, window: int, stride: int) -> Array:
    """Starts and stops of the windows that cover one axis, (windows, 2)."""
    starts = np.arange(0, max(length - window, 0) + stride, stride)
    starts = starts[starts < length]
    return np.stack([starts, np.minimum(starts + window, length)], axis=1)


def _in_order(per_axis: Sequence[Array]) -> Array:
    """All windows, (windows, axes, 2), so that those next to each other change patches of one size.

    Along each axis windows come from both ends to the middle: at the ends, what they change is cut
    off by the border. Four rows of windows are taken together, column by column, in turn from the
    sides to the middle and back.
    """
    if len(per_axis) != 2:
        return np.array(list(itertools.product(*per_axis)))
    rows, columns = (_from_ends(intervals) for intervals in per_axis)
    boxes = []
    for band in range(0, len(rows), _BAND):
        boxes += [(row, column) for column in columns for row in rows[band : band + _BAND]]
        columns = columns[::-1]
    return np.array(boxes)


def _from_ends(intervals: Array) -> Array:
    """The intervals from both ends to the middle."""
    places = np.arange(len(intervals))
    return intervals[np.argsort(np.minimum(places, places[::-1]), kind="stable")]
