"""Normalizations.

Most of them are x̂ = r (x - mean) with r = 1 / √(variance + ε), then a scale and a bias. The
gradient of x is r (dx̂ - mean dx̂ - x̂ mean(x̂ dx̂)), with means over the axes that are normalized.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp

NORMALIZATIONS = ("LayerNormalization", "RMSNormalization", "InstanceNormalization")
"""Operators of exactly this form, over axes of one sample."""


@dataclass(frozen=True, eq=False)
class Normalized:
    """x minus its mean (RMSNormalization: x), and r."""

    g: GradientBuilder
    centered: Tensor
    rate: Tensor
    axes: Sequence[int]
    subtracts: bool

    @functools.cached_property
    def hat(self) -> Tensor:
        """The normalized x̂ = r (x - mean)."""
        return self.g.Mul(self.centered, self.rate)

    def mean(self, x: Tensor) -> Tensor:
        """The mean of `x` over the axes that are normalized."""
        return _mean(self.g, x, self.axes)

    def center(self, x: Tensor) -> Tensor:
        """`x` minus its mean; the gradient of this operation is the same operation."""
        return self.g.Sub(x, self.mean(x)) if self.subtracts else x

    def gradient(self, dx: Tensor) -> Tensor:
        """The gradient of x from `dx`, that of x̂."""
        g = self.g
        along = g.Mul(self.hat, self.mean(g.Mul(self.hat, dx)))
        return g.Mul(self.rate, g.Sub(self.center(dx), along))


def normalized(g: GradientBuilder, s: NodeView, x: Tensor) -> Normalized:
    """The normalization of `x` by a LayerNormalization, InstanceNormalization, RMSNormalization."""
    first = 2 if s.op == "InstanceNormalization" else g.axis(s.x, s.attr("axis", -1))
    subtracts = s.op != "RMSNormalization"
    return _normalize(g, x, range(first, g.rank(s.x)), _epsilon(s), subtracts)


def scale(g: GradientBuilder, s: NodeView) -> Tensor:
    """The scale that such an operator multiplies by, in a shape that broadcasts to x."""
    given = s.inputs[1]
    return _per_channel(g, s, given) if s.op == "InstanceNormalization" else given


def _normalize(
    g: GradientBuilder, x: Tensor, axes: Sequence[int], epsilon: float, subtracts: bool = True
) -> Normalized:
    centered = g.Sub(x, _mean(g, x, axes)) if subtracts else x
    rate = _rate(g, _mean(g, g.square(centered), axes), epsilon)
    return Normalized(g, centered, rate, axes, subtracts)


def _count(g: GradientBuilder, s: NodeView, part: Normalized) -> Tensor:
    """Number of elements in each mean, as float32."""
    return g.as_float(g.Div(g.Size(s.x), g.Size(part.rate)))


def _mean(g: GradientBuilder, x: Tensor, axes: Sequence[int]) -> Tensor:
    return g.ReduceMean(x, [*axes], keepdims=1)


def _rate(g: GradientBuilder, variance: Tensor, epsilon: float) -> Tensor:
    return g.Reciprocal(g.Sqrt(g.Add(variance, F32(epsilon))))


def _epsilon(s: NodeView) -> float:
    return float(s.attr("epsilon", 1e-5))


def _per_channel(g: GradientBuilder, s: NodeView, values: Tensor) -> Tensor:
    """Values of shape (C,), reshaped to broadcast to x of (N, C, ...)."""
    return g.Reshape(values, [-1] + [1] * (g.rank(s.x) - 2))


def _channel_sum(g: GradientBuilder, s: NodeView, x: Tensor) -> Tensor:
    """The sum over each channel of `x`, (N, C, ...), as (C,)."""
    return g.sum(x, _all_but_channels(g, s), keepdims=False)


def _all_but_channels(g: GradientBuilder, s: NodeView) -> list[int]:
    return [axis for axis in range(g.rank(s.x)) if axis != 1]


@vjp("BatchNormalization")
def batch_normalization(
    g: GradientBuilder, s: NodeView, dy: Tensor | None, *dstatistics: Tensor | None
) -> Gradients:
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
    dy: Tensor | None,
    dmean: Tensor | None = None,
    dvariance: Tensor | None = None,
) -> Gradients:
    """With batch statistics; the running statistics depend on x too."""
    x = _normalize(g, s.x, _all_but_channels(g, s), _epsilon(s))
    kept = s.attr("momentum", 0.9)
    share = g.Div(F32(1 - kept), _count(g, s, x))
    dx, dscale, dbias = [], None, None
    if dy is not None:
        dx = [x.gradient(g.Mul(dy, _per_channel(g, s, s.inputs[1])))]
        dscale, dbias = _channel_sum(g, s, g.Mul(dy, x.hat)), _channel_sum(g, s, dy)
    if dmean is not None:
        dx.append(g.Expand(_per_channel(g, s, g.Mul(dmean, share)), g.shape(s.x)))
        dmean = g.Mul(dmean, F32(kept))
    if dvariance is not None:
        dx.append(g.Mul(_per_channel(g, s, g.Mul(dvariance, g.Mul(share, F32(2)))), x.centered))
        dvariance = g.Mul(dvariance, F32(kept))
    return g.total(*dx), dscale, dbias, dmean, dvariance


@vjp("InstanceNormalization")
def instance_normalization(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    x = normalized(g, s, s.x)
    dscale, dbias = _channel_sum(g, s, g.Mul(dy, x.hat)), _channel_sum(g, s, dy)
    return x.gradient(g.Mul(dy, scale(g, s))), dscale, dbias


@vjp("GroupNormalization")
def group_normalization(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Scale and bias are per group before opset 21, and per channel since."""
    x = _normalize(g, _grouped(g, s, s.x), [2], _epsilon(s))
    if s.opset < 21:
        dy, hat, axes = _grouped(g, s, dy), x.hat, [0, 2]
        scale = g.Unsqueeze(s.inputs[1], [1])
    else:
        hat, axes = g.like(x.hat, s.x), _all_but_channels(g, s)
        scale = _per_channel(g, s, s.inputs[1])
    dx = x.gradient(_grouped(g, s, g.Mul(dy, scale)))
    dscale, dbias = (g.sum(part, axes, keepdims=False) for part in (g.Mul(dy, hat), dy))
    return g.like(dx, s.x), dscale, dbias


