"""Pools: maxima, averages and norms over windows or over the whole picture.

Where several elements of a window are the largest, the first one gets the gradient, as in torch.
"""

from __future__ import annotations

import numpy as np

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor, vjp
from onnxplain.autodiff.rules import window
from onnxplain.autodiff.rules.window import Back, Spread, Window
from onnxplain.autodiff.scatter import scatter_positions
from onnxplain.tensors import FloatArray

FLAT = np.array([-1])


@vjp("MaxPool")
def max_pool(g: GradientBuilder, s: NodeView, dy: Tensor, *_: Tensor | None) -> Tensor:
    """The gradient goes to the index of each maximum in the flattened input."""
    indices = row_major_indices(s)
    if indices is None:
        indices = g.many("MaxPool", 2, s.x, **{**s.attrs, "storage_order": 0})[1]
    padding = any(s.attr("pads", [])) or s.attr("auto_pad", "NOTSET") != "NOTSET"
    if padding and max(s.attr("dilations", [1])) > 1:
        # A window that is only padding has the index -1.
        dy = g.where(g.GreaterOrEqual(indices, np.array(0)), dy)
    return scatter_positions(g, dy, indices, s.x)


def row_major_indices(s: NodeView) -> Tensor | None:
    """The second output of a MaxPool; None where it is omitted or in column-major order."""
    given = len(s.node.output) > 1 and s.node.output[1] and not s.attr("storage_order", 0)
    return s.outputs[1] if given else None


@vjp("MaxUnpool")
def max_unpool(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    return g.Gather(g.Reshape(dy, FLAT), s.inputs[1], axis=0)


def spread_mean(
    g: GradientBuilder, s: NodeView, dy: Tensor, win: Window, *, spread: Spread = window.spread
) -> Tensor:
    """Each element of a window gets dy divided by the size of the kernel."""
    one_channel = g.vector(-1, 1, window.positions(g, s, win))
    return g.like(spread(g, s, g.Reshape(dy, one_channel), mean_kernel(win), win), s.x)


@vjp("AveragePool")
def average_pool(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    win = window.input_window(g, s)
    return spread_mean(g, s, weighted(g, s, dy, win), win)


def weighted(g: GradientBuilder, s: NodeView, dy: Tensor, win: Window) -> Tensor:
    """`dy` times the size of the kernel, divided by the divisor of each window.

    Their ratio is computed on ones: the node's average, divided by an average with the kernel size.
    """
    ones = ones_like_picture(g, s.x)
    outer, bare = window.padded(g, ones, win)
    # More padding gives the windows that ceil_mode adds; there may be one too many.
    pads = np.concatenate([bare.before, bare.after + bare.strides - 1]).tolist()
    mean = g.Conv(outer, mean_kernel(bare), pads=pads, **bare.form)
    mean = window.crop(g, mean, 0 * win.kernel, window.positions(g, s, win), win)
    least = mean_kernel(bare).ravel()[0]  # of a window with at least one element
    return g.Mul(dy, g.Div(g.AveragePool(ones, **s.attrs), g.Max(mean, least)))


def mean_kernel(win: Window) -> FloatArray:
    """A kernel for one channel that computes the mean, (1, 1, *kernel)."""
    return np.full((1, 1, *win.kernel), 1 / win.kernel.prod(), np.float32)


def ones_like_picture(g: GradientBuilder, x: Tensor) -> Tensor:
    """Ones of shape (1, 1, *spatial sizes of `x`)."""
    return g.Expand(F32(1), g.vector(1, 1, window.spatial_shape(g, x)))


@vjp("LpPool")
def lp_pool(g: GradientBuilder, s: NodeView, dy: Tensor, *, back: Back = spread_mean) -> Tensor:
    win = window.input_window(g, s)
    count, p = F32(win.kernel.prod()), s.attr("p", 2)
    return g.Mul(back(g, s, g.Mul(norm_part(g, s, dy, p), count), win), power(g, s, p))


@vjp("GlobalLpPool")
def global_lp_pool(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    p = s.attr("p", 2)
    return g.Mul(norm_part(g, s, dy, p), power(g, s, p))


def norm_part(g: GradientBuilder, s: NodeView, dy: Tensor, p: int) -> Tensor:
    """The quotient dy / y**(p-1), and 0 where the norm y is 0."""
    return dy if p == 1 else g.Mul(dy, g.Pow(g.inverse(s.y), F32(p - 1)))


def power(g: GradientBuilder, s: NodeView, p: int) -> Tensor:
    """sign(x) |x|**(p-1)."""
    if p == 2:
        return s.x
    return g.Mul(g.Sign(s.x), g.Pow(g.Abs(s.x), F32(p - 1)))


@vjp("GlobalAveragePool")
def global_average_pool(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    count = g.as_float(g.ReduceProd(window.spatial_shape(g, s.x)))
    return g.Mul(dy, g.Div(ones_like_picture(g, s.x), count))


@vjp("GlobalMaxPool")
def global_max_pool(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    rows = np.array([0, 0, -1])
    flat = g.Reshape(s.x, rows)
    places = g.arange(g.ReduceProd(window.spatial_shape(g, s.x)))
    first = g.Equal(places, g.ArgMax(flat, axis=2))
    return g.like(g.where(first, g.Reshape(dy, rows)), s.x)
