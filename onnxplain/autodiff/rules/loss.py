"""Losses."""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.calculus import F32, Calculus
from onnxplain.autodiff.registry import vjp
from onnxplain.autodiff.step import Step


@vjp("NegativeLogLikelihoodLoss")
def nll_loss(g: Calculus, s: Step, dy: gs.Tensor) -> gs.Tensor:
    return _of_log_probabilities(g, s, dy)


@vjp("SoftmaxCrossEntropyLoss")
def cross_entropy(
    g: Calculus, s: Step, dy: gs.Tensor | None, dlog: gs.Tensor | None = None
) -> gs.Tensor:
    """Through log-probabilities, which are the second output, and from there to the scores."""
    loss = None if dy is None else _of_log_probabilities(g, s, dy)
    flow = g.Sum(*(part for part in (loss, dlog) if part is not None))
    return g.Sub(flow, g.Mul(g.Softmax(s.x, axis=1), g.sum(flow, [1])))


def _of_log_probabilities(g: Calculus, s: Step, dy: gs.Variable) -> gs.Tensor:
    """The gradient of the loss of log-probabilities (N, C, d1, ...): minus the class weights."""
    gain = _class_weights(g, s)
    reduction = s.attr("reduction", "mean")
    if reduction == "none":
        dy = g.Unsqueeze(dy, [1])
    elif reduction == "mean":
        dy = g.Div(dy, g.ReduceSum(gain, keepdims=0))
    return g.Neg(g.Mul(dy, gain))


def _class_weights(g: Calculus, s: Step) -> gs.Tensor:
    """(N, C, d1, ...): the weight of the target class in its place, 0 in all others."""
    beside = [1] * (g.rank(s.x) - 2)
    target = g.Unsqueeze(g.Cast(s.inputs[1], to=TensorProto.INT64), [1])
    classes = g.Range(0, g.Squeeze(g.dim(s.x, 1), [0]), 1)
    hit = g.Equal(target, g.Reshape(classes, [-1, *beside]))
    ignored = s.attr("ignore_index")
    if ignored is not None:
        hit = g.And(hit, g.Not(g.Equal(target, ignored)))
    weights = s.input(2)
    one: Any = F32(1)
    return g.Where(hit, one if weights is None else g.Reshape(weights, [-1, *beside]), F32(0))
