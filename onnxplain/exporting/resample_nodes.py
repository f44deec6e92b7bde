"""Resampling along one axis as a matrix that is computed from the sizes when the graph runs.

The matrices have the weights of `onnxplain.images.resample`, and of OpenCV's filters. Positions are
continuous coordinates, where pixel i covers [i, i + 1). They are computed in float64. A matrix
holds float32, so a position becomes its whole part and the rest, whose difference from a pixel near
it is exact enough.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.tensors import Array
from onnxplain.transforms.builder import Builder, Value

Kernel = Callable[[Builder, gs.Tensor], gs.Tensor]
"""The weights of a filter at distances of at least 0."""

_PARTIAL = 1e-3
"""Share of a pixel that OpenCV leaves out of an average."""

_SMALLEST = 1e-4
"""In place of a distance of 0, where a sinc is 1 in float32 and its formula is 0 / 0."""

_COLUMN = np.array([1])


@dataclass(frozen=True, eq=False)
class Axis:
    """`old` pixels along one axis are resized to `new`, and only the pixels `out` are computed.

    `old` and `new` are int64 (1,), `out` is int64 (n,).
    """

    old: Value
    new: Value
    out: Value


def resize_matrices(g: Builder, axes: tuple[Axis, Axis], interpolation: str) -> list[gs.Tensor]:
    """The matrices (n, old) of an interpolation along rows and columns, float32.

    `interpolation` is one of `onnxplain.images.geometry.INTERPOLATIONS`.
    """
    if interpolation == "area":
        return _opencv_area(g, axes)
    return [_FILTERS[interpolation](g, axis) for axis in axes]


def double(g: Builder, value: float | Array) -> gs.Constant:
    """A float64 constant, which `Builder.constant` would make float32."""
    return gs.Constant(g.argument("double").name, np.array(value, np.float64))


def wide(g: Builder, value: Value) -> gs.Tensor:
    """Numbers as float64."""
    if isinstance(value, np.ndarray):
        return double(g, value)
    return g.Cast(value, to=np.float64)


def linear(g: Builder, size: Value, centers: gs.Tensor) -> gs.Tensor:
    """See `onnxplain.images.resample.linear`: the matrix (n, size) for `centers`, float64 (n,)."""
    return _of_taps(g, size, g.Sub(centers, double(g, 0.5)), _triangle, 1)


def area(g: Builder, size: Value, low: gs.Tensor, high: gs.Tensor) -> gs.Tensor:
    """The matrix (n, size) that averages from `low` to `high`, float64 (n,).

    See `onnxplain.images.resample.area`.
    """
    ends = (g.Max(g.Min(end, wide(g, size)), double(g, 0)) for end in (low, high))
    return _normalized(g, _overlap(g, size, *ends))


def _antialiased(g: Builder, axis: Axis, kernel: Kernel, reach: int) -> gs.Tensor:
    """See `onnxplain.images.resample.antialiased`.

    The pixels that count there are exactly those within the kernel's reach.
    """
    step = g.Div(wide(g, axis.old), wide(g, axis.new))
    stretch = g.Cast(g.Max(step, double(g, 1)), to=np.float32)
    centers = g.Mul(_centers(g, axis), step)
    source = g.Add(_pixels(g, axis.old), np.float32(0.5))
    distance = g.Div(g.Abs(_minus(g, source, centers)), stretch)
    return _normalized(g, kernel(g, g.Min(distance, np.float32(reach))))


def _opencv(g: Builder, axis: Axis, kernel: Kernel, reach: int) -> gs.Tensor:
    """A filter of OpenCV, which reads 2 * `reach` pixels at any scale."""
    return _of_taps(g, axis.old, _opencv_places(g, axis), kernel, reach)


def _opencv_lanczos(g: Builder, axis: Axis) -> gs.Tensor:
    """OpenCV rounds the positions to float32 for this filter."""
    rounded = g.Cast(g.Cast(_opencv_places(g, axis), to=np.float32), to=np.float64)
    return _of_taps(g, axis.old, rounded, _lanczos(4), 4)


def _nearest(g: Builder, axis: Axis) -> gs.Tensor:
    """The pixel at the center.

    OpenCV adds up steps from pixel to pixel. Where a center is on the border of two pixels, the
    rounding of these sums decides, so they are computed in the same way.
    """
    last = g.ReduceMax(axis.out)
    pixels = g.Range(np.array(0), g.Add(g.Squeeze(last), np.array(1)), np.array(1))
    step = g.Div(wide(g, axis.old), wide(g, axis.new))
    steps = g.Where(g.Equal(pixels, np.array(0)), g.Mul(step, double(g, 0.5)), step)
    centers = g.Gather(g.CumSum(steps, np.array(0)), axis.out)
    one = g.Reshape(g.Cast(g.Floor(centers), to=np.int64), np.array([-1, 1]))
    return _scattered(g, axis.old, one, g.Expand(np.ones((1, 1), np.float32), g.Shape(one)))


def _opencv_area(g: Builder, axes: tuple[Axis, Axis]) -> list[gs.Tensor]:
    """OpenCV averages if no axis is enlarged, and interpolates along both if one is."""
    kept = [g.LessOrEqual(axis.new, axis.old) for axis in axes]
    shrinks = g.And(*kept)
    return [g.Where(shrinks, _averages(g, axis), _between(g, axis)) for axis in axes]


def _averages(g: Builder, axis: Axis) -> gs.Tensor:
    """The average of the pixels that an output pixel covers."""
    step = _opencv_step(g, axis)
    low = g.Mul(wide(g, axis.out), step)
    high = g.Add(low, step)
    cell = g.Min(step, g.Sub(wide(g, axis.old), low))
    first, last = g.Ceil(low), g.Floor(high)
    start = g.Where(g.Greater(g.Sub(first, low), double(g, _PARTIAL)), low, first)
    stop = g.Where(g.Greater(g.Sub(high, last), double(g, _PARTIAL)), high, last)
    sizes = g.Unsqueeze(g.Cast(cell, to=np.float32), _COLUMN)
    return g.Div(_overlap(g, axis.old, start, stop), sizes)


def _between(g: Builder, axis: Axis) -> gs.Tensor:
    """Two pixels where an output pixel covers the border of two, and one pixel elsewhere."""
    inverse = g.Div(wide(g, axis.new), wide(g, axis.old))
    first = g.Floor(g.Mul(wide(g, axis.out), _opencv_step(g, axis)))
    one = double(g, 1)
    exact = g.Sub(g.Add(wide(g, axis.out), one), g.Mul(g.Add(first, one), inverse))
    # As float32, like in OpenCV: just below 1 becomes 1, which means the same as 0.
    beyond = g.Relu(g.Cast(exact, to=np.float32))
    share = g.Sub(beyond, g.Floor(beyond))
    return _of_taps(g, axis.old, g.Add(first, wide(g, share)), _triangle, 1)


def _opencv_step(g: Builder, axis: Axis) -> gs.Tensor:
    """The inverse of the scale. It is not `old` / `new`, because it is rounded twice.

    ONNX Runtime would make one division of this one, by Div, and a product that follows it.
    """
    return g.Reciprocal(g.Div(wide(g, axis.new), wide(g, axis.old)))


def _opencv_places(g: Builder, axis: Axis) -> gs.Tensor:
    """The center of each output pixel, counted from the center of the first pixel."""
    return g.Sub(g.Mul(_centers(g, axis), _opencv_step(g, axis)), double(g, 0.5))


def _centers(g: Builder, axis: Axis) -> gs.Tensor:
    return g.Add(wide(g, axis.out), double(g, 0.5))


def _of_taps(g: Builder, size: Value, places: gs.Tensor, kernel: Kernel, reach: int) -> gs.Tensor:
    """The matrix (n, size) of a filter that reads 2 * `reach` pixels.

    `places`, float64 (n,), are counted from the center of the first pixel. Beyond the outermost
    pixels their value is repeated.
    """
    taps = np.arange(1 - reach, 1 + reach)
    column = g.Unsqueeze(places, _COLUMN)
    first = g.Floor(column)
    beyond = g.Cast(g.Sub(column, first), to=np.float32)
    weights = kernel(g, g.Abs(g.Sub(beyond, taps.astype(np.float32))))
    return _scattered(g, size, g.Add(g.Cast(first, to=np.int64), taps), _normalized(g, weights))


def _scattered(g: Builder, size: Value, source: gs.Tensor, weights: gs.Tensor) -> gs.Tensor:
    """The matrix (n, size) with `weights` (n, taps) at the pixels `source` (n, taps)."""
    rows = g.Shape(source, start=0, end=1)
    blank = g.ConstantOfShape(g.Concat(rows, size, axis=0))
    last = g.Sub(size, np.array([1]))
    inside = g.Max(g.Min(source, last), np.array([0]))
    return g.ScatterElements(blank, inside, weights, axis=1, reduction="add")


def _overlap(g: Builder, size: Value, low: gs.Tensor, high: gs.Tensor) -> gs.Tensor:
    """How much of each pixel is from `low` to `high`, float64 (n,): float32 (n, size)."""
    pixels = _pixels(g, size)
    upper, lower = (
        g.Clip(g.Neg(_minus(g, pixels, end)), np.float32(0), np.float32(1)) for end in (high, low)
    )
    return g.Sub(upper, lower)


def _minus(g: Builder, pixels: gs.Tensor, places: gs.Tensor) -> gs.Tensor:
    """`pixels`, float32 (size,), minus each of `places`, float64 (n,): float32 (n, size)."""
    column = g.Unsqueeze(places, _COLUMN)
    whole = g.Floor(column)
    rest = g.Cast(g.Sub(column, whole), to=np.float32)
    return g.Sub(g.Sub(pixels, g.Cast(whole, to=np.float32)), rest)


def _pixels(g: Builder, size: Value) -> gs.Tensor:
    """The numbers of `size` pixels, float32."""
    return g.Cast(g.Range(np.array(0), g.Squeeze(size), np.array(1)), to=np.float32)


def _normalized(g: Builder, weights: gs.Tensor) -> gs.Tensor:
    """Weights (n, m) whose rows sum to 1."""
    return g.Div(weights, g.ReduceSum(weights, np.array([1])))


def _triangle(g: Builder, x: gs.Tensor) -> gs.Tensor:
    return g.Relu(g.Sub(np.float32(1), x))


def _keys(a: float) -> Kernel:
    """Keys' cubic convolution."""

    def kernel(g: Builder, x: gs.Tensor) -> gs.Tensor:
        near = _polynomial(g, x, (a + 2, -(a + 3), 0, 1))
        far = _polynomial(g, x, (a, -5 * a, 8 * a, -4 * a))
        return g.Where(g.Less(x, np.float32(1)), near, far)

    return kernel


