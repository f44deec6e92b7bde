"""Putting a gradient back where its elements were taken from: sizes, zeros around, scattering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.transforms.builder import Value

Size: TypeAlias = int | gs.Tensor
"""A number of elements: an int where it is static, an int64 tensor (1,) where it is not."""


def static_size(g: GradientBuilder, x: gs.Tensor, axis: int) -> int | None:
    """The size of a forward tensor along an axis, None where it is known only at run time."""
    dims = g.dims(x)
    known = None if dims is None else dims[axis]
    return known if isinstance(known, int) else None


def size(g: GradientBuilder, x: gs.Tensor, axis: int) -> Size:
    """The size of a forward tensor along an axis."""
    known = static_size(g, x, axis)
    return g.dim(x, axis) if known is None else known


def minus(g: GradientBuilder, a: Size, b: Size) -> Size:
    """The difference of two sizes."""
    return a - b if isinstance(a, int) and isinstance(b, int) else g.Sub(a, b)


def times(g: GradientBuilder, a: Size, factor: int) -> Size:
    """A multiple of a size."""
    return a * factor if isinstance(a, int) else g.Mul(a, factor)


def vector(g: GradientBuilder, sizes: Sequence[Size]) -> Any:
    """Sizes in a row, int64: a constant where all are static."""
    if all(isinstance(one, int) for one in sizes):
        return np.array(sizes, np.int64)
    parts = [np.array([one], np.int64) if isinstance(one, int) else one for one in sizes]
    return g.Concat(*parts, axis=0)


def pad(
    g: GradientBuilder, x: gs.Tensor, rank: int, pads: Mapping[int, tuple[Size, Size]]
) -> gs.Tensor:
    """Zeros before and after, by axis; a negative number of them takes elements away.

    Every axis is given its number: ONNX Runtime 1.31 moves a Transpose through a Pad that names
    its axes as if it named all of them.
    """
    pairs = [pads.get(axis, (0, 0)) for axis in range(rank)]
    if all(isinstance(one, int) and one == 0 for pair in pairs for one in pair):
        return x
    before, after = zip(*pairs, strict=True)
    return g.Pad(x, vector(g, [*before, *after]))


def scalar(g: GradientBuilder, one: Size) -> Value:
    """A size as an int64 scalar."""
    return np.array(one, np.int64) if isinstance(one, int) else g.Squeeze(one)


def arange(g: GradientBuilder, stop: Size) -> gs.Tensor:
    """0, 1, ..., stop - 1 as int64."""
    return g.Range(np.int64(0), scalar(g, stop), np.int64(1))


def positions(g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
    """The number of each element of a forward tensor in row-major order, in its shape."""
    return g.Reshape(arange(g, g.Size(x)), g.shape(x))


def scatter_positions(
    g: GradientBuilder, dy: gs.Tensor, taken: gs.Tensor, x: gs.Tensor
) -> gs.Tensor:
    """Each element of `dy` added where it was taken from: at these positions in `x`.

    Not with ScatterND, which in ONNX Runtime 1.31 loses sums where indices are equal: several
    threads add to one place at the same time.
    """
    zeros = g.Expand(F32(0), g.Reshape(g.Size(x), np.array([-1])))
    flat = (g.Reshape(value, np.array([-1])) for value in (taken, dy))
    return g.like(g.ScatterElements(zeros, *flat, axis=0, reduction="add"), x)


def scatter_rows(
    g: GradientBuilder, dy: gs.Tensor, rows: gs.Tensor, x: gs.Tensor, axis: int
) -> gs.Tensor:
    """Each slice of `dy` added where it was taken from: at these indices along an axis of `x`."""
    return scatter_positions(g, dy, g.Gather(positions(g, x), rows, axis=axis), x)
