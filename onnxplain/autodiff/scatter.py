"""Moves the elements of a gradient to where they were taken from: zero padding and scattering."""

from __future__ import annotations

from collections.abc import Mapping

from onnxplain.autodiff.rule import F32, GradientBuilder, Tensor
from onnxplain.transforms.builder import Value

Size = Value | int
"""A number of elements: an int, or int64 of the shape (1,)."""


def pad(g: GradientBuilder, x: Tensor, rank: int, pads: Mapping[int, tuple[Size, Size]]) -> Tensor:
    """Pad with zeros; `pads` are numbers before and after, by axis. Negative numbers crop.

    The Pad node states all axes: where a Pad states only some axes, ONNX Runtime 1.31 moves a
    Transpose through it as if it stated all.
    """
    before, after = zip(*(pads.get(axis, (0, 0)) for axis in range(rank)), strict=True)
    amounts = g.vector(*before, *after)
    known = g.value(amounts)
    return g.Pad(x, amounts) if known is None or known.any() else x


def positions(g: GradientBuilder, x: Tensor) -> Tensor:
    """The row-major index of each element of a forward tensor, int64, in its shape."""
    return g.sized(g.arange(g.Size(x)), g.shape(x))


def scatter_positions(g: GradientBuilder, dy: Tensor, taken: Tensor, x: Tensor) -> Tensor:
    """Zeros in the shape of `x`, with each element of `dy` added at its position in `taken`.

    This does not use ScatterND: in ONNX Runtime 1.31 its sums are wrong where indices are equal,
    because several threads add to one element at the same time.
    """
    zeros = g.Expand(F32(0), g.Reshape(g.Size(x), [-1]))
    flat = (g.Reshape(value, [-1]) for value in (taken, dy))
    return g.like(g.ScatterElements(zeros, *flat, axis=0, reduction="add"), x)


def scatter_rows(g: GradientBuilder, dy: Tensor, rows: Tensor, x: Tensor, axis: int) -> Tensor:
    """Zeros in the shape of `x`, with each slice of `dy` added at its index in `rows` on `axis`."""
    return scatter_positions(g, dy, g.Gather(positions(g, x), rows, axis=axis), x)
