"""LRP's rules for operators with weights: how relevance is distributed to the input.

Every rule computes the layer for changed inputs and weights, divides the relevance of the output by
that, propagates the quotient back through the changed weights, and multiplies by the changed
inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor
from onnxplain.autodiff.rules import STANDARD

LOW, HIGH = "low", "high"
"""Names of the samples in the graph that are the bounds of the input, for the zbox rule."""

STABILIZER = 1e-6
"""Added to denominators, with their sign."""

_TINY = 1e-30
"""Used instead of an epsilon of 0, so that 0 / 0 gives 0."""


LayerRule = Callable[[GradientBuilder, NodeView, Tensor], Tensor]
"""`rule(g, step, relevance of the output)` -> relevance of the input; weights are constant."""


def stabilized(g: GradientBuilder, y: Tensor, epsilon: float = STABILIZER) -> Tensor:
    """`y` + `epsilon` where `y` is 0 or more, `y` − `epsilon` elsewhere."""
    away = g.Where(g.Less(y, F32(0)), F32(-epsilon), F32(epsilon))
    return g.Add(y, away)


def epsilon_rule(epsilon: float) -> LayerRule:
    """Relevance in proportion to x w (LRP-ε)."""

    def rule(g: GradientBuilder, s: NodeView, relevance: Tensor) -> Tensor:
        share = g.Div(relevance, stabilized(g, s.y, max(epsilon, _TINY)))
        return g.Mul(s.x, _back(g, s, s.inputs[1], share))

    return rule


def alpha_beta_rule(alpha: float, beta: float) -> LayerRule:
    """α times relevance shared by the positive x w, minus β times that by the negative (LRP-αβ)."""

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


def positive_rule(g: GradientBuilder, s: NodeView, relevance: Tensor) -> Tensor:
    """Relevance in proportion to the positive x w; the bias gets none (z⁺ of deep Taylor)."""
    w = s.inputs[1]
    return _shared(g, s, relevance, g.Relu(w), _below(g, w), None)


def gamma_rule(gamma: float) -> LayerRule:
    """Relevance in proportion to x w, times 1 + γ if x w has the sign of the output (LRP-γ)."""

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
    """Relevance in equal parts, independent of input and weights."""
    ones, even = (g.Expand(F32(1), g.shape(t)) for t in s.inputs[:2])
    return _back(g, s, even, g.Div(relevance, _forward(g, s, ones, even)))


def box_rule(g: GradientBuilder, s: NodeView, relevance: Tensor) -> Tensor:
    """Relevance in proportion to x w − low w⁺ − high w⁻, for low ≤ x ≤ high (zᴮ)."""
    x, w = s.inputs[:2]
    bounds = g.paired(x, LOW), g.paired(x, HIGH)
    low, high = g.Min(*bounds), g.Max(*bounds)  # a negative scale in preprocessing exchanges them
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
    """Relevance in proportion to x⁺ `for_positive` and x⁻ `for_negative`; the bias gets a share."""
    parts = (g.Relu(s.x), for_positive), (_below(g, s.x), for_negative)
    total = g.Add(_forward(g, s, *parts[0], bias), _forward(g, s, *parts[1]))
    share = g.Div(relevance, stabilized(g, total))
    return g.Add(*(g.Mul(x, _back(g, s, w, share)) for x, w in parts))


def _forward(
    g: GradientBuilder, s: NodeView, x: Tensor, w: Tensor, b: Tensor | None = None
) -> Tensor:
    """The layer computed for another input and other weights."""
    return g.many(s.op, 1, x, w, b, **s.attrs)[0]


def _back(g: GradientBuilder, s: NodeView, w: Tensor, dy: Tensor) -> Tensor:
    """The gradient of the input, computed with other weights."""
    other = g.in_place_of(s.inputs[1], w)
    dx = STANDARD.gradients(g, s.reading({s.inputs[1].name: other}), [dy])[0]
    assert dx is not None  # a linear layer always has one
    return dx


def _below(g: GradientBuilder, x: Tensor) -> Tensor:
    return g.Min(x, F32(0))
