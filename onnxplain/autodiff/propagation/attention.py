"""The relevance of attention, by the rules of Chefer, Gur and Wolf, CVPR 2021.

They differ from those of `lrp` in these points:

- Relevance starts with the derivative of the score, so for a class with 1, whatever its score is.
- Layers with constant weights use z⁺. Biases get nothing, neither in a layer nor added after it.
- Normalizations over axes and softmax pass relevance on unchanged.
- In a sum of two activations each gets its share, scaled so that its sum over a sample is
  |a| / (|a| + |b|) of the whole, where a and b are the sums of both shares.

As in `lrp`, each of two activations that are multiplied gets half. Models that round activations
are refused: on the shipped transformer in int8, the maps differed from those of the float model by
half of the largest value and more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Mapping, Sequence

from onnxplain.autodiff.lowering.batch_norm import merge_batch_norms
from onnxplain.autodiff.propagation.lrp import TABLE, by_layer, passed, passed_to, varies
from onnxplain.autodiff.propagation.lrp_layers import positive_rule, stabilized
from onnxplain.autodiff.propagation.operators import refusal, refusing
from onnxplain.autodiff.rule import F32, GradientBuilder, Gradients, NodeView, Tensor
from onnxplain.autodiff.rules.normalization import NORMALIZATIONS
from onnxplain.autodiff.table import Rule, RuleHooks, Rules
from onnxplain.model import operators

RELEVANCE = "relevance"
"""What the rules compute, in the names of tensors."""


@functools.cache
def attention_relevance(samples_axis: int) -> Rules:
    """The rules; `samples_axis` is the axis of the samples in the tokens of a transformer."""
    table: Mapping[str, Rule] = {
        **TABLE,
        **dict.fromkeys(operators.WEIGHTED | {"Einsum"}, by_layer(positive_rule, positive_rule)),
        **dict.fromkeys([*NORMALIZATIONS, "Softmax"], passed),
        **dict.fromkeys(["Add", "Sub", "Sum"], functools.partial(_sum, samples_axis=samples_axis)),
    }
    return Rules().replaced(table, RuleHooks(merge_batch_norms, _check(table), result=RELEVANCE))


def _check(known: Container[str]) -> Callable[..., None]:
    named = "transformer_attribution", "generic_attention or legrad"
    refuse_unknown = refusing(named[0], known, named[1])

    def check(g: GradientBuilder, steps: Sequence[NodeView]) -> None:
        for step in steps:
            if step.op in operators.QUANTIZERS:
                raise refusal(named[0], step, _ROUNDS, named[1])
        refuse_unknown(g, steps)

    return check


_ROUNDS = "rounds activations, and rounding decides the shares of the terms in a sum near 0"


def _sum(g: GradientBuilder, s: NodeView, r: Tensor, *, samples_axis: int) -> Gradients:
    varying = [varies(g, x) for x in s.inputs]
    if sum(varying) == 1:
        return passed_to(g, s, r, varying)
    if _centers(g, s):
        return passed_to(g, s, r, [True, False])
    terms = [g.Neg(x) if s.op == "Sub" and i == 1 else x for i, x in enumerate(s.inputs)]
    whole = g.total(*(term for term, counts in zip(terms, varying, strict=True) if counts))
    ratio = g.Where(g.Equal(whole, F32(0)), F32(0), g.Div(r, stabilized(g, whole)))
    shares = [
        g.sum_to(g.Mul(term, ratio), x, s.y) if counts else None
        for term, x, counts in zip(terms, s.inputs, varying, strict=True)
    ]
    return _with_parts_of(g, s, r, shares, samples_axis)


def _with_parts_of(
    g: GradientBuilder, s: NodeView, r: Tensor, shares: Gradients, samples_axis: int
) -> Gradients:
    """The shares, scaled so that their sums over a sample have parts |a| / (|a| + |b|) of `r`."""
    rank = g.rank(s.y)
    if any(g.rank(x) < rank for x in s.inputs):  # the samples of one may have no axis
        return shares
    axes = [axis for axis in range(rank) if axis != samples_axis]
    sums = [share and g.sum(share, axes) for share in shares]
    sizes = g.total(*(one and g.Abs(one) for one in sums))
    scale = g.Mul(g.sum(r, axes), g.inverse(sizes))
    return [
        share and g.Mul(share, g.Mul(scale, g.Sign(one)))
        for share, one in zip(shares, sums, strict=True)
    ]


def _centers(g: GradientBuilder, s: NodeView) -> bool:
    """Whether a node subtracts the mean, as a normalization that an exporter wrote as nodes."""
    mean = g.walk.makers.get(s.inputs[1].name)
    return s.op == "Sub" and mean is not None and mean.op == "ReduceMean" and mean.x is s.x
