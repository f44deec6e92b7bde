"""Multipliers in place of derivatives: how much of Δy each unit of Δx accounts for.

Δ is the difference between the sample and its twin, the baseline. Every rule keeps the sum: m_x Δx
over a node's inputs is m_y Δy over its outputs. What is linear has its derivative as multiplier.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.propagation.deeplift_normal import NORMALISATIONS
from onnxplain.autodiff.propagation.difference import difference, halfway, mean, twin, varies
from onnxplain.autodiff.propagation.operators import (
    STRUCTURAL,
    UNARY,
    refusal,
    refusing,
    standard,
)
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rule, RuleHooks, Rules
from onnxplain.model.operators import EXTREMA, LINEAR, WEIGHTED

_SMALL = 1e-6
"""Relative differences below which rounding would spoil their quotient."""

_INSTEAD = "integrated_gradients"

_Multipliers = Sequence[gs.Tensor | None]


def _quotient(g: GradientBuilder, dy: gs.Tensor, x: gs.Tensor, otherwise: object) -> gs.Tensor:
    """`dy` / Δx, and `otherwise` where Δx is too small."""
    dx = difference(g, x)
    scale = g.Add(g.Abs(x), g.Abs(twin(g, x)))
    tells = g.Greater(g.Abs(dx), g.Mul(scale, F32(_SMALL)))
    return g.Where(tells, g.Div(dy, g.Where(tells, dx, F32(1))), otherwise)


def _halfway(g: GradientBuilder, s: NodeView, *dys: gs.Tensor | None) -> _Multipliers:
    """The derivative halfway, exact for products of two: ab − a'b' = Δa (b + b')/2 + (a + a')/2 Δb.

    Also for roots and norms: √x − √x' = Δx / (√x + √x').
    """
    if sum(varies(g, x) for x in s.inputs) > 2:
        raise refusal("deeplift", s, "multiplies more than two tensors", _INSTEAD)
    return STANDARD.gradients(g, halfway(g, s), dys)


def _choice(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> _Multipliers:
    if varies(g, s.inputs[0]):
        raise refusal("deeplift", s, "chooses by the picture, and has no rule", _INSTEAD)
    return STANDARD.gradients(g, s, [dy])


def _division(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> _Multipliers:
    """A product with the reciprocal, whose Δ(1/b) is −Δb / (b b')."""
    a, b = s.inputs
    if not varies(g, b):
        return STANDARD.gradients(g, s, [dy])
    rate, other = g.Reciprocal(b), g.Reciprocal(twin(g, b))
    to_b = g.Neg(g.Mul(g.Mul(dy, mean(g, a)), g.Mul(rate, other)))
    to_a = g.Mul(dy, g.Mul(g.Add(rate, other), F32(0.5)))
    return [g.sum_to(to_a, a, s.y), g.sum_to(to_b, b, s.y)]


def _rescale(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> _Multipliers:
    """Δy/Δx, and the derivative where Δx is too small.

    Of two inputs that vary, each gets the mean of what it changes before and after the other one.
    """
    varying = [i for i, x in enumerate(s.inputs) if varies(g, x)]
    if len(varying) > 2:
        raise refusal("deeplift", s, "has more than two inputs that vary", _INSTEAD)
    slopes = [*STANDARD.gradients(g, s, [dy]), None, None]
    multipliers: list[gs.Tensor | None] = [None] * len(s.inputs)
    for i in varying:
        x = s.inputs[i]
        alone = difference(g, s.y) if len(varying) == 1 else _change(g, s, i, sum(varying) - i)
        slope = F32(0) if slopes[i] is None else slopes[i]
        multipliers[i] = _quotient(g, g.sum_to(g.Mul(dy, alone), x, s.y), x, slope)
    return multipliers


def _change(g: GradientBuilder, s: NodeView, index: int, other: int) -> gs.Tensor:
    """Of the output by one of two inputs, (f(a, b) − f(a', b) + f(a, b') − f(a', b')) / 2."""
    last, first = list(s.inputs), list(s.inputs)
    last[index] = twin(g, last[index])
    first[other] = twin(g, first[other])
    mixed = [g.many(s.op, 1, *inputs, **s.attrs)[0] for inputs in (last, first)]
    both = g.Add(g.Sub(s.y, mixed[0]), g.Sub(mixed[1], twin(g, s.y)))
    return g.Mul(both, F32(0.5))


def _extremum(
    g: GradientBuilder, s: NodeView, dy: gs.Tensor | None, *_: gs.Tensor | None
) -> _Multipliers:
    """With M the larger of two maxima, M − y' goes to the place of y, y − M to that of y'.

    One of them is 0, and at the place of the other one the inputs differ as much or more.
    """
    if dy is None:
        return []
    other = twin(g, s.y)
    further = g.Min(s.y, other) if s.op == "ReduceMin" else g.Max(s.y, other)
    at_baseline = NodeView(s.node, s.opset, lambda name: twin(g, g.tensor(name)))
    shares = (s, g.Sub(further, other)), (at_baseline, g.Sub(s.y, further))
    placed = [STANDARD.gradients(g, step, [g.Mul(dy, share)])[0] for step, share in shares]
    return [_quotient(g, g.Add(*placed), s.x, F32(0))]


_TABLE: dict[str, Rule] = {
    **dict.fromkeys(LINEAR | STRUCTURAL, standard),
    **dict.fromkeys(UNARY | {"Max", "Min"}, _rescale),
    **dict.fromkeys(EXTREMA, _extremum),
    **dict.fromkeys(WEIGHTED | {"Mul", "Einsum", "Sqrt", "ReduceL2", "ReduceSumSquare"}, _halfway),
    "Div": _division,
    "Where": _choice,
    **NORMALISATIONS,
}

DEEPLIFT = Rules().replaced(_TABLE, RuleHooks(check=refusing("deeplift", _TABLE, _INSTEAD)))
"""DeepLIFT's multipliers (Shrikumar 2017, Rescale rule), in models with the twin `BASELINE`."""
