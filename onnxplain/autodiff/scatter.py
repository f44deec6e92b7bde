"""Putting a gradient back where its elements were taken from: zeros around, and scattering."""

from __future__ import annotations

from collections.abc import Mapping

from onnxplain.autodiff.rule import F32, GradientBuilder, Tensor
from onnxplain.transforms.builder import Value

Size = Value | int
"""A number of elements: an int, or int64 of the shape (1,)."""


def pad(g: GradientBuilder, x: Tensor, rank: int, pads: Mapping[int, tuple[Size, Size]]) -> Tensor:
    """Zeros before and after, by axis; a negative number of them takes elements away.

    Every axis is given its number: ONNX Runtime 1.31 moves a Transpose through a Pad that names
    its axes as if it named all of them.
    """
    before, after = zip(*(pads.get(axis, (0, 0)) for axis in range(rank)), strict=True)
    amounts = g.vector(*before, *after)
    known = g.value(amounts)
    return g.Pad(x, amounts) if known is None or known.any() else x


def positions(g: GradientBuilder, x: Tensor) -> Tensor:
    """The number of each element of a forward tensor in row-major order, in its shape."""
    return g.Reshape(g.arange(g.Size(x)), g.shape(x))


def scatter_positions(g: GradientBuilder, dy: Tensor, taken: Tensor, x: Tensor) -> Tensor:
    """Each element of `dy` added where it was taken from: at these positions in `x`.

    Not with ScatterND, which in ONNX Runtime 1.31 loses sums where indices are equal: several
    threads add to one place at the same time.
    """
    zeros = g.Expand(F32(0), g.Reshape(g.Size(x), [-1]))
    flat = (g.Reshape(value, [-1]) for value in (taken, dy))
    return g.like(g.ScatterElements(zeros, *flat, axis=0, reduction="add"), x)


def scatter_rows(g: GradientBuilder, dy: Tensor, rows: Tensor, x: Tensor, axis: int) -> Tensor:
    """Each slice of `dy` added where it was taken from: at these indices along an axis of `x`."""
    return scatter_positions(g, dy, g.Gather(positions(g, x), rows, axis=axis), x)
