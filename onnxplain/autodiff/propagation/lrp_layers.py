"""LRP's rules for operators with weights: how relevance is shared among what a layer adds up.

Every rule divides the relevance of an output by what the layer gives for changed inputs and
weights, sends that back through the same changed weights, and multiplies with the changed inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor
from onnxplain.autodiff.rules import STANDARD

LOW, HIGH = "low", "high"
"""Twins that hold the bounds of the input, for zbox."""

STABILIZER = 1e-6
"""Keeps denominators away from 0."""

_TINY = 1e-30
"""In place of an epsilon of 0, so that nothing shared among nothing stays nothing."""


LayerRule = Callable[[GradientBuilder, NodeView, Tensor], Tensor]
"""From the relevance of a layer's outputs to that of its input; its weights are constant."""


def stabilized(g: GradientBuilder, y: Tensor, epsilon: float = STABILIZER) -> Tensor:
    """`y` moved away from 0 by `epsilon`, to where it lies; 0 counts as positive."""
    away = g.Where(g.Less(y, F32(0)), F32(-epsilon), F32(epsilon))
    return g.Add(y, away)


def epsilon_rule(epsilon: float) -> LayerRule:
    """In proportion to x w, as they are (LRP-ε)."""

    def rule(g: GradientBuilder, s: NodeView, relevance: Tensor) -> Tensor:
        share = g.Div(relevance, stabilized(g, s.y, max(epsilon, _TINY)))
        return g.Mul(s.x, _back(g, s, s.inputs[1], share))

    return rule


def alpha_beta_rule(alpha: float, beta: float) -> LayerRule:
    """α in proportion to what is positive, less β in proportion to what is negative (LRP-αβ)."""

    def rule(g: GradientBuilder, s: NodeView, relevance: Tensor) -> Tensor:
        w, b = s.inputs[1], s.input(2)
        found = _shared(g, s, relevance, g.Relu(w), _below(g, w), b and g.Relu(b))
        if alpha != 1:
            found = g.Mul(found, F32(alpha))
        if beta:
            against = _shared(g, s, relevance, _below(g, w), g.Relu(w), b and _below(g, b))
            found = g.Sub(found, g.Mul(against, F32(beta)))
        return found

    return rule


def gamma_rule(gamma: float) -> LayerRule:
    """In proportion to x w, where those with the sign of the output count 1 + γ times (LRP-γ)."""

    def rule(g: GradientBuilder, s: NodeView, relevance: Tensor) -> Tensor:
        w, b = s.inputs[1], s.input(2)

        def more(part: Tensor, whole: Tensor) -> Tensor:
            return g.Add(whole, g.Mul(part, F32(gamma)))

        up, down = more(g.Relu(w), w), more(_below(g, w), w)
        positive = g.where(g.Greater(s.y, F32(0)), relevance)
        negative = g.where(g.Less(s.y, F32(0)), relevance)
        return g.Add(
            _shared(g, s, positive, up, down, b and more(g.Relu(b), b)),
            _shared(g, s, negative, down, up, b and more(_below(g, b), b)),
        )

    return rule


def flat_rule(g: GradientBuilder, s: NodeView, relevance: Tensor) -> Tensor:
    """In equal parts, whatever the input and the weights."""
    ones, even = (g.Expand(F32(1), g.shape(t)) for t in s.inputs[:2])
    return _back(g, s, even, g.Div(relevance, _forward(g, s, ones, even)))


def box_rule(g: GradientBuilder, s: NodeView, relevance: Tensor) -> Tensor:
    """In proportion to x w − low w⁺ − high w⁻, for inputs between low and high (zᴮ)."""
    x, w = s.inputs[:2]
    bounds = g.paired(x, LOW), g.paired(x, HIGH)
    low, high = g.Min(*bounds), g.Max(*bounds)  # a negative scale exchanges them
    parts = [(x, w), (low, g.Relu(w)), (high, _below(g, w))]
    y, *lowest = (_forward(g, s, *part) for part in parts)
    share = g.Div(relevance, stabilized(g, functools.reduce(g.Sub, lowest, y)))
    own, *others = (g.Mul(value, _back(g, s, weights, share)) for value, weights in parts)
    return functools.reduce(g.Sub, others, own)


def _shared(
    g: GradientBuilder,
    s: NodeView,
    relevance: Tensor,
    for_positive: Tensor,
    for_negative: Tensor,
    bias: Tensor | None,
) -> Tensor:
    """In proportion to x⁺ times the one weights, x⁻ times the other ones, and the bias."""
    parts = (g.Relu(s.x), for_positive), (_below(g, s.x), for_negative)
    total = g.Add(_forward(g, s, *parts[0], bias), _forward(g, s, *parts[1]))
    share = g.Div(relevance, stabilized(g, total))
    return g.Add(*(g.Mul(x, _back(g, s, w, share)) for x, w in parts))


def _forward(
    g: GradientBuilder, s: NodeView, x: Tensor, w: Tensor, b: Tensor | None = None
) -> Tensor:
    """The output for another input and other weights."""
    return g.many(s.op, 1, x, w, b, **s.attrs)[0]


def _back(g: GradientBuilder, s: NodeView, w: Tensor, dy: Tensor) -> Tensor:
    """From the outputs to the input through other weights."""
    other = g.in_place_of(s.inputs[1], w)
    dx = STANDARD.gradients(g, s.reading({s.inputs[1].name: other}), [dy])[0]
    assert dx is not None  # a layer is linear in what it reads
    return dx


def _below(g: GradientBuilder, x: Tensor) -> Tensor:
    return g.Min(x, F32(0))
