"""Layer-wise relevance propagation: each node distributes its relevance to its inputs.

- Layers with constant weights use the composite's rule for their type.
- Other linear operators distribute in proportion to the contribution of each input.
- Activations, rounding and constant factors pass relevance on unchanged.
- Normalizations over axes are treated as linear, with the divisor as a constant.
- In a product of two activations each gets half, but a gate gets nothing. In a quotient the
  numerator gets all.
- Softmax uses its first-order expansion (AttnLRP), of which the sum is kept only together with its
  bias; or its result counts as a constant (CP-LRP).
- Operators that move values move relevance back; maxima give it to the largest element.
"""

from __future__ import annotations

import functools
from collections.abc import Container, Iterator, Mapping, Sequence

from onnxplain.autodiff.lowering.batch_norm import merge_batch_norms
from onnxplain.autodiff.propagation import lrp_layers as layers
from onnxplain.autodiff.propagation.lrp_layers import LayerRule, stabilized
from onnxplain.autodiff.propagation.operators import STRUCTURAL, UNARY, refusing, standard
from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.rules.normalization import NORMALIZATIONS, normalized, scale
from onnxplain.autodiff.table import Rule, RuleHooks, Rules
from onnxplain.model import operators

_AFFINE = operators.ARITHMETIC | {"Neg"}
"""Scales and shifts of preprocessing, which may be part of a model."""

_SCALES = operators.COPIES | {"Mul", "Div", "Neg"}
"""With constants they multiply a tensor by a number."""

_ELEMENTWISE = operators.COPIES | operators.UNARY | operators.BROADCASTING


def by_layer(convolution: LayerRule, dense: LayerRule, first: LayerRule | None = None) -> Rule:
    """A rule that depends on the type of layer; `first` is for layers that read the input."""

    def rule(g: GradientBuilder, s: NodeView, r: Tensor) -> Gradients:
        varying = [varies(g, x) for x in s.inputs]
        if varying[:2] == [True, True]:  # half of it to each operand
            return by_share(g, s, g.Mul(r, F32(0.5)))
        if not varying[0] or any(varying[1:]):
            return by_share(g, s, r)
        if first is not None and _at_input(g, s.x):
            return [first(g, s, r)]
        return [(convolution if s.op in operators.CONVOLUTIONS else dense)(g, s, r)]

    return rule


def _composites(epsilon: float, gamma: float) -> Mapping[str, Rule]:
    even, positive = layers.epsilon_rule(epsilon), layers.alpha_beta_rule(1, 0)
    more, both = layers.gamma_rule(gamma), layers.alpha_beta_rule(2, 1)
    return {
        "epsilon": by_layer(even, even),
        "gamma": by_layer(more, more),
        "zplus": by_layer(positive, positive),
        "alpha2beta1": by_layer(both, both),
        "zbox": by_layer(even, even, layers.box_rule),
        "epsilon_plus": by_layer(positive, even),
        "epsilon_plus_flat": by_layer(positive, even, layers.flat_rule),
        "epsilon_alpha2beta1": by_layer(both, even),
        "epsilon_alpha2beta1_flat": by_layer(both, even, layers.flat_rule),
        "epsilon_gamma_box": by_layer(more, even, layers.box_rule),
    }


def varies(g: GradientBuilder, x: Tensor | None) -> bool:
    """Whether a tensor depends on what relevance is distributed to."""
    return x is not None and x.name in g.walk.needed


def _at_input(g: GradientBuilder, x: Tensor) -> bool:
    """Whether there are only moves, scales and shifts between the input and a tensor."""
    step = g.walk.makers.get(x.name)
    if step is None:
        return True
    varying = [tensor for tensor in step.inputs if varies(g, tensor)]
    if len(varying) != 1 or step.op not in STRUCTURAL | _AFFINE:
        return False
    return _at_input(g, varying[0])


def by_share(g: GradientBuilder, s: NodeView, r: Tensor, *_: Tensor | None) -> Gradients:
    """Relevance in proportion to the contribution of each input to the output."""
    dxs = STANDARD.gradients(g, s, [g.Div(r, stabilized(g, s.y))])
    pairs = zip(s.inputs, dxs, strict=False)
    return [g.Mul(x, dx) if varies(g, x) and dx is not None else None for x, dx in pairs]


def passed(g: GradientBuilder, s: NodeView, r: Tensor, *_: Tensor | None) -> Gradients:
    """Unchanged relevance to the first input, summed where that was broadcast."""
    return [g.sum_to(r, s.x, s.y)]


def passed_to(g: GradientBuilder, s: NodeView, r: Tensor, chosen: Sequence[bool]) -> Gradients:
    """Unchanged relevance to the `chosen` inputs."""
    pairs = zip(s.inputs, chosen, strict=True)
    return [g.sum_to(r, x, s.y) if takes else None for x, takes in pairs]


