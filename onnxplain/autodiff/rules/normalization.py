"""Normalisations.

Most of them are x̂ = r (x - mean) with r = 1 / √(variance + ε), then a scale and a bias. The
gradient of x is then r (dx̂ - mean dx̂ - x̂ mean(x̂ dx̂)), with means over the axes that are normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.table import vjp


@dataclass(frozen=True)
class Standardised:
    """x̂ and r, and the axes over which they are."""

    x: gs.Tensor
    rate: gs.Tensor
    axes: Sequence[int]

    def gradient(self, g: GradientBuilder, dx: gs.Tensor) -> gs.Tensor:
        """From the gradient of x̂ to that of x."""
        along = g.Mul(self.x, _mean(g, g.Mul(self.x, dx), self.axes))
        return g.Mul(self.rate, g.Sub(g.Sub(dx, _mean(g, dx, self.axes)), along))


def _standardise(
    g: GradientBuilder, x: gs.Tensor, axes: Sequence[int], epsilon: float
) -> Standardised:
    centred = g.Sub(x, _mean(g, x, axes))
    rate = _rate(g, _mean(g, g.square(centred), axes), epsilon)
    return Standardised(g.Mul(centred, rate), rate, axes)


def _count(g: GradientBuilder, s: NodeView, hat: Standardised) -> gs.Tensor:
    """How many elements share a mean, as float32."""
    return g.Cast(g.Div(g.Size(s.x), g.Size(hat.rate)), to=TensorProto.FLOAT)


def _mean(g: GradientBuilder, x: gs.Tensor, axes: Sequence[int]) -> gs.Tensor:
    return g.ReduceMean(x, np.array(axes), keepdims=1)


def _rate(g: GradientBuilder, variance: gs.Tensor, epsilon: float) -> gs.Tensor:
    return g.Reciprocal(g.Sqrt(g.Add(variance, F32(epsilon))))


def _epsilon(s: NodeView) -> float:
    return float(s.attr("epsilon", 1e-5))


def _per_channel(g: GradientBuilder, s: NodeView, values: gs.Tensor) -> gs.Tensor:
    """Values of the shape (C,), shaped to broadcast to x of (N, C, ...)."""
    return g.Reshape(values, np.array([-1] + [1] * (g.rank(s.x) - 2)))


def _channel_sum(g: GradientBuilder, s: NodeView, x: gs.Tensor) -> gs.Tensor:
    """The sums of each channel of (N, C, ...), of the shape (C,)."""
    return g.sum(x, _all_but_channels(g, s), keepdims=False)


def _all_but_channels(g: GradientBuilder, s: NodeView) -> list[int]:
    return [axis for axis in range(g.rank(s.x)) if axis != 1]


@vjp("BatchNormalization")
def batch_normalization(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor | None, *dstatistics: gs.Tensor | None
) -> tuple[gs.Tensor | None, ...]:
    if s.attr("training_mode", 0):
        return _training_batch_normalization(g, s, dy, *dstatistics)
    assert dy is not None  # there is no other output
    x, scale, _, mean, variance = s.inputs
    rate = _rate(g, variance, _epsilon(s))
    gain = g.Mul(scale, rate)
    standard = g.Mul(g.Sub(x, _per_channel(g, s, mean)), _per_channel(g, s, rate))
    dscale, dbias = _channel_sum(g, s, g.Mul(dy, standard)), _channel_sum(g, s, dy)
    dvariance = g.Mul(dscale, g.Mul(F32(-0.5), g.Mul(gain, rate)))
    dx = g.Mul(dy, _per_channel(g, s, gain))
    return dx, dscale, dbias, g.Neg(g.Mul(dbias, gain)), dvariance


def _training_batch_normalization(
    g: GradientBuilder,
    s: NodeView,
    dy: gs.Tensor | None,
    dmean: gs.Tensor | None = None,
    dvariance: gs.Tensor | None = None,
) -> tuple[gs.Tensor | None, ...]:
    """By the statistics of the batch; they also move those that run along."""
    hat = _standardise(g, s.x, _all_but_channels(g, s), _epsilon(s))
    kept = s.attr("momentum", 0.9)
    share = g.Div(F32(1 - kept), _count(g, s, hat))
    dx, dscale, dbias = [], None, None
    if dy is not None:
        dx = [hat.gradient(g, g.Mul(dy, _per_channel(g, s, s.inputs[1])))]
        dscale, dbias = _channel_sum(g, s, g.Mul(dy, hat.x)), _channel_sum(g, s, dy)
    if dmean is not None:
        dx.append(g.Expand(_per_channel(g, s, g.Mul(dmean, share)), g.shape(s.x)))
        dmean = g.Mul(dmean, F32(kept))
    if dvariance is not None:
        centred = g.Div(hat.x, hat.rate)
        dx.append(g.Mul(_per_channel(g, s, g.Mul(dvariance, g.Mul(share, F32(2)))), centred))
        dvariance = g.Mul(dvariance, F32(kept))
    return g.Sum(*dx), dscale, dbias, dmean, dvariance


@vjp("InstanceNormalization")
def instance_normalization(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    hat = _standardise(g, s.x, range(2, g.rank(s.x)), _epsilon(s))
    dx = hat.gradient(g, g.Mul(dy, _per_channel(g, s, s.inputs[1])))
    return dx, _channel_sum(g, s, g.Mul(dy, hat.x)), _channel_sum(g, s, dy)


@vjp("GroupNormalization", since=18)
def group_normalization_18(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    """Scale and bias are per group."""
    hat, by_group = _groups(g, s), _grouped(g, s, dy)
    dx = hat.gradient(g, g.Mul(by_group, g.Unsqueeze(s.inputs[1], [1])))
    dscale = g.sum(g.Mul(by_group, hat.x), [0, 2], keepdims=False)
    return g.like(dx, s.x), dscale, g.sum(by_group, [0, 2], keepdims=False)


@vjp("GroupNormalization", since=21)
def group_normalization(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> tuple[gs.Tensor, ...]:
    """Scale and bias are per channel."""
    hat = _groups(g, s)
    dx = hat.gradient(g, _grouped(g, s, g.Mul(dy, _per_channel(g, s, s.inputs[1]))))
    dscale = _channel_sum(g, s, g.Mul(dy, g.like(hat.x, s.x)))
    return g.like(dx, s.x), dscale, _channel_sum(g, s, dy)


def _groups(g: GradientBuilder, s: NodeView) -> Standardised:
    return _standardise(g, _grouped(g, s, s.x), [2], _epsilon(s))


def _grouped(g: GradientBuilder, s: NodeView, x: gs.Tensor) -> gs.Tensor:
    """(N, C, ...) as (N, groups, elements)."""
    return g.Reshape(x, np.array([0, s.attr("num_groups"), -1]))


@vjp("LayerNormalization")
def layer_normalization(
    g: GradientBuilder,
    s: NodeView,
    dy: gs.Tensor | None,
    dmean: gs.Tensor | None = None,
    drate: gs.Tensor | None = None,
) -> tuple[gs.Tensor | None, ...]:
    hat = _standardise(g, s.x, _trailing_axes(g, s), _epsilon(s))
    dx, dscale, dbias = [], None, None
    if dy is not None:
        scale, bias = s.inputs[1], s.input(2)
        dx = [hat.gradient(g, g.Mul(dy, scale))]
        dscale = g.sum_to(g.Mul(dy, hat.x), scale, s.y)
        dbias = None if bias is None else g.sum_to(dy, bias, s.y)
    count = _count(g, s, hat)
    if dmean is not None:
        dx.append(g.Expand(g.Div(dmean, count), g.shape(s.x)))
    if drate is not None:  # r = variance^(-1/2), so dr/dx = -r² x̂ / count
        dx.append(g.Mul(g.Neg(g.Div(g.Mul(drate, g.square(hat.rate)), count)), hat.x))
    return g.Sum(*dx), dscale, dbias


@vjp("RMSNormalization")
def rms_normalization(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor
) -> tuple[gs.Tensor, gs.Tensor]:
    axes = _trailing_axes(g, s)  # x̂ = r x, dx = r (dx̂ - x̂ mean(x̂ dx̂))
    rate = _rate(g, _mean(g, g.square(s.x), axes), _epsilon(s))
    hat, dhat = g.Mul(s.x, rate), g.Mul(dy, s.inputs[1])
    along = g.Mul(hat, _mean(g, g.Mul(hat, dhat), axes))
    return g.Mul(rate, g.Sub(dhat, along)), g.sum_to(g.Mul(dy, hat), s.inputs[1], s.y)


def _trailing_axes(g: GradientBuilder, s: NodeView) -> range:
    return range(g.axis(s.x, s.attr("axis", -1)), g.rank(s.x))


@vjp("MeanVarianceNormalization")
def mean_variance_normalization(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    # The operator divides by √variance + 1e-9.
    return _standardise(g, s.x, s.attr("axes", [0, 2, 3]), 1e-18).gradient(g, dy)


@vjp("LpNormalization")
def lp_normalization(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """Where all elements are 0, the gradient is 0."""
    axes = np.array([s.attr("axis", -1)])  # dx = (dy - ‖x‖' Σ y dy) / ‖x‖
    total = g.ReduceSum(g.Mul(s.y, dy), axes)
    if s.attr("p", 2) == 1:
        norm, slope = g.ReduceL1(s.x, axes), g.Sign(s.x)
    else:
        norm, slope = g.ReduceL2(s.x, axes), s.y
    return g.Mul(g.Sub(dy, g.Mul(slope, total)), g.inverse(norm))


@vjp("LRN")
def lrn(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    """For y = x b^-β with b = bias + α mean x², the mean over the channels around each."""
    alpha, beta = s.attr("alpha", 1e-4), s.attr("beta", 0.75)
    before, after = (s.attr("size") - 1) // 2, s.attr("size") // 2
    mean = _channel_window_mean(g, s, g.square(s.x), before, after)
    base = g.Add(g.Mul(mean, F32(alpha)), F32(s.attr("bias", 1.0)))
    own = g.Mul(dy, g.Pow(base, F32(-beta)))
    around = _channel_window_mean(g, s, g.Div(g.Mul(dy, s.y), base), after, before)
    return g.Sub(own, g.Mul(g.Mul(s.x, F32(2 * alpha * beta)), around))


def _channel_window_mean(
    g: GradientBuilder, s: NodeView, x: gs.Tensor, before: int, after: int
) -> gs.Tensor:
    """The mean over windows of channels; beyond the first and the last there are zeros."""
    rows = g.Unsqueeze(g.Reshape(x, np.array([0, 0, -1])), [1])
    size = before + after + 1
    pooled = g.AveragePool(
        rows, kernel_shape=[size, 1], pads=[before, 0, after, 0], count_include_pad=1
    )
    return g.like(pooled, s.x)