def _polynomial(g: Builder, x: gs.Tensor, coefficients: tuple[float, ...]) -> gs.Tensor:
    """By Horner's rule, from the highest power."""
    highest, *rest = coefficients
    value = g.Mul(x, np.float32(highest))
    for coefficient in rest[:-1]:
        value = g.Mul(g.Add(value, np.float32(coefficient)) if coefficient else value, x)
    return g.Add(value, np.float32(rest[-1]))


def _lanczos(lobes: int) -> Kernel:
    """A sinc multiplied by a sinc that is `lobes` times as wide."""

    def kernel(g: Builder, x: gs.Tensor) -> gs.Tensor:
        angle = g.Mul(g.Max(x, np.float32(_SMALLEST)), np.float32(math.pi))
        waves = g.Mul(g.Sin(angle), g.Sin(g.Div(angle, np.float32(lobes))))
        return g.Div(g.Mul(waves, np.float32(lobes)), g.Mul(angle, angle))

    return kernel


_FILTERS: Final[Mapping[str, Callable[[Builder, Axis], gs.Tensor]]] = {
    "nearest": _nearest,
    "bilinear": functools.partial(_opencv, kernel=_triangle, reach=1),
    "bicubic": functools.partial(_opencv, kernel=_keys(-0.75), reach=2),
    "lanczos": _opencv_lanczos,
    "antialias-bilinear": functools.partial(_antialiased, kernel=_triangle, reach=1),
    "antialias-bicubic": functools.partial(_antialiased, kernel=_keys(-0.5), reach=2),
    "antialias-lanczos": functools.partial(_antialiased, kernel=_lanczos(3), reach=3),
}
