"""Gathering and scattering: each undoes the other.

Where one element is written several times without a reduction, ONNX leaves open which one stays;
so does the gradient. Equal maxima (and minima) share it evenly, as in torch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.scatter import (
    arange,
    positions,
    scatter_positions,
    scatter_rows,
    size,
)
from onnxplain.autodiff.table import vjp


@vjp("Gather")
def gather(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    x, indices = s.inputs
    return scatter_rows(g, dy, indices, x, g.axis(x, s.attr("axis", 0)))


@vjp("GatherElements")
def gather_elements(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    axis = s.attr("axis", 0)
    return g.ScatterElements(g.zeros_like(s.x), s.inputs[1], dy, axis=axis, reduction="add")


@vjp("GatherND")
def gather_nd(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    taken = g.GatherND(positions(g, s.x), s.inputs[1], **s.attrs)
    return scatter_positions(g, dy, taken, s.x)


Put = Callable[..., gs.Tensor]
Take = Callable[[gs.Tensor], gs.Tensor]


@vjp("ScatterElements")
def scatter_elements(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor
) -> tuple[gs.Tensor | None, ...]:
    indices, axis = s.inputs[1], s.attr("axis", 0)

    def put(into: gs.Tensor, values: gs.Tensor, reduction: str) -> gs.Tensor:
        return g.ScatterElements(into, indices, values, axis=axis, reduction=reduction)

    def take(x: gs.Tensor) -> gs.Tensor:
        return g.GatherElements(x, indices, axis=axis)

    return _SCATTERED[s.attr("reduction", "none")](g, s, dy, put, take)


@vjp("ScatterND")
def scatter_nd(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor | None, ...]:
    indices = s.inputs[1]

    def put(into: gs.Tensor, values: gs.Tensor, reduction: str) -> gs.Tensor:
        if reduction == "none":
            return g.ScatterND(into, indices, values)
        places = g.GatherND(positions(g, s.x), indices)  # several threads share none of them
        flat = (g.Reshape(part, np.array([-1])) for part in (into, places, values))
        return g.like(g.ScatterElements(*flat, axis=0, reduction=reduction), s.x)

    def take(x: gs.Tensor) -> gs.Tensor:
        return g.GatherND(x, indices)

    return _SCATTERED[s.attr("reduction", "none")](g, s, dy, put, take)


def _replaced(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, put: Put, take: Take
) -> tuple[gs.Tensor | None, ...]:
    return put(dy, g.zeros_like(s.inputs[2]), "none"), None, take(dy)


def _added(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, put: Put, take: Take
) -> tuple[gs.Tensor | None, ...]:
    return dy, None, take(dy)


def _multiplied(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, put: Put, take: Take
) -> tuple[gs.Tensor | None, ...]:
    """The product of the other factors: y / update, or that of those that are not 0."""
    data, _, updates = s.inputs
    zero = g.Equal(updates, F32(0))
    nonzero = g.Where(zero, F32(1), updates)
    others = g.Div(take(g.Mul(dy, put(data, nonzero, "mul"))), nonzero)
    zeros = put(g.zeros_like(data), g.indicator(zero), "add")
    other_zeros = g.Sub(take(zeros), g.indicator(zero))
    ones = g.Expand(F32(1), g.shape(data))
    d_updates = g.where(g.Equal(other_zeros, F32(0)), others)
    return g.Mul(dy, put(ones, updates, "mul")), None, d_updates


def _extremum(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, put: Put, take: Take
) -> tuple[gs.Tensor | None, ...]:
    data, _, updates = s.inputs
    by_data = g.indicator(g.Equal(data, s.y))
    by_update = g.indicator(g.Equal(updates, take(s.y)))
    share = g.Div(dy, put(by_data, by_update, "add"))
    return g.Mul(by_data, share), None, g.Mul(by_update, take(share))


_SCATTERED = {
    "none": _replaced,
    "add": _added,
    "mul": _multiplied,
    "max": _extremum,
    "min": _extremum,
}


@vjp("TensorScatter")
def tensor_scatter(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    """The cache's gradient with zeros written over it, and what they are written over."""
    past, update = s.inputs[:2]
    axis = g.axis(update, s.attr("axis", -2))
    d_past = g.TensorScatter(dy, g.zeros_like(update), *s.inputs[2:], **s.attrs)
    rows = g.Reshape(arange(g, size(g, update, axis)), [-1] + [1] * (g.rank(update) - axis - 1))
    if s.input(2) is not None:
        rows = g.Add(rows, g.Reshape(s.inputs[2], [-1] + [1] * (g.rank(update) - 1)))
    if s.attr("mode", "linear") == "circular":
        rows = g.Mod(rows, g.dim(past, axis))
    return d_past, g.GatherElements(dy, g.Expand(rows, g.shape(update)), axis=axis)


@vjp("Compress")
def compress(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    x, condition = s.inputs
    taken = g.Reshape(g.NonZero(condition), np.array([-1]))
    axis = s.attr("axis")
    if axis is None:
        return scatter_positions(g, dy, taken, x)
    return scatter_rows(g, dy, taken, x, g.axis(x, axis))


@vjp("TopK")
def top_k(g: GradientBuilder, s: NodeView, dy: gs.Tensor, _: None) -> gs.Tensor:
    return g.ScatterElements(g.zeros_like(s.x), s.outputs[1], dy, axis=s.attr("axis", -1))


@vjp("OneHot")
def one_hot(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor | None, ...]:
    """The values are (off, on): each is what all its elements sum to."""
    on = g.OneHot(*s.inputs[:2], np.array([0, 1], np.float32), axis=s.attr("axis", -1))
    d_on = g.ReduceSum(g.Mul(dy, on), keepdims=0)
    d_off = g.Sub(g.ReduceSum(dy, keepdims=0), d_on)
    one = np.array([1])
    return None, None, g.Concat(g.Reshape(d_off, one), g.Reshape(d_on, one), axis=0)


@vjp("Range")
def range_(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor | None, ...]:
    """Of start + i delta; the limit only decides how many there are."""
    steps = g.Sub(g.CumSum(g.Expand(F32(1), g.shape(s.y)), np.array(0)), F32(1))
    return g.ReduceSum(dy, keepdims=0), None, g.ReduceSum(g.Mul(dy, steps), keepdims=0)
