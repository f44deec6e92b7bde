"""Pools whose windows are dense or lie side by side, and maxima by one axis after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.pooling import mean_kernel, row_major_indices, weighted
from onnxplain.autodiff.rules.window import (
    Back,
    Known,
    Window,
    input_window,
    known_positions,
    known_sizes,
    spatial_shape,
    static_window,
)

_MOST_TAPS = 40
_LOWEST = np.finfo(np.float32).min


def is_dense(g: GradientBuilder, s: NodeView) -> bool:
    """Whether strides and dilations are 1."""
    win = static_window(g, s)
    return win is not None and win.dense and bool((win.dilations == 1).all())


def is_side_by_side(g: GradientBuilder, s: NodeView) -> bool:
    """Whether no element lies in two windows, and every window lies within the input."""
    win = static_window(g, s)
    if win is None or (win.dilations != 1).any() or (win.strides != win.kernel).any():
        return False
    return _is_inside(g, s, win)


def is_even(g: GradientBuilder, s: NodeView) -> bool:
    """Whether every window of an AveragePool is divided by the size of the kernel."""
    win = static_window(g, s)
    if s.attr("count_include_pad", 0) == 1 and not _overhangs(g, s, win):
        return True
    return win is not None and _is_inside(g, s, win)


def average_pool(g: GradientBuilder, s: NodeView, dy: gs.Tensor, *, back: Back) -> gs.Tensor:
    """The definition, with another way back and without dividing by 1."""
    win = input_window(g, s)
    return back(g, s, dy if is_even(g, s) else weighted(g, s, dy, win), win)


def by_average(g: GradientBuilder, s: NodeView, dy: gs.Tensor, win: Window) -> gs.Tensor:
    """The mean over the windows that an element lies in, for dense windows."""
    form = {"kernel_shape": win.kernel.tolist(), "pads": win.margins.tolist()}
    return g.AveragePool(dy, **form, count_include_pad=1)


def by_repeating(g: GradientBuilder, s: NodeView, dy: gs.Tensor, win: Window) -> gs.Tensor:
    """The share of each element of windows side by side, and 0 for what lies after the last one."""
    shares = g.Resize(
        g.Mul(dy, mean_kernel(win).ravel()[0]),
        gs.Variable.empty(),
        np.array([1, 1, *win.kernel], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    sizes = known_sizes(g, s.x)
    if sizes is not None and not (sizes % win.kernel).any():
        return shares
    rest = g.Mod(spatial_shape(g, s.x), win.kernel)
    return g.Pad(shares, g.Concat(np.zeros(4 + len(win.kernel), np.int64), rest, axis=0))


def is_gapless(g: GradientBuilder, s: NodeView) -> bool:
    """Whether maxima by one axis after the other are the faster way: most often they are."""
    win = static_window(g, s)
    if win is None or row_major_indices(s) is not None or _misjudged(g, s, win):
        return False
    gapless = (win.strides == 1) | ((win.dilations == 1) & (win.strides <= win.kernel))
    return bool(gapless.all() and win.kernel.sum() <= _MOST_TAPS)


def max_pool_by_axis(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor | None, *_: gs.Tensor | None
) -> gs.Tensor | None:
    """Through maxima along one axis each: the last one first, so that the first row wins a tie.

    Several times faster than indices, for which ONNX Runtime takes a branch at each element.
    """
    if dy is None:
        return None
    win = input_window(g, s)
    axes = np.flatnonzero(win.kernel > 1).tolist()
    maxima = [s.x]
    for axis in reversed(axes[1:]):
        maxima.append(g.MaxPool(maxima[-1], **_only(win, axis), ceil_mode=s.attr("ceil_mode", 0)))
    for axis, x, y in zip(axes, reversed(maxima), [s.y, *reversed(maxima)], strict=False):
        dy = _along_axis(g, s, x, y, dy, win, axis)
    return dy


def _is_inside(g: GradientBuilder, s: NodeView, win: Window) -> bool:
    """Whether every window lies within the input."""
    return not win.pads.any() and not _overhangs(g, s, win)


def _overhangs(g: GradientBuilder, s: NodeView, win: Window | None) -> bool:
    """Whether the last windows may reach beyond the padded input."""
    if not s.attr("ceil_mode", 0) or (win is not None and win.dense):
        return False
    sizes = known_sizes(g, s.x)
    if sizes is None or win is None:
        return True
    return bool(((sizes + win.before + win.after - win.spans) % win.strides).any())


def _misjudged(g: GradientBuilder, s: NodeView, win: Window) -> bool:
    """Whether the inferred sizes, which ONNX Runtime holds constants against, are wrong."""
    inferred, count = known_sizes(g, s.y), known_positions(g, s, win)
    return inferred is not None and count is not None and bool((inferred != count).any())


def _only(win: Window, axis: int) -> dict[str, list[int]]:
    """The attributes of windows over one axis."""
    here = np.arange(len(win.kernel)) == axis
    form = {name: np.where(here, value, 1).tolist() for name, value in win.form.items()}
    return {**form, "pads": np.where(np.tile(here, 2), win.pads, 0).tolist()}


def _along_axis(
    g: GradientBuilder,
    s: NodeView,
    x: gs.Tensor,
    y: gs.Tensor,
    dy: gs.Tensor,
    win: Window,
    axis: int,
) -> gs.Tensor:
    """The gradient of the maxima `y` of lines of `x`: each tap takes what those before it leave.

    Tap t of a window reads the positions t % stride of the input: each of these is summed apart,
    and the sums are interleaved at the end.
    """
    at, here = np.array([2 + axis]), slice(axis, axis + 1)
    stride, step, before = win.strides[here], win.dilations[here], win.before[here]
    offsets = np.arange(win.kernel[axis])[:, None] * step
    o, size, count = _extent(g, s, win, axis)
    reach = o.Mul(o.Sub(count, np.array([1])), stride)  # where the last window begins
    missing = o.Sub(o.Add(reach, offsets[-1] + 1), o.Add(size, before))
    outer = g.Pad(x, o.Concat(before, o.Max(missing, np.array([0])), axis=0), _LOWEST, at)

    phases: list[list[gs.Tensor]] = [[] for _ in range(int(stride[0]))]
    room = offsets[-1] // stride + (stride > 1)
    for offset in offsets:
        taken = dy
        if offset != offsets[-1]:
            tap = g.Slice(outer, offset, o.Add(reach, offset + 1), at, stride)
            taken = g.where(g.Equal(tap, y), dy)
            dy = g.Sub(dy, taken)
        shift = offset // stride
        moved = g.Pad(taken, np.concatenate([shift, room - shift]), F32(0), at)
        phases[int((offset % stride)[0])].append(moved)
    interleaved = _interleaved(
        g, [g.Sum(*phase) if len(phase) > 1 else phase[0] for phase in phases], 2 + axis
    )
    return g.Slice(interleaved, before, o.Add(size, before), at)


def _extent(g: GradientBuilder, s: NodeView, win: Window, axis: int) -> tuple[Any, Any, Any]:
    """The size of an axis, the number of windows along it, and what computes with them."""
    sizes, count = known_sizes(g, s.x), known_positions(g, s, win)
    if sizes is not None and count is not None:
        return Known, sizes[axis : axis + 1], count[axis : axis + 1]
    return g, g.dim(s.x, 2 + axis), g.Shape(s.y, start=2 + axis, end=3 + axis)


def _interleaved(g: GradientBuilder, phases: Sequence[gs.Tensor], axis: int) -> gs.Tensor:
    """One element of each tensor in turn."""
    if len(phases) == 1:
        return phases[0]
    rows = g.Concat(*(g.Unsqueeze(phase, np.array([axis + 1])) for phase in phases), axis=axis + 1)
    shape = g.Concat(np.array([0] * axis + [-1]), g.Shape(phases[0], start=axis + 1), axis=0)
    return g.Reshape(rows, shape)