def _sum(g: GradientBuilder, s: NodeView, r: Tensor) -> Gradients:
    """Relevance in proportion to the terms; a constant shift of the model's input gets nothing."""
    varying = [varies(g, x) for x in s.inputs]
    if sum(varying) == 1 and _at_input(g, s.inputs[varying.index(True)]):
        return passed_to(g, s, r, varying)
    return by_share(g, s, r)


def _factors(g: GradientBuilder, s: NodeView, r: Tensor) -> Gradients:
    """Relevance in equal parts to the factors that depend on the input, except for gates."""
    varying = [varies(g, x) for x in s.inputs]
    signals = [varies(g, x) and not _is_gate(g, s, x) for x in s.inputs]
    if sum(signals) == 1:
        return passed_to(g, s, r, signals)
    return passed_to(g, s, g.Mul(r, F32(1 / sum(varying))) if sum(varying) > 1 else r, varying)


def _is_gate(g: GradientBuilder, s: NodeView, x: Tensor) -> bool:
    """Whether a factor only decides how much of the other one passes.

    It is a sigmoid, or a function of the other factor, as Φ(x) in GELU, x Φ(x).
    """
    step = g.walk.makers.get(x.name)
    if step is not None and step.op in ("Sigmoid", "HardSigmoid"):
        return True
    others = [other for other in s.inputs if other is not x]
    own = {name for other in others for name in _multiples(g, other)}
    return x.name not in own and _is_function(g, x, own)


def _multiples(g: GradientBuilder, x: Tensor) -> Iterator[str]:
    """The names of a tensor, and of those that it is a constant multiple of."""
    yield x.name
    step = g.walk.makers.get(x.name)
    if step is None or step.op not in _SCALES:
        return
    varying = [varies(g, read) for read in step.inputs]
    if sum(varying) == 1 and (varying[0] or step.op == "Mul"):
        yield from _multiples(g, step.inputs[varying.index(True)])


def _is_function(g: GradientBuilder, x: Tensor, of: Container[str]) -> bool:
    """Whether each element is computed from the same element of some tensors, and constants."""
    if x.name in of:
        return True
    step = g.walk.makers.get(x.name)
    if step is None or step.op not in _ELEMENTWISE:
        return False
    varying = [read for read in step.inputs if varies(g, read)]
    return bool(varying) and all(_is_function(g, read, of) for read in varying)


def _quotient(g: GradientBuilder, s: NodeView, r: Tensor) -> Gradients:
    numerator = varies(g, s.x)
    return passed_to(g, s, r, [numerator, not numerator])


def _softmax(g: GradientBuilder, s: NodeView, r: Tensor) -> Tensor:
    """Input times gradient, for output gradients R / y: x (R − y Σ R)."""
    left = g.Sub(r, g.Mul(s.y, g.sum(r, [s.attr("axis", -1)])))
    return g.Where(g.Equal(s.y, F32(0)), F32(0), g.Mul(s.x, left))


def _of_normalization(g: GradientBuilder, s: NodeView, r: Tensor, *_: Tensor | None) -> Tensor:
    """Relevance in proportion to the contribution of each element, with a constant divisor."""
    x = normalized(g, s, s.x)
    share = g.Mul(g.Div(r, stabilized(g, s.y)), g.Mul(scale(g, s), x.rate))
    return g.Mul(s.x, x.center(share))


def _start(g: GradientBuilder, score: Tensor, seed: Tensor) -> Tensor:
    """The walk starts with seed times score; the score is cast to float32, like seeds."""
    return g.Mul(seed, g.as_float(score))


TABLE: Mapping[str, Rule] = {
    **dict.fromkeys(operators.LINEAR | {"Einsum"}, by_share),
    **dict.fromkeys(STRUCTURAL | operators.EXTREMA | {"Max", "Min", "Where"}, standard),
    **dict.fromkeys(UNARY | operators.ROUNDS | {"Neg", "GroupNormalization"}, passed),
    **dict.fromkeys(NORMALIZATIONS, _of_normalization),
    **dict.fromkeys(["Add", "Sub"], _sum),
    "Mul": _factors,
    "Div": _quotient,
    "Softmax": _softmax,
}
"""The rules of operators without weights."""


ATTENTION: Mapping[str, frozenset[str]] = {
    "attnlrp": frozenset(),
    "cp": operators.SOFTMAXES,
}
"""Ways to treat the weights of attention, and the operators whose results then are constants."""


@functools.cache
def relevance(composite: str, epsilon: float, gamma: float, attention: str) -> Rules:
    """Layer-wise relevance propagation (Bach 2015) by a composite of rules (Montavon 2019)."""
    layer = _composites(epsilon, gamma)[composite]
    table = {**TABLE, **dict.fromkeys(operators.WEIGHTED, layer)}
    check = refusing("lrp", table, "integrated_gradients or deeplift")
    hooks = RuleHooks(merge_batch_norms, check, _start, ATTENTION[attention])
    return Rules().replaced(table, hooks)
