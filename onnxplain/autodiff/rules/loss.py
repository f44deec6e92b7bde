"""Losses."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor, vjp
from onnxplain.tensors import Array


@vjp("NegativeLogLikelihoodLoss")
def nll_loss(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    dlog, dweights = _of_log_probabilities(g, s, s.x, dy)
    return dlog, None, dweights


@vjp("SoftmaxCrossEntropyLoss")
def cross_entropy(
    g: GradientBuilder, s: NodeView, dy: Tensor | None, dlog: Tensor | None = None
) -> Gradients:
    """The gradient goes through the log-probabilities, the second output, to the scores."""
    log = g.LogSoftmax(s.x, axis=1)
    loss, dweights = (None, None) if dy is None else _of_log_probabilities(g, s, log, dy)
    flow = g.total(loss, dlog)
    return g.Sub(flow, g.Mul(g.Exp(log), g.sum(flow, [1]))), None, dweights


def _of_log_probabilities(
    g: GradientBuilder, s: NodeView, log: Tensor, dy: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of the log-probabilities, (N, C, d1, ...), and of the class weights, (C,)."""
    per_class = np.array([-1] + [1] * (g.rank(s.x) - 2))
    hit, weights = _targets(g, s, per_class), s.input(2)
    gain = g.Where(hit, F32(1) if weights is None else g.Reshape(weights, per_class), F32(0))
    reduction = s.attr("reduction", "mean")
    if reduction == "none":
        dy = g.Unsqueeze(dy, [1])
    elif reduction == "mean":
        dy, log = g.Div(dy, g.ReduceSum(gain, keepdims=0)), g.Add(log, s.y)
    axes = [axis for axis in range(g.rank(s.x)) if axis != 1]
    dweights = g.Neg(g.sum(g.where(hit, g.Mul(dy, log)), axes, keepdims=False))
    return g.Neg(g.Mul(dy, gain)), dweights


def _targets(g: GradientBuilder, s: NodeView, per_class: Array) -> Tensor:
    """A mask of the target class, (N, C, d1, ...), False for ignored targets."""
    target = g.Unsqueeze(g.Cast(s.inputs[1], to=TensorProto.INT64), [1])
    classes = g.arange(g.dim(s.x, 1))
    hit = g.Equal(target, g.Reshape(classes, per_class))
    ignored = s.attr("ignore_index")
    return hit if ignored is None else g.And(hit, g.Not(g.Equal(target, np.int64(ignored))))
