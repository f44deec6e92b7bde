"""Convolutions and transposed convolutions: each is the gradient of the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.window import (
    Window,
    crop,
    input_window,
    output_window,
    padded,
    spaced,
    spatial_shape,
    spread,
)
from onnxplain.autodiff.table import Rule, vjp
from onnxplain.errors import GradientError


@vjp("Conv")
def conv(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    win = input_window(g, s, kernel_shape(g, s))
    if not win.static or (win.margins < 0).any():
        return conv_by_own_weights(g, s, dy)
    if win.dense:
        dx = _by_turned_weights(g, s, dy, win)
    elif _depthwise(g, s):
        # ConvTranspose takes twice as long, since it goes through the channels one by one.
        rows, known = spaced(g, s, dy, win)
        dx = _by_turned_weights(g, s, rows, win)
        dx = dx if known else crop(g, dx, 0 * win.kernel, spatial_shape(g, s.x), win)
    else:
        return conv_by_own_weights(g, s, dy)
    return dx, weights(g, s, s.x, dy, win), bias(g, dy, win)


def _by_turned_weights(g: GradientBuilder, s: NodeView, dy: gs.Variable, win: Window) -> gs.Tensor:
    """The gradient of the input, with `dy` at every place where a window could begin."""
    return g.Conv(
        dy,
        turned(g, s, win),
        dilations=win.dilations.tolist(),
        pads=win.margins.tolist(),
        group=s.attr("group", 1),
    )


def _depthwise(g: GradientBuilder, s: NodeView) -> bool:
    """Whether each channel is convolved by itself."""
    group = s.attr("group", 1)
    return group > 1 and (g.dims(s.inputs[1]) or ())[:2] == (group, 1)


def conv_by_own_weights(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    """The same without a turned copy of the weights, which is faster where strides are 1."""
    win = input_window(g, s, kernel_shape(g, s))
    dx = spread(g, dy, s.inputs[1], win, s, s.attr("group", 1))
    return dx, weights(g, s, s.x, dy, win), bias(g, dy, win)


SPARING: Mapping[str, Rule] = {"Conv": conv_by_own_weights}
"""Rules that keep no second copy of the weights: `STANDARD.replaced(SPARING)`.

Slower, most of all where convolutions are depthwise.
"""


@vjp("ConvTranspose")
def conv_transpose(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    dy, win = padded(g, dy, output_window(g, s, kernel_shape(g, s)))
    form = {**win.form, "pads": win.pads.tolist(), "group": s.attr("group", 1)}
    dx = g.Conv(dy, s.inputs[1], **form)
    return dx, weights(g, s, dy, s.x, win), bias(g, dy, win)


def kernel_shape(g: GradientBuilder, s: NodeView) -> list[int]:
    """The spatial sizes of the weights.

    Raises:
        GradientError: they are known only at run time.
    """
    dims = g.dims(s.inputs[1]) or (None,)
    kernel = s.attr("kernel_shape") or list(dims[2:])
    if not kernel or not all(isinstance(size, int) for size in kernel):
        raise GradientError(
            f"The {s.op} of node {s.node.name!r} has weights whose shape is known only at run "
            "time: write the attribute kernel_shape, or explain a layer behind this one."
        )
    return kernel


def turned(g: GradientBuilder, s: NodeView, win: Window) -> gs.Tensor:
    """The weights (M, C/group, *k) as (C, M/group, *k), each kernel turned by 180 degrees.

    Nodes rather than a new constant: the file stays small, and ONNX Runtime folds them.
    """
    w, group = s.inputs[1], s.attr("group", 1)
    swapped = w
    if group == 1:
        swapped = g.Transpose(w, perm=[1, 0, *win.axes.tolist()])
    elif not _depthwise(g, s):
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


def weights(
    g: GradientBuilder, s: NodeView, outer: gs.Variable, inner: gs.Variable, win: Window
) -> gs.Tensor:
    """The gradient of the weights: `outer` convolved with `inner`, batch and channels swapped.

    `outer` is where the windows are laid, `inner` what belongs to each of them: the input and the
    gradient of a convolution, or the gradient and the input of a transposed one.
    """
    group = s.attr("group", 1)
    outer, win = padded(g, outer, win)
    swap = [1, 0, *win.axes.tolist()]
    samples = g.Transpose(outer, perm=swap)
    if group > 1:
        width = g.dim(s.inputs[1], 1)
        parts = g.Reshape(outer, g.Concat(np.array([0, group]), width, np.array([-1]), axis=0))
        shape = g.Concat(width, np.array([-1]), spatial_shape(g, outer), axis=0)
        samples = g.Reshape(g.Transpose(parts, perm=[2, 1, 0, 3]), shape)
    dw = g.Conv(
        samples,
        g.Transpose(inner, perm=swap),
        strides=win.dilations.tolist(),
        dilations=win.strides.tolist(),
        pads=win.pads.tolist(),
        group=group,
    )
    if not win.dense:  # what lies behind the last window adds a row
        dw = g.Slice(dw, 0 * win.kernel, win.kernel, win.axes)
    return g.Transpose(dw, perm=swap)


def bias(g: GradientBuilder, dy: gs.Variable, win: Window) -> gs.Tensor:
    return g.sum(dy, [0, *win.axes.tolist()], keepdims=False)
