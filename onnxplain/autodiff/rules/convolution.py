"""Convolutions and transposed convolutions: each is the gradient of the other."""

from __future__ import annotations

from onnxplain.autodiff.rule import GradientBuilder, Gradients, NodeView, Tensor, vjp
from onnxplain.autodiff.rules import window
from onnxplain.autodiff.rules.window import Back, Spread, Window


def by_own_weights(
    g: GradientBuilder, s: NodeView, dy: Tensor, win: Window, *, spread: Spread = window.spread
) -> Tensor:
    return spread(g, s, dy, s.inputs[1], win)


@vjp("Conv")
def conv(g: GradientBuilder, s: NodeView, dy: Tensor, *, back: Back = by_own_weights) -> Gradients:
    win = window.input_window(g, s)
    return back(g, s, dy, win), weights(g, s, s.x, dy, win), bias(g, dy, win)


@vjp("ConvTranspose")
def conv_transpose(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    dy, win = window.padded(g, dy, window.output_window(g, s))
    form = {**win.form, "pads": win.pads.tolist(), "group": s.attr("group", 1)}
    dx = g.Conv(dy, s.inputs[1], **form)
    return dx, weights(g, s, dy, s.x, win), bias(g, dy, win)


def weights(g: GradientBuilder, s: NodeView, outer: Tensor, inner: Tensor, win: Window) -> Tensor:
    """The gradient of the weights: `outer` convolved with `inner`, batch and channels swapped.

    `outer` is the tensor that the windows are over, `inner` has one element for each window. For a
    convolution these are the input and the gradient, for a transposed one the reverse.
    """
    group = s.attr("group", 1)
    outer, win = window.padded(g, outer, win)
    swap = [1, 0, *win.axes.tolist()]
    samples = g.Transpose(outer, perm=swap)
    if group > 1:
        width = g.dim(s.inputs[1], 1)
        parts = g.Reshape(outer, g.vector(0, group, width, -1))
        shape = g.vector(width, -1, window.spatial_shape(g, outer))
        samples = g.Reshape(g.Transpose(parts, perm=[2, 1, 0, 3]), shape)
    dw = g.Conv(
        samples,
        g.Transpose(inner, perm=swap),
        strides=win.dilations.tolist(),
        dilations=win.strides.tolist(),
        pads=win.pads.tolist(),
        group=group,
    )
    if not win.dense:  # elements after the last window add a row
        dw = g.Slice(dw, 0 * win.kernel, win.kernel, win.axes)
    return g.Transpose(dw, perm=swap)


def bias(g: GradientBuilder, dy: Tensor, win: Window) -> Tensor:
    return g.sum(dy, [0, *win.axes.tolist()], keepdims=False)
