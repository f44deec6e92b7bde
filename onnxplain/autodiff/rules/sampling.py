"""Sampling at computed positions: GridSample, DeformConv, and AffineGrid, which computes positions.

A sample is a weighted sum of taps, the few elements around its position. The weight of a tap is a
product of one polynomial per axis: of degree 0 (nearest), 1 (linear) or 3 (cubic). Padding changes
the taps: a tap outside has the weight 0, or is replaced by an element inside.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp
from onnxplain.autodiff.rules.convolution import bias
from onnxplain.autodiff.rules.window import Window, input_window, spatial_shape
from onnxplain.transforms.builder import Operator

_A = -0.75
_WEIGHTS: dict[str, list[list[float]]] = {
    "nearest": [[1]],
    "linear": [[1, 0], [-1, 1]],
    "cubic": [
        [0, 1, 0, 0],
        [_A, 0, -_A, 0],
        [-2 * _A, -_A - 3, 2 * _A + 3, _A],
        [_A, _A + 2, -_A - 2, -_A],
    ],
}
"""Row i: the coefficients of the i-th power of a position's fraction, one for each tap."""

_MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""Names of GridSample's modes before opset 20, and the names since."""


@dataclass(frozen=True)
class Taps:
    """Taps along one axis: indices, weights and their derivatives, each (N, samples, taps)."""

    index: Tensor
    weight: Tensor
    slope: Tensor

    @classmethod
    def at(cls, g: GradientBuilder, places: Tensor, mode: str) -> Taps:
        """The taps around positions (N, samples) on an axis without limits."""
        weights = np.array(_WEIGHTS[mode], np.float32)
        order = np.arange(len(weights), dtype=np.float32)
        slopes = np.roll(order[:, None] * weights, -1, axis=0)
        near = g.Round(places) if mode == "nearest" else g.Floor(places)
        powers = g.Pow(g.Unsqueeze(g.Sub(places, near), [2]), order)
        offsets = np.arange(len(weights)) - (mode == "cubic")
        index = g.Add(g.Unsqueeze(g.Cast(near, to=TensorProto.INT64), [2]), offsets)
        return cls(index, g.MatMul(powers, weights), g.MatMul(powers, slopes))

    def padded(self, g: GradientBuilder, size: Tensor, padding: str, align: bool) -> Taps:
        """The same taps on an axis of `size` elements, with padding outside."""
        if padding == "reflection":  # at the centers or edges of the outermost elements
            period = g.Sub(g.Mul(size, [2]), [2 if align else 0])
            turned = g.Mod(self.index, g.Max(period, [1]))
            last = period if align else g.Sub(period, [1])
            return Taps(g.Min(turned, g.Sub(last, turned)), self.weight, self.slope)
        inside = g.Min(g.Max(self.index, [0]), g.Sub(size, [1]))
        if padding == "border":
            return Taps(inside, self.weight, self.slope)
        same = g.Equal(inside, self.index)
        return Taps(inside, g.where(same, self.weight), g.where(same, self.slope))


class Samples:
    """Samples of `x` (N, C, *sizes) at positions that are the same for all channels.

    Values and gradients of samples are (N, C, samples), gradients of positions (N, samples).
    """

    def __init__(
        self, g: GradientBuilder, x: Tensor, sizes: Sequence[Tensor], axes: Sequence[Taps]
    ) -> None:
        """Combine the taps of all axes to (N, samples, combinations)."""
        self._g, self._x, self._axes = g, x, axes
        index = axes[0].index
        for size, taps in zip(sizes[1:], axes[1:], strict=True):
            index = self._pairs(g.Add, g.Mul(index, size), taps.index)
        self._weight = self._product([taps.weight for taps in axes])
        self._flat = g.Reshape(x, [0, 0, -1])
        batch = g.Shape(x, end=2)
        rows = g.Reshape(index, [0, 1, -1])
        self._index = g.Expand(rows, g.Concat(batch, [1], axis=0))
        self._shape = g.Concat(batch, g.Shape(self._weight, start=1), axis=0)

    def values(self) -> Tensor:
        """The values of the samples."""
        return self._g.sum(self._weighted(self._taps()), [3], keepdims=False)

    def to_input(self, dy: Tensor) -> Tensor:
        """The gradient of `x`, from that of the samples."""
        g = self._g
        parts = g.Reshape(self._weighted(g.Unsqueeze(dy, [3])), [0, 0, -1])
        zeros = g.Expand(F32(0), g.Shape(self._flat))
        summed = g.ScatterElements(zeros, self._index, parts, axis=2, reduction="add")
        return g.Reshape(summed, g.Shape(self._x))

    def to_places(self, dy: Tensor) -> list[Tensor]:
        """The gradients of the positions, one for each axis."""
        g = self._g
        products = g.Mul(self._taps(), g.Unsqueeze(dy, [3]))
        effect = g.sum(products, [1], keepdims=False)
        gradients = []
        for moved in self._axes:
            slope = self._product([t.slope if t is moved else t.weight for t in self._axes])
            gradients.append(g.sum(g.Mul(effect, slope), [2], keepdims=False))
        return gradients

    def _taps(self) -> Tensor:
        """The elements of `x` at the taps, (N, C, samples, taps)."""
        elements = self._g.GatherElements(self._flat, self._index, axis=2)
        return self._g.Reshape(elements, self._shape)

    def _weighted(self, taps: Tensor) -> Tensor:
        return self._g.Mul(taps, self._g.Unsqueeze(self._weight, [1]))

    def _product(self, factors: Sequence[Tensor]) -> Tensor:
        return functools.reduce(functools.partial(self._pairs, self._g.Mul), factors)

    def _pairs(self, combine: Operator, a: Tensor, b: Tensor) -> Tensor:
        """Combine each tap of `a` with each tap of `b`."""
        g = self._g
        both = combine(g.Unsqueeze(a, [3]), g.Unsqueeze(b, [2]))
        return g.Reshape(both, [0, 0, -1])


