"""Convolutions back through turned weights: Conv is faster than ConvTranspose.

The turned weights are a second copy in memory, see `LOW_MEMORY`.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.fast.window import static_ends
from onnxplain.autodiff.rules.window import (
    Window,
    crop,
    positions,
    spatial_shape,
    static_window,
)


def is_dense(g: GradientBuilder, s: NodeView) -> bool:
    """Whether strides are 1 and padding is no wider than the kernels."""
    win = _turnable(g, s)
    return win is not None and win.dense


def is_depthwise(g: GradientBuilder, s: NodeView) -> bool:
    """Whether each channel has kernels of its own, and padding is no wider than the kernels."""
    return _by_channel(g, s) and _turnable(g, s) is not None


def by_turned_weights(g: GradientBuilder, s: NodeView, dy: gs.Tensor, win: Window) -> gs.Tensor:
    """The gradient of the input, with `dy` at every position where a window could begin."""
    return g.Conv(
        dy,
        _turned(g, s, win),
        dilations=win.dilations.tolist(),
        pads=win.margins.tolist(),
        group=s.attr("group", 1),
    )


def by_inserted_zeros(g: GradientBuilder, s: NodeView, dy: gs.Tensor, win: Window) -> gs.Tensor:
    """The same, with zeros in `dy` where strides let no window begin.

    ConvTranspose takes twice as long, since it goes through the channels one by one. Where sizes
    are known only at run time, zeros may follow that are too many.
    """
    ends = static_ends(g, s, win)
    left = win.strides - 1 if ends is None else ends[2]
    apart = g.ConvTranspose(
        g.Reshape(dy, g.Concat(np.array([-1, 1]), positions(g, s, win), axis=0)),
        np.ones((1, 1, *np.ones_like(win.kernel)), np.float32),
        strides=win.strides.tolist(),
        output_padding=left.tolist(),
    )
    shape = g.Concat(np.array([-1]), g.dim(s.inputs[1], 0), g.Shape(apart, start=2), axis=0)
    dx = by_turned_weights(g, s, g.Reshape(apart, shape), win)
    return dx if ends is not None else crop(g, dx, 0 * win.kernel, spatial_shape(g, s.x), win)


def _turnable(g: GradientBuilder, s: NodeView) -> Window | None:
    win = static_window(g, s)
    return None if win is None or (win.margins < 0).any() else win


def _by_channel(g: GradientBuilder, s: NodeView) -> bool:
    group = s.attr("group", 1)
    return group > 1 and (g.dims(s.inputs[1]) or ())[:2] == (group, 1)


def _turned(g: GradientBuilder, s: NodeView, win: Window) -> gs.Tensor:
    """The weights (M, C/group, *k) as (C, M/group, *k), each kernel turned by 180 degrees.

    Nodes rather than a new constant: the file stays small, and ONNX Runtime folds them.
    """
    w, group = s.inputs[1], s.attr("group", 1)
    swapped = w
    if group == 1:
        swapped = g.Transpose(w, perm=[1, 0, *win.axes.tolist()])
    elif not _by_channel(g, s):
        width = g.dim(w, 1)
        shape = g.Concat(np.array([group, -1]), width, win.kernel, axis=0)
        parts = g.Transpose(g.Reshape(w, shape), perm=[0, 2, 1, *(win.axes + 1).tolist()])
        joined = g.Concat(g.Mul(width, np.array([group])), np.array([-1]), win.kernel, axis=0)
        swapped = g.Reshape(parts, joined)
    axes = win.axes[win.kernel > 1]
    if not len(axes):
        return swapped
    back = np.full(len(axes), -1)
    return g.Slice(swapped, back, back * np.iinfo(np.int64).max, axes, back)
