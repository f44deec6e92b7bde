"""Fourier transforms: they are linear, so the gradient is the adjoint, another transform.

With F the matrix of the DFT of length N, the adjoint of F is N times the inverse DFT, and the
adjoint of the inverse DFT is F / N. The gradient of a real signal is the real part.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp
from onnxplain.autodiff.scatter import pad, scatter_rows
from onnxplain.errors import GradientError


@vjp("DFT")
def dft(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    axis, inverse = _axis(g, s), s.attr("inverse", 0)
    if s.attr("onesided", 0) and inverse:
        length = g.dim(s.y, axis)
        dx, taken = _irfft_adjoint(g, s, dy, axis, length), _bins(g, length)
    else:
        given = s.input(1)
        length = taken = g.dim(s.x, axis) if given is None else _length(g, given)
        dx = _adjoint(g, dy, axis, length, parts=g.dim(s.x, -1), inverse=inverse)
    return pad(g, dx, g.rank(s.x), {axis: (0, g.Sub(g.dim(s.x, axis), taken))})


@vjp("STFT")
def stft(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Each frame is transformed back, multiplied by the window, and added at its position."""
    signal, step = s.inputs[:2]
    window, frame_length = s.input(2), s.input(3)
    length = g.dim(signal, 1) if window is None else g.dim(window, 0)
    if frame_length is not None:
        length = _length(g, frame_length)
    frames = _adjoint(g, dy, 2, length, parts=g.dim(signal, -1), inverse=0)
    starts = g.Mul(g.arange(g.dim(s.y, 1)), _length(g, step))
    rows = g.Add(g.Unsqueeze(starts, [1]), g.arange(length))
    if window is None:
        return (scatter_rows(g, frames, rows, signal, axis=1),)
    windowed = g.Mul(frames, g.Unsqueeze(window, [1]))
    d_signal = scatter_rows(g, windowed, rows, signal, axis=1)
    cut = g.Gather(signal, rows, axis=1)
    return d_signal, None, g.sum(g.Mul(frames, cut), [0, 1, 3], keepdims=False)


def _axis(g: GradientBuilder, s: NodeView) -> int:
    """The axis of a DFT: an attribute before opset 20, an input since."""
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


def _length(g: GradientBuilder, given: Tensor) -> Tensor:
    known = g.ints(given)
    if known is not None:
        return g.vector(*known)
    return g.Cast(g.Reshape(given, [1]), to=TensorProto.INT64)


def _bins(g: GradientBuilder, length: Tensor) -> Tensor:
    """Number of frequencies of a real signal without the conjugates: length // 2 + 1."""
    return g.Add(g.Div(length, 2), 1)


def _transform(
    g: GradientBuilder, x: Tensor, axis: int, length: Tensor, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """The DFT of `x`, padded with zeros to `length`."""
    dft_length = g.Squeeze(length)
    kind = {"inverse": inverse, "onesided": onesided}
    if g.graph.opset < 20:
        return g.DFT(x, dft_length, axis=axis, **kind)
    return g.DFT(x, dft_length, np.array(axis), **kind)


def _adjoint(
    g: GradientBuilder, dy: Tensor, axis: int, length: Tensor, parts: Tensor, inverse: int
) -> Tensor:
    """The adjoint of a DFT; `parts` is 1 for a real input and 2 for a complex one."""
    dx = _transform(g, dy, axis, length, inverse=1 - inverse)
    dx = g.Slice(dx, [0], parts, [-1])
    n = g.as_float(length)
    return g.Div(dx, n) if inverse else g.Mul(dx, n)


def _irfft_adjoint(
    g: GradientBuilder, s: NodeView, dy: Tensor, axis: int, length: Tensor
) -> Tensor:
    """The adjoint of the inverse DFT of one side: frequencies with a conjugate count twice."""
    dx = _transform(g, dy, axis, length, onesided=1)
    index = g.arange(_bins(g, length))
    single = g.Or(g.Equal(index, 0), g.Equal(g.Mul(index, 2), length))
    weight = g.Div(g.Where(single, F32(1), F32(2)), g.as_float(length))
    return g.Mul(dx, g.Reshape(weight, [-1] + [1] * (g.rank(s.x) - 1 - axis)))
