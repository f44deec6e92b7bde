"""DeformConv: a convolution that samples its input where offsets move the kernel's elements."""

from __future__ import annotations

import functools

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules.convolution import bias
from onnxplain.autodiff.rules.sampling import Samples, Taps
from onnxplain.autodiff.rules.window import Window, input_window, spatial_shape
from onnxplain.autodiff.table import vjp


@vjp("DeformConv", since=19)
def deform_conv(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> list[gs.Tensor | None]:
    """Samples times a mask are columns; weights times columns are the output.

    With D offset groups, G groups, a kernel of K elements and P places where it lies, columns are
    (N D, C/D, K P) next to the samples and (N, G, C/G K, P) beside the weights (G, M/G, C/G K).
    """
    x, w, offset = s.inputs[:3]
    mask = s.input(4)
    shape = functools.partial(g.Concat, axis=0)
    win = input_window(g, s)
    groups, parts = (np.array([s.attr(name, 1)]) for name in ("group", "offset_group"))
    rest, one = np.array([-1]), np.array([1])
    batches = g.Mul(g.dim(x, 0), parts)
    height = g.Mul(g.dim(w, 1), win.kernel.prod(keepdims=True))

    samples = _samples(g, s, win, batches)
    weights = g.Reshape(w, shape(groups, rest, height))
    shown = F32(1) if mask is None else g.Reshape(mask, shape(batches, one, rest))
    seen = samples.values()
    columns = g.Mul(seen, shown)
    columns = g.Reshape(columns, shape(g.dim(x, 0), groups, height, rest))

    dy_ = g.Reshape(dy, shape(g.dim(x, 0), groups, g.Div(g.dim(w, 0), groups), rest))
    dw = g.sum(g.MatMul(dy_, g.Transpose(columns, perm=[0, 1, 3, 2])), [0], keepdims=False)
    dcolumns = g.MatMul(g.Transpose(weights, perm=[0, 2, 1]), dy_)
    dcolumns = g.Reshape(dcolumns, shape(batches, g.Div(g.dim(x, 1), parts), rest))
    dsamples = g.Mul(dcolumns, shown)
    dmask = g.sum(g.Mul(dcolumns, seen), [1])
    dplaces = [
        g.Reshape(d, shape(rest, win.kernel.prod(keepdims=True), one, spatial_shape(g, offset)))
        for d in samples.to_places(dsamples)
    ]
    return [
        g.like(samples.to_input(dsamples), x),
        g.like(dw, w),
        g.like(g.Concat(*dplaces, axis=2), offset),
        bias(g, dy, win),
        None if mask is None else g.like(dmask, mask),
    ]


def _samples(g: GradientBuilder, s: NodeView, win: Window, batches: gs.Tensor) -> Samples:
    """What the kernels see before the mask, each offset group as a batch of its own."""
    x, offset = s.inputs[0], s.inputs[2]
    area, count = spatial_shape(g, offset), win.kernel.prod(keepdims=True)
    moves = g.Reshape(offset, g.Concat(np.array([-1]), count, np.array([2]), area, axis=0))
    sizes = [g.dim(x, 2), g.dim(x, 3)]
    axes = []
    for axis, size in enumerate(sizes):
        element = np.indices(win.kernel.tolist())[axis].reshape(-1, 1, 1) * win.dilations[axis]
        number = g.Range(np.array(0), g.Squeeze(g.dim(offset, 2 + axis)), np.array(1))
        corner = g.Mul(number, win.strides[axis])
        if axis == 0:
            corner = g.Unsqueeze(corner, np.array([1]))
        still = g.Cast(g.Add(corner, element - win.before[axis]), to=TensorProto.FLOAT)
        place = g.Add(g.Gather(moves, np.array(axis), axis=2), still)
        taps = Taps.at(g, g.Reshape(place, np.array([0, -1])), "linear")
        axes.append(taps.padded(g, size, "zeros", align=False))
    grouped = g.Reshape(x, g.Concat(batches, np.array([-1]), *sizes, axis=0))
    return Samples(g, grouped, sizes, axes)
