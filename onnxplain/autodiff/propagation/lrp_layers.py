"""LRP's rules for operators with weights: how relevance is shared among what a layer adds up.

Every rule divides the relevance of an output by what the layer gives for changed inputs and
weights, sends that back through the same changed weights, and multiplies with the changed inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.rules import STANDARD

LOW, HIGH = "low", "high"
"""Twins that hold the bounds of the input, for zbox."""

STABILISER = 1e-6
"""Keeps denominators away from 0."""

_TINY = 1e-30
"""In place of an epsilon of 0, so that nothing shared among nothing stays nothing."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A node that is linear in its first input, with constant weights as its second."""

    g: GradientBuilder
    step: NodeView

    @property
    def x(self) -> gs.Tensor:
        """What it reads."""
        return self.step.x

    @property
    def weights(self) -> gs.Tensor:
        """What it multiplies with."""
        return self.step.inputs[1]

    @property
    def bias(self) -> gs.Tensor | None:
        """What it adds."""
        return self.step.input(2)

    def forward(self, x: gs.Tensor, w: gs.Tensor, b: gs.Tensor | None = None) -> gs.Tensor:
        """The output for another input and other weights."""
        inputs = [x, w] if b is None else [x, w, b]
        return self.g.many(self.step.op, 1, *inputs, **self.step.attrs)[0]

    def back(self, w: gs.Tensor, dy: gs.Tensor) -> gs.Tensor:
        """From the outputs to the input through other weights."""
        other = self.g.in_place_of(self.weights, w)
        step = self.step.reading({self.weights.name: other})
        dx = STANDARD.gradients(self.g, step, [dy])[0]
        assert dx is not None  # a layer is linear in what it reads
        return dx


LayerRule = Callable[[Layer, gs.Tensor], gs.Tensor]
"""From the relevance of a layer's outputs to that of its input."""


def stabilised(g: GradientBuilder, y: gs.Tensor, epsilon: float = STABILISER) -> gs.Tensor:
    """`y` moved away from 0 by `epsilon`, to where it lies; 0 counts as positive."""
    away = g.Where(g.Less(y, F32(0)), F32(-epsilon), F32(epsilon))
    return g.Add(y, away)


def epsilon_rule(epsilon: float) -> LayerRule:
    """In proportion to x w, as they are (LRP-ε)."""

    def rule(layer: Layer, relevance: gs.Tensor) -> gs.Tensor:
        g, y = layer.g, layer.step.y
        share = g.Div(relevance, stabilised(g, y, max(epsilon, _TINY)))
        return g.Mul(layer.x, layer.back(layer.weights, share))

    return rule


def alpha_beta_rule(alpha: float, beta: float) -> LayerRule:
    """α in proportion to what is positive, less β in proportion to what is negative (LRP-αβ)."""

    def rule(layer: Layer, relevance: gs.Tensor) -> gs.Tensor:
        g, w, b = layer.g, layer.weights, layer.bias
        found = _shared(layer, relevance, _above(g, w), _below(g, w), b and _above(g, b))
        if alpha != 1:
            found = g.Mul(found, F32(alpha))
        if beta:
            against = _shared(layer, relevance, _below(g, w), _above(g, w), b and _below(g, b))
            found = g.Sub(found, g.Mul(against, F32(beta)))
        return found

    return rule


def gamma_rule(gamma: float) -> LayerRule:
    """In proportion to x w, where those with the sign of the output count 1 + γ times (LRP-γ)."""

    def rule(layer: Layer, relevance: gs.Tensor) -> gs.Tensor:
        g, w, b = layer.g, layer.weights, layer.bias

        def more(part: gs.Tensor, whole: gs.Tensor) -> gs.Tensor:
            return g.Add(whole, g.Mul(part, F32(gamma)))

        up, down = more(_above(g, w), w), more(_below(g, w), w)
        y = layer.step.y
        positive, negative = (
            g.where(g.Greater(y, F32(0)), relevance),
            g.where(g.Less(y, F32(0)), relevance),
        )
        return g.Add(
            _shared(layer, positive, up, down, b and more(_above(g, b), b)),
            _shared(layer, negative, down, up, b and more(_below(g, b), b)),
        )

    return rule


def flat_rule(layer: Layer, relevance: gs.Tensor) -> gs.Tensor:
    """In equal parts, whatever the input and the weights."""
    g = layer.g
    ones, even = (g.Expand(F32(1), g.shape(t)) for t in (layer.x, layer.weights))
    return layer.back(even, g.Div(relevance, layer.forward(ones, even)))


def box_rule(layer: Layer, relevance: gs.Tensor) -> gs.Tensor:
    """In proportion to x w − low w⁺ − high w⁻, for inputs between low and high (zᴮ)."""
    g, x, w = layer.g, layer.x, layer.weights
    bounds = g.twin(x, LOW), g.twin(x, HIGH)
    low, high = g.Min(*bounds), g.Max(*bounds)  # a negative scale exchanges them
    parts = [(x, w), (low, _above(g, w)), (high, _below(g, w))]
    y, *lowest = (layer.forward(*part) for part in parts)
    share = g.Div(relevance, stabilised(g, functools.reduce(g.Sub, lowest, y)))
    own, *others = (g.Mul(value, layer.back(weights, share)) for value, weights in parts)
    return functools.reduce(g.Sub, others, own)


def _shared(
    layer: Layer,
    relevance: gs.Tensor,
    for_positive: gs.Tensor,
    for_negative: gs.Tensor,
    bias: gs.Tensor | None,
) -> gs.Tensor:
    """In proportion to x⁺ times the one weights, x⁻ times the other ones, and the bias."""
    g = layer.g
    parts = (_above(g, layer.x), for_positive), (_below(g, layer.x), for_negative)
    total = g.Add(layer.forward(*parts[0], bias), layer.forward(*parts[1]))
    share = g.Div(relevance, stabilised(g, total))
    return g.Add(*(g.Mul(x, layer.back(w, share)) for x, w in parts))


def _above(g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
    return g.Relu(x)


def _below(g: GradientBuilder, x: gs.Tensor) -> gs.Tensor:
    return g.Min(x, F32(0))
