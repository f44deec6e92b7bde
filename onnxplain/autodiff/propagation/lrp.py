"""Relevance in place of derivatives: the score is shared out among what each node adds up.

- Layers with constant weights share by the composite's rule for their type.
- Other linear operators share in proportion to what each input adds.
- Activations and rounding pass relevance on unchanged; so do factors.
- Normalisations over axes are linear, with what they divide by as a constant.
- Of a product of two activations each takes half, but a sigmoid that gates the other one takes
  nothing; of a quotient the numerator takes all.
- Softmax follows its first-order expansion (AttnLRP), which keeps the sum only with its bias.
- What moves values about moves relevance back; maxima give it to the winner.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.lowering.batch_norm import merge_batch_norms
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.propagation.lrp_layers import (
    Layer,
    LayerRule,
    alpha_beta_rule,
    box_rule,
    epsilon_rule,
    flat_rule,
    gamma_rule,
    stabilised,
)
from onnxplain.autodiff.propagation.normal import normalisation
from onnxplain.autodiff.propagation.operators import STRUCTURAL, UNARY, refusing, standard
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.table import Rule, RuleHooks, Rules
from onnxplain.model import operators

_Relevance = Sequence[gs.Tensor | None]

_AFFINE = operators.ARITHMETIC | {"Neg"}
"""Preprocessing that may be part of a model."""


@dataclass(frozen=True)
class Composite:
    """Rules by type of layer; `first` is for layers that read the input, if they differ."""

    convolution: LayerRule
    dense: LayerRule
    first: LayerRule | None = None

    def rule(self, g: GradientBuilder, s: NodeView) -> LayerRule:
        """The rule of a node."""
        if self.first is not None and _at_input(g, s.x):
            return self.first
        return self.convolution if s.op in operators.CONVOLUTIONS else self.dense


def _composites(epsilon: float, gamma: float) -> Mapping[str, Composite]:
    even, positive = epsilon_rule(epsilon), alpha_beta_rule(1, 0)
    more, both = gamma_rule(gamma), alpha_beta_rule(2, 1)
    return {
        "epsilon": Composite(even, even),
        "gamma": Composite(more, more),
        "zplus": Composite(positive, positive),
        "alpha2beta1": Composite(both, both),
        "zbox": Composite(even, even, box_rule),
        "epsilon_plus": Composite(positive, even),
        "epsilon_plus_flat": Composite(positive, even, flat_rule),
        "epsilon_alpha2beta1": Composite(both, even),
        "epsilon_alpha2beta1_flat": Composite(both, even, flat_rule),
        "epsilon_gamma_box": Composite(more, even, box_rule),
    }


def _varies(g: GradientBuilder, x: gs.Tensor | None) -> bool:
    return x is not None and x.name in g.walk.needed


def _at_input(g: GradientBuilder, x: gs.Tensor) -> bool:
    """Whether only moves, scales and shifts lie between the input and a tensor."""
    step = g.walk.makers.get(x.name)
    if step is None:
        return True
    varying = [tensor for tensor in step.inputs if _varies(g, tensor)]
    if len(varying) != 1 or step.op not in STRUCTURAL | _AFFINE:
        return False
    return _at_input(g, varying[0])


def _layer(composite: Composite) -> Rule:
    def rule(g: GradientBuilder, s: NodeView, r: gs.Tensor) -> _Relevance:
        varying = [_varies(g, x) for x in s.inputs]
        if varying[:2] == [True, True]:
            return _of_product(g, s, r)
        if varying[0] and not any(varying[1:]):
            return [composite.rule(g, s)(Layer(g, s), r)]
        return _by_share(g, s, r)

    return rule


def _by_share(g: GradientBuilder, s: NodeView, *rs: gs.Tensor | None) -> _Relevance:
    """In proportion to what each input adds."""
    return _shares(g, s, g.Div(rs[0], stabilised(g, s.y)))


def _of_product(g: GradientBuilder, s: NodeView, r: gs.Tensor) -> _Relevance:
    """Half of it to each operand, in proportion to the products."""
    return _shares(g, s, g.Div(g.Mul(r, F32(0.5)), stabilised(g, s.y)))


def _shares(g: GradientBuilder, s: NodeView, share: gs.Tensor) -> _Relevance:
    pairs = zip(s.inputs, STANDARD.gradients(g, s, [share]), strict=False)
    return [g.Mul(x, dx) if _varies(g, x) and dx is not None else None for x, dx in pairs]


def _passed(g: GradientBuilder, s: NodeView, r: gs.Tensor, *_: gs.Tensor | None) -> _Relevance:
    """To the first input, of the shape of the output unless it was repeated."""
    return [g.sum_to(r, s.x, s.y)]


def _sum(g: GradientBuilder, s: NodeView, r: gs.Tensor) -> _Relevance:
    """In proportion to the terms; a shift of the input itself takes nothing."""
    varying = [x for x in s.inputs if _varies(g, x)]
    if len(varying) == 1 and _at_input(g, varying[0]):
        return [g.sum_to(r, x, s.y) if _varies(g, x) else None for x in s.inputs]
    return _by_share(g, s, r)


def _factors(g: GradientBuilder, s: NodeView, r: gs.Tensor) -> _Relevance:
    """In equal parts to the operands that vary, but for gates."""
    varying = [_varies(g, x) for x in s.inputs]
    signals = [x for x in s.inputs if _varies(g, x) and not _is_gate(g, x)]
    if len(signals) == 1:
        return [g.sum_to(r, x, s.y) if x is signals[0] else None for x in s.inputs]
    part = g.Mul(r, F32(1 / sum(varying))) if sum(varying) > 1 else r
    both = zip(s.inputs, varying, strict=True)
    return [g.sum_to(part, x, s.y) if varies else None for x, varies in both]


def _is_gate(g: GradientBuilder, x: gs.Tensor) -> bool:
    step = g.walk.makers.get(x.name)
    return step is not None and step.op in ("Sigmoid", "HardSigmoid")


def _quotient(g: GradientBuilder, s: NodeView, r: gs.Tensor) -> _Relevance:
    index = 0 if _varies(g, s.x) else 1
    return [g.sum_to(r, x, s.y) if i == index else None for i, x in enumerate(s.inputs)]


def _softmax(g: GradientBuilder, s: NodeView, r: gs.Tensor) -> gs.Tensor:
    """The input times the gradient of what R / y weights: x (R − y Σ R)."""
    left = g.Sub(r, g.Mul(s.y, g.sum(r, [s.attr("axis", -1)])))
    return g.Where(g.Equal(s.y, F32(0)), F32(0), g.Mul(s.x, left))


def _of_normalisation(
    g: GradientBuilder, s: NodeView, r: gs.Tensor, *_: gs.Tensor | None
) -> gs.Tensor:
    """In proportion to what each input adds, with what it is divided by as a constant."""
    parts = normalisation(g, s, s.x)
    share = g.Mul(g.Div(r, stabilised(g, s.y)), g.Mul(parts.scale, parts.rate))
    return g.Mul(s.x, parts.centre(g, share))


def _start(g: GradientBuilder, score: gs.Tensor, seed: gs.Tensor) -> gs.Tensor:
    """The score itself; outputs keep a type of their own beside seeds, which are float32."""
    return g.Mul(seed, g.Cast(score, to=TensorProto.FLOAT))


_TABLE: Mapping[str, Rule] = {
    **dict.fromkeys(operators.LINEAR | {"Einsum"}, _by_share),
    **dict.fromkeys(STRUCTURAL | operators.EXTREMA | {"Max", "Min", "Where"}, standard),
    **dict.fromkeys(UNARY | operators.ROUNDS | {"Neg", "GroupNormalization"}, _passed),
    **dict.fromkeys(
        ["LayerNormalization", "RMSNormalization", "InstanceNormalization"], _of_normalisation
    ),
    **dict.fromkeys(["Add", "Sub"], _sum),
    "Mul": _factors,
    "Div": _quotient,
    "Softmax": _softmax,
}


@functools.cache
def relevance(composite: str, epsilon: float, gamma: float) -> Rules:
    """Layer-wise relevance propagation (Bach 2015) by a composite of rules (Montavon 2019)."""
    layer = _layer(_composites(epsilon, gamma)[composite])
    table = {**_TABLE, **dict.fromkeys(operators.WEIGHTED, layer)}
    return Rules().replaced(
        table,
        RuleHooks(
            merge_batch_norms,
            refusing("lrp", table, "integrated_gradients or deeplift"),
            _start,
        ),
    )
