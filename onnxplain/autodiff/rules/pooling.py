"""Pools: maxima, averages and norms over windows, over regions, or over the whole picture.

Where several elements of a window are the largest, the first one takes the gradient, as in torch.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.window import (
    Back,
    Spread,
    Window,
    crop,
    input_window,
    padded,
    positions,
    spatial_shape,
    spread,
)
from onnxplain.autodiff.scatter import scatter_positions
from onnxplain.autodiff.table import vjp
from onnxplain.tensors import FloatArray

FLAT = np.array([-1])


@vjp("MaxPool")
def max_pool(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor | None, *_: gs.Tensor | None
) -> gs.Tensor | None:
    """To where in the flattened input each maximum comes from."""
    if dy is None:
        return None
    indices = row_major_indices(s)
    if indices is None:
        indices = g.many("MaxPool", 2, s.x, **{**s.attrs, "storage_order": 0})[1]
    padding = any(s.attr("pads", [])) or s.attr("auto_pad", "NOTSET") != "NOTSET"
    if padding and max(s.attr("dilations", [1])) > 1:
        # A window that lies in the padding alone has the index -1.
        dy = g.where(g.GreaterOrEqual(indices, np.array(0)), dy)
    return scatter_positions(g, dy, indices, s.x)


def row_major_indices(s: NodeView) -> gs.Tensor | None:
    """The second output of a MaxPool, None where there is none or it counts columns first."""
    given = len(s.node.output) > 1 and s.node.output[1] and not s.attr("storage_order", 0)
    return s.outputs[1] if given else None


@vjp("MaxUnpool")
def max_unpool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    return g.Gather(g.Reshape(dy, FLAT), s.inputs[1], axis=0)


def spread_mean(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, win: Window, *, spread: Spread = spread
) -> gs.Tensor:
    """To each element of a window, dy over the size of the kernel."""
    one_channel = g.Concat(np.array([-1, 1]), positions(g, s, win), axis=0)
    return g.like(spread(g, s, g.Reshape(dy, one_channel), mean_kernel(win), win), s.x)


@vjp("AveragePool")
def average_pool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    win = input_window(g, s)
    return spread_mean(g, s, weighted(g, s, dy, win), win)


def weighted(g: GradientBuilder, s: NodeView, dy: gs.Tensor, win: Window) -> gs.Tensor:
    """The size of the kernel over what each window is divided by, times `dy`.

    From ones: the node's own average, over one that divides by the size of the kernel.
    """
    ones = ones_like_picture(g, s.x)
    outer, bare = padded(g, ones, win)
    # Further padding makes the windows that ceil_mode adds; there may be one too many.
    pads = np.concatenate([bare.before, bare.after + bare.strides - 1]).tolist()
    mean = g.Conv(outer, mean_kernel(bare), pads=pads, **bare.form)
    mean = crop(g, mean, 0 * win.kernel, positions(g, s, win), win)
    least = mean_kernel(bare).ravel()[0]  # of a window that holds anything
    return g.Mul(dy, g.Div(g.AveragePool(ones, **s.attrs), g.Max(mean, least)))


def mean_kernel(win: Window) -> FloatArray:
    """A kernel of one channel that averages."""
    size = math.prod(win.kernel.tolist())
    return np.full((1, 1, *win.kernel), 1 / size, np.float32)


def ones_like_picture(g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
    """Ones of the spatial shape of `x`, for one sample and one channel."""
    return g.Expand(F32(1), g.Concat(np.array([1, 1]), spatial_shape(g, x), axis=0))


@vjp("LpPool")
def lp_pool(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, *, back: Back = spread_mean
) -> gs.Tensor:
    win = input_window(g, s)
    count = F32(math.prod(win.kernel.tolist()))
    p = s.attr("p", 2)
    return g.Mul(back(g, s, g.Mul(norm_part(g, s, dy, p), count), win), power(g, s, p))


@vjp("GlobalLpPool")
def global_lp_pool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    p = s.attr("p", 2)
    return g.Mul(norm_part(g, s, dy, p), power(g, s, p))


def norm_part(g: GradientBuilder, s: NodeView, dy: gs.Tensor, p: int) -> gs.Tensor:
    """The quotient dy / y**(p-1); 0 where the norm is 0."""
    return dy if p == 1 else g.Mul(dy, g.Pow(g.inverse(s.y), F32(p - 1)))


def power(g: GradientBuilder, s: NodeView, p: int) -> gs.Tensor:
    """sign(x) |x|**(p-1)."""
    if p == 2:
        return s.x
    return g.Mul(g.Sign(s.x), g.Pow(g.Abs(s.x), F32(p - 1)))


@vjp("GlobalAveragePool")
def global_average_pool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    count = g.Cast(g.ReduceProd(spatial_shape(g, s.x)), to=TensorProto.FLOAT)
    return g.Mul(dy, g.Div(ones_like_picture(g, s.x), count))


@vjp("GlobalMaxPool")
def global_max_pool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    rows = np.array([0, 0, -1])
    flat = g.Reshape(s.x, rows)
    places = g.Range(np.array(0), g.ReduceProd(spatial_shape(g, s.x), keepdims=0), np.array(1))
    first = g.Equal(places, g.ArgMax(flat, axis=2))
    return g.like(g.where(first, g.Reshape(dy, rows)), s.x)
