"""Fourier transforms: linear, so the gradient is the adjoint, another transform.

With F the matrix of the DFT of length N, that of F is N times the inverse DFT, and that of the
inverse DFT is F / N. A real signal takes the real part.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.scatter import (
    Size,
    arange,
    minus,
    pad,
    scalar,
    scatter_rows,
    size,
    times,
    vector,
)
from onnxplain.autodiff.table import vjp, zero_gradient
from onnxplain.errors import GradientError
from onnxplain.transforms.builder import Value

zero_gradient("BlackmanWindow HammingWindow HannWindow MelWeightMatrix".split())


@vjp("DFT")
def dft(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    axis, inverse = _axis(g, s), s.attr("inverse", 0)
    if s.attr("onesided", 0) and inverse:
        length = size(g, s.y, axis)
        dx = _irfft_adjoint(g, s, dy, axis, length)
        taken = size(g, s.x, axis)
        return pad(g, dx, g.rank(s.x), {axis: (0, minus(g, taken, _bins(g, length)))})
    given = s.input(1)
    length = size(g, s.x, axis) if given is None else _length(g, given)
    dx = _adjoint(g, dy, axis, length, parts=size(g, s.x, -1), inverse=inverse)
    return pad(g, dx, g.rank(s.x), {axis: (0, minus(g, size(g, s.x, axis), length))})


@vjp("STFT")
def stft(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor | None, ...]:
    """Each frame transformed back, windowed, and added where it was cut out."""
    signal, step = s.inputs[:2]
    window, frame_length = s.input(2), s.input(3)
    if frame_length is not None:
        length = _length(g, frame_length)
    else:
        length = size(g, signal, 1) if window is None else size(g, window, 0)
    frames = _adjoint(g, dy, 2, length, parts=size(g, signal, -1), inverse=0)
    starts = g.Mul(arange(g, size(g, s.y, 1)), vector(g, [_length(g, step)]))
    rows = g.Add(g.Unsqueeze(starts, np.array([1])), arange(g, length))
    if window is None:
        return (scatter_rows(g, frames, rows, signal, axis=1),)
    windowed = g.Mul(frames, g.Unsqueeze(window, np.array([1])))
    d_signal = scatter_rows(g, windowed, rows, signal, axis=1)
    cut = g.Gather(signal, rows, axis=1)
    return d_signal, None, g.sum(g.Mul(frames, cut), [0, 1, 3], keepdims=False)


def _axis(g: GradientBuilder, s: NodeView) -> int:
    """An attribute before opset 20, an input from then on."""
    if s.opset < 20:
        return g.axis(s.x, s.attr("axis", 1))
    if s.input(2) is None:
        return g.axis(s.x, -2)
    given = g.ints(s.inputs[2])
    if given is None:
        raise GradientError(
            f"The axis of the DFT {s.name!r} is computed at run time, and its gradient needs "
            "it: make it a constant, or use a method without gradients."
        )
    return g.axis(s.x, given[0])


def _length(g: GradientBuilder, given: gs.Tensor) -> Size:
    known = g.ints(given)
    if known is not None:
        return known[0]
    return g.Cast(g.Reshape(given, np.array([1])), to=TensorProto.INT64)


def _bins(g: GradientBuilder, length: Size) -> Size:
    """How many frequencies of a real signal are not the conjugates of others."""
    return length // 2 + 1 if isinstance(length, int) else g.Add(g.Div(length, 2), 1)


def _transform(
    g: GradientBuilder, x: gs.Tensor, axis: int, length: Size, inverse: int = 0, onesided: int = 0
) -> gs.Tensor:
    """The DFT of `length`, for which zeros are appended to `x`."""
    dft_length = scalar(g, length)
    kind = {"inverse": inverse, "onesided": onesided}
    if g.graph.opset < 20:
        return g.DFT(x, dft_length, axis=axis, **kind)
    return g.DFT(x, dft_length, np.array(axis), **kind)


def _adjoint(
    g: GradientBuilder, dy: gs.Tensor, axis: int, length: Size, parts: Size, inverse: int
) -> gs.Tensor:
    """The transpose of a DFT whose input has `parts`: real, or real and imaginary."""
    dx = _transform(g, dy, axis, length, inverse=1 - inverse)
    dx = g.Slice(dx, np.array([0]), vector(g, [parts]), np.array([-1]))
    n = _as_float(g, length)
    return g.Div(dx, n) if inverse else g.Mul(dx, n)


def _irfft_adjoint(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor, axis: int, length: Size
) -> gs.Tensor:
    """Frequencies that stand for their conjugates as well count twice."""
    dx = _transform(g, dy, axis, length, onesided=1)
    index = arange(g, _bins(g, length))
    single = g.Or(g.Equal(index, 0), g.Equal(times(g, index, 2), length))
    weight = g.Div(g.Where(single, F32(1), F32(2)), _as_float(g, length))
    return g.Mul(dx, g.Reshape(weight, [-1] + [1] * (g.rank(s.x) - 1 - axis)))


def _as_float(g: GradientBuilder, length: Size) -> Value:
    return F32(length) if isinstance(length, int) else g.Cast(length, to=TensorProto.FLOAT)