def _grouped(g: GradientBuilder, s: NodeView, x: Tensor) -> Tensor:
    """(N, C, ...) as (N, groups, elements)."""
    return g.Reshape(x, [0, s.attr("num_groups"), -1])


@vjp("LayerNormalization", "RMSNormalization")
def layer_normalization(
    g: GradientBuilder,
    s: NodeView,
    dy: Tensor | None,
    dmean: Tensor | None = None,
    drate: Tensor | None = None,
) -> Gradients:
    x = normalized(g, s, s.x)
    dx, dscale, dbias = [], None, None
    if dy is not None:
        bias = s.input(2)
        dx = [x.gradient(g.Mul(dy, s.inputs[1]))]
        dscale = g.sum_to(g.Mul(dy, x.hat), s.inputs[1], s.y)
        dbias = None if bias is None else g.sum_to(dy, bias, s.y)
    if dmean is not None:
        dx.append(g.Expand(g.Div(dmean, _count(g, s, x)), g.shape(s.x)))
    if drate is not None:  # r = variance^(-1/2), so dr/dx = -r² x̂ / count
        slope = g.Div(g.Mul(drate, g.square(x.rate)), _count(g, s, x))
        dx.append(g.Mul(g.Neg(slope), x.hat))
    return g.total(*dx), dscale, dbias


@vjp("MeanVarianceNormalization")
def mean_variance_normalization(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    # The operator divides by √variance + 1e-9.
    return _normalize(g, s.x, s.attr("axes", [0, 2, 3]), 1e-18).gradient(dy)


@vjp("LpNormalization")
def lp_normalization(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """Where all elements are 0, the gradient is 0."""
    axes = [s.attr("axis", -1)]  # dx = (dy - ‖x‖' Σ y dy) / ‖x‖
    total = g.ReduceSum(g.Mul(s.y, dy), axes)
    if s.attr("p", 2) == 1:
        norm, slope = g.ReduceL1(s.x, axes), g.Sign(s.x)
    else:
        norm, slope = g.ReduceL2(s.x, axes), s.y
    return g.Mul(g.Sub(dy, g.Mul(slope, total)), g.inverse(norm))


@vjp("LRN")
def lrn(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    """For y = x b^-β with b = bias + α mean x², with the mean over a window of channels."""
    alpha, beta = s.attr("alpha", 1e-4), s.attr("beta", 0.75)
    before, after = (s.attr("size") - 1) // 2, s.attr("size") // 2
    mean = _channel_window_mean(g, s, g.square(s.x), before, after)
    base = g.Add(g.Mul(mean, F32(alpha)), F32(s.attr("bias", 1.0)))
    own = g.Mul(dy, g.Pow(base, F32(-beta)))
    around = _channel_window_mean(g, s, g.Div(g.Mul(dy, s.y), base), after, before)
    return g.Sub(own, g.Mul(g.Mul(s.x, F32(2 * alpha * beta)), around))


def _channel_window_mean(
    g: GradientBuilder, s: NodeView, x: Tensor, before: int, after: int
) -> Tensor:
    """The mean over windows of channels, padded with zeros."""
    rows = g.Unsqueeze(g.Reshape(x, [0, 0, -1]), [1])
    size = before + after + 1
    pooled = g.AveragePool(
        rows, kernel_shape=[size, 1], pads=[before, 0, after, 0], count_include_pad=1
    )
    return g.like(pooled, s.x)
