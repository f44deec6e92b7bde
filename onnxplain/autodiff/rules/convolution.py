"""Convolutions and transposed convolutions: each is the gradient of the other."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.window import (
    Back,
    Spread,
    Window,
    input_window,
    output_window,
    padded,
    spatial_shape,
    spread,
)
from onnxplain.autodiff.table import vjp


def by_own_weights(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, win: Window, *, spread: Spread = spread
) -> gs.Tensor:
    return spread(g, s, dy, s.inputs[1], win)


@vjp("Conv")
def conv(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, *, back: Back = by_own_weights
) -> tuple[gs.Tensor, ...]:
    win = input_window(g, s)
    return back(g, s, dy, win), weights(g, s, s.x, dy, win), bias(g, dy, win)


@vjp("ConvTranspose")
def conv_transpose(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    dy, win = padded(g, dy, output_window(g, s))
    form = {**win.form, "pads": win.pads.tolist(), "group": s.attr("group", 1)}
    dx = g.Conv(dy, s.inputs[1], **form)
    return dx, weights(g, s, dy, s.x, win), bias(g, dy, win)


def weights(
    g: GradientBuilder, s: NodeView, outer: gs.Tensor, inner: gs.Tensor, win: Window
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
    if not win.dense:  # what lies after the last window adds a row
        dw = g.Slice(dw, 0 * win.kernel, win.kernel, win.axes)
    return g.Transpose(dw, perm=swap)


def bias(g: GradientBuilder, dy: gs.Tensor, win: Window) -> gs.Tensor:
    return g.sum(dy, [0, *win.axes.tolist()], keepdims=False)
