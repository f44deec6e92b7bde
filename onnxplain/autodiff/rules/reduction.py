"""Reductions, cumulative sums and products.

Equal maxima (and minima) share the gradient equally, as in torch's `amax`. Gradients of products
are correct where elements are 0. A norm of only zeros has the gradient 0.
"""

from __future__ import annotations

import math
from typing import Any

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor, vjp, vjps
from onnxplain.transforms.builder import Operator


def kept(g: GradientBuilder, s: NodeView, reduced: Tensor) -> Tensor:
    """`reduced`, of the shape of the output, with size 1 at the reduced axes."""
    axes = s.input(1)
    if s.attr("keepdims", 1) or axes is None:
        return reduced  # a scalar broadcasts as well
    return g.Unsqueeze(reduced, axes)


def spread(g: GradientBuilder, s: NodeView, reduced: Tensor) -> Tensor:
    """`reduced`, of the shape of the output, repeated to the shape of the input."""
    return g.Expand(kept(g, s, reduced), g.shape(s.x))


def over_axes(reduce: Operator, s: NodeView, x: Tensor) -> Tensor:
    """`reduce` over the axes of the node, with keepdims."""
    return reduce(x, s.input(1), keepdims=1, noop_with_empty_axes=s.attr("noop_with_empty_axes", 0))


def count(g: GradientBuilder, s: NodeView) -> Any:
    """The number of elements that are reduced to one, as float32."""
    dims = g.dims(s.x)
    axes = [] if s.input(1) is None else g.ints(s.input(1))
    if dims is not None and axes is not None:
        every = [] if s.attr("noop_with_empty_axes", 0) else range(len(dims))
        sizes = [size for axis in axes or every if isinstance(size := dims[axis], int)]
        if len(sizes) == len(axes or every):
            return F32(math.prod(sizes))
    return g.as_float(g.Div(g.Size(s.x), g.Size(s.y)))


vjps(
    {
        "ReduceL1": lambda g, s, dy: g.Mul(kept(g, s, dy), g.Sign(s.x)),
        "ReduceL2": lambda g, s, dy: g.Mul(kept(g, s, g.Mul(dy, g.inverse(s.y))), s.x),
        "ReduceLogSum": lambda g, s, dy: spread(g, s, g.Div(dy, g.Exp(s.y))),
        "ReduceLogSumExp": lambda g, s, dy: g.Mul(
            kept(g, s, dy), g.Exp(g.Sub(s.x, kept(g, s, s.y)))
        ),
        "ReduceMean": lambda g, s, dy: spread(g, s, g.Div(dy, count(g, s))),
        "ReduceSum": spread,
        "ReduceSumSquare": lambda g, s, dy: g.Mul(kept(g, s, g.Mul(dy, F32(2))), s.x),
    }
)


@vjp("ReduceMax", "ReduceMin")
def reduce_extremum(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    reached = g.as_float(g.Equal(s.x, kept(g, s, s.y)))
    return g.Mul(reached, g.Div(kept(g, s, dy), over_axes(g.ReduceSum, s, reached)))


@vjp("ReduceProd")
def reduce_prod(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """The product of the other elements is y / x; for a single 0 it is that of the non-zeros."""
    zero = g.Equal(s.x, F32(0))
    nonzero = over_axes(g.ReduceProd, s, g.Where(zero, F32(1), s.x))
    zeros = over_axes(g.ReduceSum, s, g.as_float(zero))
    at_zero = g.where(g.Equal(zeros, F32(1)), nonzero)
    return g.Mul(kept(g, s, dy), g.Where(zero, at_zero, g.Div(kept(g, s, s.y), s.x)))


@vjp("CumProd")
def cum_prod(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """As for ReduceProd, summed over the products that contain an element."""
    zero = g.Equal(s.x, F32(0))
    nonzero = g.CumProd(g.Where(zero, F32(1), s.x), s.inputs[1], **s.attrs)
    zeros = g.CumSum(g.as_float(zero), s.inputs[1], **s.attrs)
    at_zero = g.where(g.Equal(zeros, F32(1)), nonzero)
    through_zero = cum_sum(g, s, g.Mul(dy, at_zero))
    return g.Where(zero, through_zero, g.Div(cum_sum(g, s, g.Mul(dy, s.y)), s.x))


@vjp("CumSum")
def cum_sum(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """The sum of `dy` over the outputs that contain an element."""
    exclusive, reverse = s.attr("exclusive", 0), s.attr("reverse", 0)
    return g.CumSum(dy, s.inputs[1], exclusive=exclusive, reverse=1 - reverse)
