"""Gathering and scattering, slicing and padding: each is the gradient of the other.

Where one element is written several times without a reduction, ONNX does not define which value
stays, and the gradient is not defined either. Equal maxima (and minima) share it equally, as in
torch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp
from onnxplain.autodiff.scatter import positions, scatter_positions, scatter_rows


@vjp("Gather")
def gather(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    x, indices = s.inputs
    return scatter_rows(g, dy, indices, x, g.axis(x, s.attr("axis", 0)))


@vjp("GatherElements")
def gather_elements(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    axis = s.attr("axis", 0)
    return g.ScatterElements(g.zeros_like(s.x), s.inputs[1], dy, axis=axis, reduction="add")


@vjp("GatherND")
def gather_nd(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    taken = g.GatherND(positions(g, s.x), s.inputs[1], **s.attrs)
    return scatter_positions(g, dy, taken, s.x)


Put = Callable[[Tensor, Tensor, str], Tensor]
Take = Callable[[Tensor], Tensor]


@vjp("ScatterElements")
def scatter_elements(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    indices, axis = s.inputs[1], s.attr("axis", 0)

    def put(into: Tensor, values: Tensor, reduction: str) -> Tensor:
        return g.ScatterElements(into, indices, values, axis=axis, reduction=reduction)

    rule = _SCATTERED[s.attr("reduction", "none")]
    return rule(g, s, dy, put, lambda x: g.GatherElements(x, indices, axis=axis))


@vjp("ScatterND")
def scatter_nd(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    indices = s.inputs[1]

    def put(into: Tensor, values: Tensor, reduction: str) -> Tensor:
        if reduction == "none":
            return g.ScatterND(into, indices, values)
        places = g.GatherND(positions(g, s.x), indices)  # each is written once, so no sum is lost
        flat = (g.Reshape(part, [-1]) for part in (into, places, values))
        return g.like(g.ScatterElements(*flat, axis=0, reduction=reduction), s.x)

    rule = _SCATTERED[s.attr("reduction", "none")]
    return rule(g, s, dy, put, lambda x: g.GatherND(x, indices))


def _multiplied(g: GradientBuilder, s: NodeView, dy: Tensor, put: Put, take: Take) -> Gradients:
    """Each factor gets dy times the other factors: y / factor, or a product without the zeros."""
    data, _, updates = s.inputs
    zero = g.Equal(updates, F32(0))
    nonzero = g.Where(zero, F32(1), updates)
    others = g.Div(take(g.Mul(dy, put(data, nonzero, "mul"))), nonzero)
    zeros = put(g.zeros_like(data), g.as_float(zero), "add")
    other_zeros = g.Sub(take(zeros), g.as_float(zero))
    ones = g.Expand(F32(1), g.shape(data))
    d_updates = g.where(g.Equal(other_zeros, F32(0)), others)
    return g.Mul(dy, put(ones, updates, "mul")), None, d_updates


def _extremum(g: GradientBuilder, s: NodeView, dy: Tensor, put: Put, take: Take) -> Gradients:
    data, _, updates = s.inputs
    by_data = g.as_float(g.Equal(data, s.y))
    by_update = g.as_float(g.Equal(updates, take(s.y)))
    share = g.Div(dy, put(by_data, by_update, "add"))
    return g.Mul(by_data, share), None, g.Mul(by_update, take(share))


_SCATTERED: dict[str, Callable[[GradientBuilder, NodeView, Tensor, Put, Take], Gradients]] = {
    "none": lambda g, s, dy, put, take: (
        put(dy, g.zeros_like(s.inputs[2]), "none"),
        None,
        take(dy),
    ),
    "add": lambda g, s, dy, put, take: (dy, None, take(dy)),
    "mul": _multiplied,
    "max": _extremum,
    "min": _extremum,
}


@vjp("TensorScatter")
def tensor_scatter(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """The cache gets `dy` with zeros where the update was written; the update gets `dy` there."""
    past, update = s.inputs[:2]
    axis = g.axis(update, s.attr("axis", -2))
    d_past = g.TensorScatter(dy, g.zeros_like(update), *s.inputs[2:], **s.attrs)
    rows = g.Reshape(g.arange(g.dim(update, axis)), [-1] + [1] * (g.rank(update) - axis - 1))
    if s.input(2) is not None:
        rows = g.Add(rows, g.Reshape(s.inputs[2], [-1] + [1] * (g.rank(update) - 1)))
    if s.attr("mode", "linear") == "circular":
        rows = g.Mod(rows, g.dim(past, axis))
    return d_past, g.GatherElements(dy, g.Expand(rows, g.shape(update)), axis=axis)


@vjp("Compress")
def compress(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    x, condition = s.inputs
    taken = g.Reshape(g.NonZero(condition), [-1])
    axis = s.attr("axis")
    if axis is None:
        return scatter_positions(g, dy, taken, x)
    return scatter_rows(g, dy, taken, x, g.axis(x, axis))


@vjp("TopK")
def top_k(g: GradientBuilder, s: NodeView, dy: Tensor, _: None) -> Tensor:
    return g.ScatterElements(g.zeros_like(s.x), s.outputs[1], dy, axis=s.attr("axis", -1))


@vjp("OneHot")
def one_hot(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """`values` is (off, on): the gradient of each is the sum of `dy` over its elements."""
    on = g.OneHot(*s.inputs[:2], np.array([0, 1], np.float32), axis=s.attr("axis", -1))
    d_on = g.ReduceSum(g.Mul(dy, on), keepdims=0)
    d_off = g.Sub(g.ReduceSum(dy, keepdims=0), d_on)
    one = np.array([1])
    return None, None, g.Concat(g.Reshape(d_off, one), g.Reshape(d_on, one), axis=0)


@vjp("Range")
def range_(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """For y = start + i delta; the limit only sets the length and has no gradient."""
    steps = g.Sub(g.CumSum(g.Expand(F32(1), g.shape(s.y)), np.array(0)), F32(1))
    return g.ReduceSum(dy, keepdims=0), None, g.ReduceSum(g.Mul(dy, steps), keepdims=0)


@vjp("Slice")
def slice_(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """The node is run on the positions of the elements, to find where each was taken from."""
    taken = g.Slice(positions(g, s.x), *s.inputs[1:])
    return scatter_positions(g, dy, taken, s.x)


@vjp("Pad")
def pad_(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Modes that repeat elements use positions as in Slice; constant padding is cropped.

    Elements that the node cropped get zeros; the padding value gets the sum over the padding.
    """
    mode = s.attr("mode", "constant")
    if mode != "constant":
        taken = g.Pad(positions(g, s.x), *s.inputs[1:], mode=mode)
        return (scatter_positions(g, dy, taken, s.x),)
    dx = g.Pad(dy, g.Neg(g.resolved(s.inputs[1])), None, s.input(3))
    if s.input(2) is None:
        return (dx,)
    rest = g.Sub(g.ReduceSum(dy, keepdims=0), g.ReduceSum(dx, keepdims=0))
    return dx, None, g.like(rest, s.inputs[2])
