"""Pools over regions of interest: RoiAlign and MaxRoiPool.

The regions get no gradient, as in torchvision. In shapes N is the number of pictures and R the
number of regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor, vjp
from onnxplain.transforms.builder import Operator


@dataclass(frozen=True)
class Points:
    """Positions on one axis of the picture, (R, bins, positions in a bin).

    Bins differ in their number of positions, so smaller ones are padded: `used` is True for real
    positions, and `weight` is 0 for padding.
    """

    place: Tensor
    weight: Tensor
    used: Tensor


@vjp("RoiAlign")
def roi_align(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    regions = g.Concat(s.inputs[1], np.array([[0, 0, 1, 1]], np.float32), axis=0)
    batch = g.Concat(s.inputs[2], [0], axis=0)
    rows, columns = (_samples(g, s, regions, axis) for axis in (0, 1))
    if s.attr("mode", "avg") == "avg":
        return _from_averages(g, s, _with_idle_row(g, dy), batch, rows, columns)
    # As in ONNX Runtime: the largest of the four products of a bilinear sample.
    corners = [_corners(g, g.dim(s.x, 2 + axis), p) for axis, p in enumerate((rows, columns))]
    return _from_maxima(g, s, _with_idle_row(g, dy), batch, *corners)


@vjp("MaxRoiPool")
def max_roi_pool(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    regions = g.Concat(s.inputs[1], np.array([[0, 0, 0, 1, 1]], np.float32), axis=0)
    batch = g.Cast(g.Gather(regions, np.array(0), axis=1), to=TensorProto.INT64)
    rows, columns = (_elements(g, s, regions, axis) for axis in (0, 1))
    return _from_maxima(g, s, _with_idle_row(g, dy), batch, rows, columns)


def _with_idle_row(g: GradientBuilder, dy: Tensor) -> Tensor:
    """`dy` with a zero row for an added region: most operators fail with no region at all."""
    return g.Pad(dy, [0, 0, 0, 0, 1, 0, 0, 0])


def _samples(g: GradientBuilder, s: NodeView, regions: Tensor, axis: int) -> Points:
    """The positions that RoiAlign samples on an axis; the weights of a bin give its mean."""
    bins = s.attr(("output_height", "output_width")[axis], 1)
    half_pixel = s.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    begin, end = (
        g.Sub(_bound(g, s, regions, column), F32(0.5 if half_pixel else 0))
        for column in (1 - axis, 3 - axis)
    )
    length = g.Sub(end, begin)
    step = g.Div(length if half_pixel else g.Max(length, F32(1)), F32(bins))
    ratio = s.attr("sampling_ratio", 0)
    count = g.Expand(F32(ratio), g.Shape(step)) if ratio else g.Ceil(step)
    number = _numbers(g, count)
    divisor = g.Max(count, F32(1))
    bin_ = np.arange(bins, dtype=np.float32)[:, None]
    fraction = g.Div(g.Add(number, F32(0.5)), divisor)
    place = g.Add(begin, g.Mul(g.Add(fraction, bin_), step))

    size = g.as_float(g.dim(s.x, 2 + axis))
    near = g.And(g.GreaterOrEqual(place, F32(-1)), g.LessOrEqual(place, size))
    used = g.Less(number, count)
    weight = g.Where(g.And(near, used), g.Reciprocal(divisor), F32(0))
    return Points(g.Min(g.Max(place, F32(0)), g.Sub(size, F32(1))), weight, used)


def _elements(g: GradientBuilder, s: NodeView, regions: Tensor, axis: int) -> Points:
    """The elements of each bin of MaxRoiPool along an axis."""
    bins = s.attr("pooled_shape")[axis]
    begin, end = (
        g.Floor(g.Add(_bound(g, s, regions, column), F32(0.5))) for column in (2 - axis, 4 - axis)
    )
    step = g.Div(g.Max(g.Add(g.Sub(end, begin), F32(1)), F32(1)), F32(bins))
    size = g.as_float(g.dim(s.x, 2 + axis))
    bin_ = np.arange(bins, dtype=np.float32)[:, None]
    first, last = (
        g.Min(g.Max(g.Add(rounded, begin), F32(0)), size)
        for rounded in (g.Floor(g.Mul(bin_, step)), g.Ceil(g.Mul(bin_ + F32(1), step)))
    )
    number = _numbers(g, g.Sub(last, first))
    place = g.Add(first, number)
    used = g.Less(place, last)
    inside = g.Min(place, g.Sub(size, F32(1)))
    return Points(g.Cast(inside, to=TensorProto.INT64), g.as_float(used), used)


def _bound(g: GradientBuilder, s: NodeView, regions: Tensor, column: int) -> Tensor:
    """One side of each region, (R, 1, 1), in elements of the picture."""
    side = g.Unsqueeze(g.Gather(regions, [column], axis=1), [2])
    return g.Mul(side, F32(s.attr("spatial_scale", 1.0)))


def _numbers(g: GradientBuilder, counts: Tensor) -> Tensor:
    """0, 1, 2 ... up to the largest count, without it."""
    return g.Range(F32(0), g.ReduceMax(counts, keepdims=0), F32(1))


def _corners(g: GradientBuilder, size: Tensor, points: Points) -> Points:
    """The two elements around each position, and their weights in linear interpolation."""
    low = g.Floor(points.place)
    share = g.Sub(points.place, low)
    index = g.Cast(low, to=TensorProto.INT64)
    after = g.Min(g.Add(index, [1]), g.Sub(size, [1]))
    near = g.as_float(g.Greater(points.weight, F32(0)))
    return Points(
        g.Concat(index, after, axis=2),
        g.Concat(g.Mul(near, g.Sub(F32(1), share)), g.Mul(near, share), axis=2),
        g.Concat(points.used, points.used, axis=2),
    )


def _from_averages(
    g: GradientBuilder, s: NodeView, dy: Tensor, batch: Tensor, rows: Points, columns: Points
) -> Tensor:
    """The gradient of x, by the transposed interpolation matrices of rows and columns."""
    pictures, channels, height, width = (g.dim(s.x, axis) for axis in range(4))
    down = _matrix(g, height, rows)  # (R, bins, H)
    wide = g.MatMul(dy, g.Unsqueeze(_matrix(g, width, columns), [1]))
    bins = g.Mul(g.Shape(down, end=1), g.Shape(down, start=1, end=2))
    wide = g.Transpose(wide, perm=[0, 2, 1, 3])
    wide = g.Reshape(wide, g.vector(bins, g.Mul(channels, width)))
    own = g.as_float(g.Equal(g.Unsqueeze(g.arange(pictures), [1, 2, 3]), g.Unsqueeze(batch, [1])))
    down = g.Mul(own, g.Transpose(down, perm=[2, 0, 1]))  # (N, H, R, bins)
    down = g.Reshape(down, g.vector(g.Mul(pictures, height), bins))
    summed = g.Reshape(g.MatMul(down, wide), g.vector(pictures, height, channels, width))
    return g.Transpose(summed, perm=[0, 2, 1, 3])


def _matrix(g: GradientBuilder, size: Tensor, points: Points) -> Tensor:
    """The weight of each element of an axis in each bin, (R, bins, size)."""
    number = g.as_float(g.arange(size))
    distance = g.Abs(g.Sub(g.Unsqueeze(points.place, [3]), number))
    share = g.Max(g.Sub(F32(1), distance), F32(0))
    mean = g.MatMul(g.Unsqueeze(points.weight, [2]), share)
    return g.Squeeze(mean, [2])


def _from_maxima(
    g: GradientBuilder, s: NodeView, dy: Tensor, batch: Tensor, rows: Points, columns: Points
) -> Tensor:
    """The gradient of x: each bin gives `dy` to the element with the largest weighted value."""
    pictures, channels, height, width = (g.dim(s.x, axis) for axis in range(4))
    area = g.vector(channels, -1)
    flat = g.Reshape(g.Transpose(s.x, perm=[1, 0, 2, 3]), area)
    line = g.Add(g.Mul(g.Unsqueeze(batch, [1, 2]), height), rows.place)
    index = _pairs(g, g.Add, g.Mul(line, width), columns.place)
    weight = _pairs(g, g.Mul, rows.weight, columns.weight)
    used = _pairs(g, g.And, rows.used, columns.used)
    products = g.Mul(g.Gather(flat, index, axis=1), weight)
    compared = g.Where(used, products, F32(np.finfo(np.float32).min))
    winner = g.ArgMax(compared, axis=4)
    index, weight = (
        g.GatherElements(g.Expand(each, g.Shape(compared)), winner, axis=4)
        for each in (index, weight)
    )
    dy = g.Unsqueeze(g.Transpose(dy, perm=[1, 0, 2, 3]), [4])
    parts = g.Reshape(g.Mul(dy, weight), area)
    zeros = g.Expand(F32(0), g.Shape(flat))
    summed = g.ScatterElements(zeros, g.Reshape(index, area), parts, axis=1, reduction="add")
    summed = g.Reshape(summed, g.vector(channels, pictures, height, width))
    return g.Transpose(summed, perm=[1, 0, 2, 3])


def _pairs(g: GradientBuilder, combine: Operator, rows: Tensor, columns: Tensor) -> Tensor:
    """Combine (R, bin rows, a) and (R, bin columns, b) to (R, bin rows, bin columns, a b)."""
    down = g.Unsqueeze(rows, [2, 4])
    across = g.Unsqueeze(columns, [1, 3])
    return g.Reshape(combine(down, across), [0, 0, 0, -1])