@vjp("GridSample")
def grid_sample(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    x, grid = s.inputs
    rank = g.rank(x) - 2
    mode, padding = s.attr("mode", "linear"), s.attr("padding_mode", "zeros")
    align = s.attr("align_corners", 0) == 1
    sizes = [g.dim(x, 2 + axis) for axis in range(rank)]
    rows = g.Reshape(grid, [0, -1, rank])
    axes, stretches = [], []
    for axis, size in enumerate(sizes):  # coordinates are in the order x, y, z
        span = g.Sub(size, [1]) if align else size
        stretch = g.Div(g.as_float(span), F32(2))
        coordinate = g.Gather(rows, np.array(rank - 1 - axis), axis=2)
        place = g.Mul(g.Add(coordinate, F32(1)), stretch)
        if not align:
            place = g.Sub(place, F32(0.5))
        axes.append(Taps.at(g, place, _MODES.get(mode, mode)).padded(g, size, padding, align))
        stretches.append(stretch)
    samples = Samples(g, x, sizes, axes)
    dy = g.Reshape(dy, [0, 0, -1])
    dplaces = [g.Mul(d, k) for d, k in zip(samples.to_places(dy), stretches, strict=True)]
    columns = [g.Unsqueeze(d, [2]) for d in reversed(dplaces)]
    return samples.to_input(dy), g.like(g.Concat(*columns, axis=2), grid)


@vjp("AffineGrid")
def affine_grid(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    theta, size = s.inputs
    rank = g.rank(s.y) - 2
    # The grid for the identity transform is the coordinates that theta multiplies.
    one = g.Concat([1], g.Slice(size, [1], [2 + rank]), axis=0)
    base = g.AffineGrid(np.eye(rank, rank + 1, dtype=np.float32)[None], one, **s.attrs)
    base = g.Reshape(base, [1, -1, rank])
    base = g.Pad(base, [0, 0, 0, 0, 0, 1], F32(1))
    rows = g.Transpose(g.Reshape(dy, [0, -1, rank]), perm=[0, 2, 1])
    return g.like(g.MatMul(rows, base), theta)


@vjp("DeformConv")
def deform_conv(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Columns are samples times mask; the output is weights times columns.

    With D offset groups, G groups, kernels of K elements and P output positions, the columns are
    (N D, C/D, K P) like the samples, and (N, G, C/G K, P) for the weights (G, M/G, C/G K).
    """
    x, w, offset = s.inputs[:3]
    mask = s.input(4)
    win = input_window(g, s)
    groups, parts = (s.attr(name, 1) for name in ("group", "offset_group"))
    batches, count = g.Mul(g.dim(x, 0), [parts]), win.kernel.prod(keepdims=True)
    height = g.Mul(g.dim(w, 1), count)

    samples = _deformed(g, s, win, batches)
    weights = g.Reshape(w, g.vector(groups, -1, height))
    shown = F32(1) if mask is None else g.Reshape(mask, g.vector(batches, 1, -1))
    seen = samples.values()
    columns = g.Mul(seen, shown)
    columns = g.Reshape(columns, g.vector(g.dim(x, 0), groups, height, -1))

    dy_ = g.Reshape(dy, g.vector(g.dim(x, 0), groups, g.Div(g.dim(w, 0), [groups]), -1))
    dw = g.sum(g.MatMul(dy_, g.Transpose(columns, perm=[0, 1, 3, 2])), [0], keepdims=False)
    dcolumns = g.MatMul(g.Transpose(weights, perm=[0, 2, 1]), dy_)
    dcolumns = g.Reshape(dcolumns, g.vector(batches, g.Div(g.dim(x, 1), [parts]), -1))
    dsamples = g.Mul(dcolumns, shown)
    dmask = g.sum(g.Mul(dcolumns, seen), [1])
    dplaces = [
        g.Reshape(d, g.vector(-1, count, 1, spatial_shape(g, offset)))
        for d in samples.to_places(dsamples)
    ]
    return [
        g.like(samples.to_input(dsamples), x),
        g.like(dw, w),
        g.like(g.Concat(*dplaces, axis=2), offset),
        bias(g, dy, win),
        None if mask is None else g.like(dmask, mask),
    ]


def _deformed(g: GradientBuilder, s: NodeView, win: Window, batches: Tensor) -> Samples:
    """The samples at the kernel positions, before the mask; offset groups are part of the batch."""
    x, offset = s.inputs[0], s.inputs[2]
    area, count = spatial_shape(g, offset), win.kernel.prod(keepdims=True)
    moves = g.Reshape(offset, g.vector(-1, count, 2, area))
    sizes = [g.dim(x, 2), g.dim(x, 3)]
    axes = []
    for axis, size in enumerate(sizes):
        element = np.indices(win.kernel.tolist())[axis].reshape(-1, 1, 1) * win.dilations[axis]
        corner = g.Mul(g.arange(g.dim(offset, 2 + axis)), win.strides[axis])
        if axis == 0:
            corner = g.Unsqueeze(corner, [1])
        still = g.as_float(g.Add(corner, element - win.before[axis]))
        place = g.Add(g.Gather(moves, np.array(axis), axis=2), still)
        taps = Taps.at(g, g.Reshape(place, [0, -1]), "linear")
        axes.append(taps.padded(g, size, "zeros", align=False))
    grouped = g.Reshape(x, g.Concat(batches, [-1], *sizes, axis=0))
    return Samples(g, grouped, sizes, axes)
