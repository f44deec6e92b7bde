"""Pools: maxima, averages and norms over windows, over regions, or over the whole picture.

Where several elements of a window are the largest, the first one takes the gradient, as in torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.window import (
    Known,
    Window,
    crop,
    input_window,
    known_positions,
    known_sizes,
    padded,
    positions,
    spatial_shape,
    spread,
)
from onnxplain.autodiff.table import vjp
from onnxplain.tensors import FloatArray

FLAT = np.array([-1])
_MOST_TAPS = 40
LOWEST = np.finfo(np.float32).min


@vjp("MaxPool")
def max_pool(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor | None, *_: gs.Tensor | None
) -> gs.Tensor | None:
    if dy is None:
        return None
    if len(s.node.output) > 1 and s.node.output[1] and not s.attr("storage_order", 0):
        return _from_indices(g, s, dy, s.outputs[1])
    win = input_window(g, s, s.attr("kernel_shape"))
    if win.static and _splits(win) and not _misjudged(g, s, win):
        return _from_lines(g, s, dy, win)
    return _from_indices(g, s, dy, g.many("MaxPool", 2, s.x, **{**s.attrs, "storage_order": 0})[1])


def _from_indices(
    g: GradientBuilder, s: NodeView, dy: gs.Variable, indices: gs.Variable
) -> gs.Tensor:
    """To where in the flattened input each maximum comes from."""
    padding = any(s.attr("pads", [])) or s.attr("auto_pad", "NOTSET") != "NOTSET"
    if padding and max(s.attr("dilations", [1])) > 1:
        # A window that lies in the padding alone has the index -1.
        dy = g.where(g.GreaterOrEqual(indices, np.array(0)), dy)
    zeros = g.Expand(F32(0), g.Reshape(g.Size(s.x), FLAT))
    # ScatterND takes as long, but loses sums at equal indices where it runs on several threads.
    summed = g.ScatterElements(
        zeros, g.Reshape(indices, FLAT), g.Reshape(dy, FLAT), axis=0, reduction="add"
    )
    return g.like(summed, s.x)


def _splits(win: Window) -> bool:
    """Whether maxima along one axis after the other are the faster way: most often they are."""
    gapless = (win.strides == 1) | ((win.dilations == 1) & (win.strides <= win.kernel))
    return bool(gapless.all() and win.kernel.sum() <= _MOST_TAPS)


def _misjudged(g: GradientBuilder, s: NodeView, win: Window) -> bool:
    """Whether the inferred sizes, which ONNX Runtime holds constants against, are wrong."""
    inferred, count = known_sizes(g, s.y), known_positions(g, s, win)
    return inferred is not None and count is not None and bool((inferred != count).any())


def _from_lines(g: GradientBuilder, s: NodeView, dy: gs.Variable, win: Window) -> gs.Tensor:
    """Through maxima along one axis each: the last one first, so that the first row wins a tie.

    Several times faster than indices, for which ONNX Runtime takes a branch at each element.
    """
    axes = np.flatnonzero(win.kernel > 1).tolist()
    maxima = [s.x]
    for axis in reversed(axes[1:]):
        maxima.append(g.MaxPool(maxima[-1], **_only(win, axis), ceil_mode=s.attr("ceil_mode", 0)))
    for axis, x, y in zip(axes, reversed(maxima), [s.y, *reversed(maxima)], strict=False):
        dy = _along_axis(g, s, x, y, dy, win, axis)
    return dy


def _only(win: Window, axis: int) -> dict[str, list[int]]:
    """The attributes of windows over one axis."""
    here = np.arange(len(win.kernel)) == axis
    form = {name: np.where(here, value, 1).tolist() for name, value in win.form.items()}
    return {**form, "pads": np.where(np.tile(here, 2), win.pads, 0).tolist()}


def _along_axis(
    g: GradientBuilder,
    s: NodeView,
    x: gs.Variable,
    y: gs.Variable,
    dy: gs.Variable,
    win: Window,
    axis: int,
) -> gs.Tensor:
    """The gradient of the maxima `y` of lines of `x`: each tap takes what those before it leave.

    With strides, tap t lies in lane t % stride of the input; the lanes are woven in the end.
    """
    at, here = np.array([2 + axis]), slice(axis, axis + 1)
    stride, step, before = win.strides[here], win.dilations[here], win.before[here]
    offsets = np.arange(win.kernel[axis])[:, None] * step
    o, size, count = _extent(g, s, win, axis)
    reach = o.Mul(o.Sub(count, np.array([1])), stride)  # where the last window begins
    missing = o.Sub(o.Add(reach, offsets[-1] + 1), o.Add(size, before))
    outer = g.Pad(x, o.Concat(before, o.Max(missing, np.array([0])), axis=0), LOWEST, at)

    lanes: list[list[gs.Tensor]] = [[] for _ in range(int(stride[0]))]
    room = offsets[-1] // stride + (stride > 1)
    for offset in offsets:
        taken = dy
        if offset != offsets[-1]:
            tap = g.Slice(outer, offset, o.Add(reach, offset + 1), at, stride)
            taken = g.where(g.Equal(tap, y), dy)
            dy = g.Sub(dy, taken)
        shift = offset // stride
        moved = g.Pad(taken, np.concatenate([shift, room - shift]), F32(0), at)
        lanes[int((offset % stride)[0])].append(moved)
    woven = _woven(g, [g.Sum(*lane) if len(lane) > 1 else lane[0] for lane in lanes], 2 + axis)
    return g.Slice(woven, before, o.Add(size, before), at)


def _extent(g: GradientBuilder, s: NodeView, win: Window, axis: int) -> tuple[Any, Any, Any]:
    """The size of an axis, the number of windows along it, and what to reckon with them."""
    sizes, count = known_sizes(g, s.x), known_positions(g, s, win)
    if sizes is not None and count is not None:
        return Known, sizes[axis : axis + 1], count[axis : axis + 1]
    return g, g.dim(s.x, 2 + axis), g.Shape(s.y, start=2 + axis, end=3 + axis)


def _woven(g: GradientBuilder, lanes: Sequence[gs.Tensor], axis: int) -> gs.Tensor:
    """One element of each lane in turn."""
    if len(lanes) == 1:
        return lanes[0]
    rows = g.Concat(*(g.Unsqueeze(lane, np.array([axis + 1])) for lane in lanes), axis=axis + 1)
    shape = g.Concat(np.array([0] * axis + [-1]), g.Shape(lanes[0], start=axis + 1), axis=0)
    return g.Reshape(rows, shape)


@vjp("MaxUnpool")
def max_unpool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    return g.Gather(g.Reshape(dy, FLAT), s.inputs[1], axis=0)


@vjp("AveragePool")
def average_pool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    win = input_window(g, s, s.attr("kernel_shape"))
    if not _even(g, s, win):
        dy = g.Mul(dy, _weight(g, s, win))
    return spread_mean(g, s, dy, win)


def _even(g: GradientBuilder, s: NodeView, win: Window) -> bool:
    """Whether every window is divided by the size of the kernel."""
    counts_all = s.attr("count_include_pad", 0) == 1 and not _overhangs(g, s, win)
    return counts_all or _whole(g, s, win)


def _whole(g: GradientBuilder, s: NodeView, win: Window) -> bool:
    """Whether every window lies within the input."""
    return win.static and not win.pads.any() and not _overhangs(g, s, win)


def _overhangs(g: GradientBuilder, s: NodeView, win: Window) -> bool:
    """Whether the last windows may reach beyond the padded input."""
    if not s.attr("ceil_mode", 0) or win.dense:
        return False
    sizes = known_sizes(g, s.x)
    if sizes is None or not win.static:
        return True
    return bool(((sizes + win.before + win.after - win.spans) % win.strides).any())


def _weight(g: GradientBuilder, s: NodeView, win: Window) -> gs.Tensor:
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


def spread_mean(g: GradientBuilder, s: NodeView, dy: gs.Variable, win: Window) -> gs.Tensor:
    """To each element of a window, dy over the size of the kernel."""
    compact = (win.dilations == 1).all()
    if compact and win.dense:
        form = {"kernel_shape": win.kernel.tolist(), "pads": win.margins.tolist()}
        return g.AveragePool(dy, **form, count_include_pad=1)
    if compact and (win.strides == win.kernel).all() and _whole(g, s, win):
        return _shared(g, s, dy, win)
    one_channel = g.Concat(np.array([-1, 1]), positions(g, s, win), axis=0)
    summed = spread(g, g.Reshape(dy, one_channel), mean_kernel(win), win, s)
    return g.like(summed, s.x)


def _shared(g: GradientBuilder, s: NodeView, dy: gs.Variable, win: Window) -> gs.Tensor:
    """The same where windows lie side by side, and something may be left over behind them."""
    shares = repeated(g, g.Mul(dy, mean_kernel(win).ravel()[0]), win.kernel.tolist())
    sizes = known_sizes(g, s.x)
    if sizes is not None and not (sizes % win.kernel).any():
        return shares
    rest = g.Mod(spatial_shape(g, s.x), win.kernel)
    return g.Pad(shares, g.Concat(np.zeros(4 + len(win.kernel), np.int64), rest, axis=0))


def repeated(g: GradientBuilder, x: gs.Variable, factors: Sequence[int]) -> gs.Tensor:
    """Each element of `x`, as often along each spatial axis as `factors` says."""
    return g.Resize(
        x,
        gs.Variable.empty(),
        np.array([1, 1, *factors], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def mean_kernel(win: Window) -> FloatArray:
    """A kernel of one channel that averages."""
    size = math.prod(win.kernel.tolist())
    return np.full((1, 1, *win.kernel), 1 / size, np.float32)


def ones_like_picture(g: GradientBuilder, x: gs.Variable) -> gs.Tensor:
    """Ones of the spatial shape of `x`, for one sample and one channel."""
    return g.Expand(F32(1), g.Concat(np.array([1, 1]), spatial_shape(g, x), axis=0))


@vjp("LpPool")
def lp_pool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    win = input_window(g, s, s.attr("kernel_shape"))
    count = F32(math.prod(win.kernel.tolist()))
    p = s.attr("p", 2)
    return g.Mul(spread_mean(g, s, g.Mul(norm_part(g, s, dy, p), count), win), power(g, s, p))


@vjp("GlobalLpPool")
def global_lp_pool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    p = s.attr("p", 2)
    return g.Mul(norm_part(g, s, dy, p), power(g, s, p))


def norm_part(g: GradientBuilder, s: NodeView, dy: gs.Variable, p: int) -> gs.Tensor:
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
    # Multiplying by a small map repeats dy faster than Expand does.
    return g.Mul(dy, g.Div(ones_like_picture(g, s.x), count))


@vjp("GlobalMaxPool")
def global_max_pool(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    rows = np.array([0, 0, -1])
    flat = g.Reshape(s.x, rows)
    places = g.Range(np.array(0), g.ReduceProd(spatial_shape(g, s.x), keepdims=0), np.array(1))
    first = g.Equal(places, g.ArgMax(flat, axis=2))
    return g.like(g.where(first, g.Reshape(dy, rows)), s.x)
