"""Pools: maxima, averages and norms over windows, over regions, or over the whole picture.

Where several elements of a window are the largest, the first one takes the gradient, as in torch.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.calculus import F32, Calculus
from onnxplain.autodiff.registry import vjp
from onnxplain.autodiff.rules.window import (
    Window,
    crop,
    input_window,
    known_sizes,
    padded,
    positions,
    spatial_shape,
    spread,
)
from onnxplain.autodiff.step import Step
from onnxplain.tensors import FloatArray

FLAT = np.array([-1])


@vjp("MaxPool")
def max_pool(g: Calculus, s: Step, dy: gs.Tensor | None, *_: gs.Tensor | None) -> gs.Tensor | None:
    if dy is None:
        return None
    indices = winners(g, s)
    if _may_miss(s):  # a window that lies in the padding alone has the index -1
        dy = g.where(g.GreaterOrEqual(indices, np.array(0)), dy)
    zeros = g.Expand(F32(0), g.Reshape(g.Size(s.x), FLAT))
    # ScatterND would be as fast, but loses sums at equal indices on several threads.
    summed = g.ScatterElements(
        zeros, g.Reshape(indices, FLAT), g.Reshape(dy, FLAT), axis=0, reduction="add"
    )
    return g.like(summed, s.x)


def winners(g: Calculus, s: Step) -> gs.Tensor:
    """Where in the flattened input each maximum comes from: from the node itself, or its twin."""
    if len(s.node.output) > 1 and s.node.output[1] and not s.attr("storage_order", 0):
        return s.outputs[1]
    return g.many("MaxPool", 2, s.x, **{**s.attrs, "storage_order": 0})[1]


def _may_miss(s: Step) -> bool:
    dilated = max(s.attr("dilations", [1])) > 1
    return dilated and (any(s.attr("pads", [])) or s.attr("auto_pad", "NOTSET") != "NOTSET")


@vjp("MaxUnpool")
def max_unpool(g: Calculus, s: Step, dy: gs.Tensor) -> gs.Tensor:
    return g.Gather(g.Reshape(dy, FLAT), s.inputs[1], axis=0)


@vjp("AveragePool")
def average_pool(g: Calculus, s: Step, dy: gs.Tensor) -> gs.Tensor:
    win = input_window(g, s, s.attr("kernel_shape"))
    if not _even(g, s, win):
        dy = g.Mul(dy, _weight(g, s, win))
    return spread_mean(g, s, dy, win)


def _even(g: Calculus, s: Step, win: Window) -> bool:
    """Whether every window is divided by the size of the kernel."""
    counts_all = s.attr("count_include_pad", 0) == 1 and not _overhangs(g, s, win)
    return counts_all or _whole(g, s, win)


def _whole(g: Calculus, s: Step, win: Window) -> bool:
    """Whether every window lies within the input."""
    return win.static and not win.pads.any() and not _overhangs(g, s, win)


def _overhangs(g: Calculus, s: Step, win: Window) -> bool:
    """Whether the last windows may reach beyond the padded input."""
    if not s.attr("ceil_mode", 0) or win.dense:
        return False
    sizes = known_sizes(g, s.x)
    if sizes is None or not win.static:
        return True
    return bool(((sizes + win.before + win.after - win.spans) % win.strides).any())


def _weight(g: Calculus, s: Step, win: Window) -> gs.Tensor:
    """The size of the kernel over what each window is divided by, (1, 1, *positions).

    From ones: the node's own average, over one that divides by the size of the kernel.
    """
    ones = ones_like_picture(g, s.x)
    outer, bare = padded(g, ones, win)
    # Further padding makes the windows that ceil_mode adds; there may be one too many.
    pads = np.concatenate([bare.before, bare.after + bare.strides - 1]).tolist()
    mean = g.Conv(outer, mean_kernel(bare), pads=pads, **bare.form)
    mean = crop(g, mean, 0 * win.kernel, positions(g, s, win), win)
    least = mean_kernel(bare).ravel()[0]  # of a window that holds anything
    return g.Div(g.AveragePool(ones, **s.attrs), g.Max(mean, least))


def spread_mean(g: Calculus, s: Step, dy: gs.Variable, win: Window) -> gs.Tensor:
    """To each element of a window, dy over the size of the kernel."""
    compact = (win.dilations == 1).all()
    if compact and win.dense:
        form = {"kernel_shape": win.kernel.tolist(), "pads": win.margins.tolist()}
        return g.AveragePool(dy, **form, count_include_pad=1)
    if compact and (win.strides == win.kernel).all() and _whole(g, s, win):
        return _repeated(g, s, dy, win)
    one_channel = g.Concat(np.array([-1, 1]), positions(g, s, win), axis=0)
    summed = spread(g, g.Reshape(dy, one_channel), mean_kernel(win), win, s)
    return g.like(summed, s.x)


def _repeated(g: Calculus, s: Step, dy: gs.Variable, win: Window) -> gs.Tensor:
    """The same where windows lie side by side: each element repeated."""
    scales = np.array([1, 1, *win.kernel], np.float32)
    repeated = g.Resize(
        g.Mul(dy, mean_kernel(win).ravel()[0]),
        gs.Variable.empty(),
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    sizes = known_sizes(g, s.x)
    if sizes is not None and not (sizes % win.kernel).any():
        return repeated
    rest = g.Mod(spatial_shape(g, s.x), win.kernel)
    return g.Pad(repeated, g.Concat(np.zeros(4 + len(win.kernel), np.int64), rest, axis=0))


def mean_kernel(win: Window) -> FloatArray:
    """A kernel of one channel that averages."""
    size = math.prod(win.kernel.tolist())
    return np.full((1, 1, *win.kernel), 1 / size, np.float32)


def ones_like_picture(g: Calculus, x: gs.Variable) -> gs.Tensor:
    """Ones of the spatial shape of `x`, for one sample and one channel."""
    return g.Expand(F32(1), g.Concat(np.array([1, 1]), spatial_shape(g, x), axis=0))


@vjp("LpPool")
def lp_pool(g: Calculus, s: Step, dy: gs.Tensor) -> gs.Tensor:
    win = input_window(g, s, s.attr("kernel_shape"))
    count = F32(math.prod(win.kernel.tolist()))
    p = s.attr("p", 2)
    return g.Mul(spread_mean(g, s, g.Mul(norm_part(g, s, dy, p), count), win), power(g, s, p))


@vjp("GlobalLpPool")
def global_lp_pool(g: Calculus, s: Step, dy: gs.Tensor) -> gs.Tensor:
    p = s.attr("p", 2)
    return g.Mul(norm_part(g, s, dy, p), power(g, s, p))


def norm_part(g: Calculus, s: Step, dy: gs.Variable, p: int) -> gs.Tensor:
    """The quotient dy / y**(p-1); 0 where the norm is 0."""
    return dy if p == 1 else g.Mul(dy, g.Pow(g.inverse(s.y), F32(p - 1)))


def power(g: Calculus, s: Step, p: int) -> gs.Tensor:
    """sign(x) |x|**(p-1)."""
    if p == 2:
        return s.x
    return g.Mul(g.Sign(s.x), g.Pow(g.Abs(s.x), F32(p - 1)))


@vjp("GlobalAveragePool")
def global_average_pool(g: Calculus, s: Step, dy: gs.Tensor) -> gs.Tensor:
    count = g.Cast(g.ReduceProd(spatial_shape(g, s.x)), to=TensorProto.FLOAT)
    # Multiplying by a small map repeats dy faster than Expand does.
    return g.Mul(dy, g.Div(ones_like_picture(g, s.x), count))


@vjp("GlobalMaxPool")
def global_max_pool(g: Calculus, s: Step, dy: gs.Tensor) -> gs.Tensor:
    rows = np.array([0, 0, -1])
    flat = g.Reshape(s.x, rows)
    places = g.Range(np.array(0), g.ReduceProd(spatial_shape(g, s.x), keepdims=0), np.array(1))
    first = g.Equal(places, g.ArgMax(flat, axis=2))
    return g.like(g.where(first, g.Reshape(dy, rows)), s.x)
