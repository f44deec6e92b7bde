"""Rectifiers that pass back only what is positive for the score.

A rectifier lets its input through above 0 and damps or removes it below: Relu, also written as Clip
from 0 (ReLU6) or as the maximum of 0 and one other tensor, LeakyRelu, PRelu and ThresholdedRelu;
and the quantizer after a layer that represents nothing below 0, into which a Relu was merged.
Smooth units such as Elu, Gelu or Swish keep their derivative: the papers know only rectifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from onnxplain.autodiff.propagation.operators import standard
from onnxplain.autodiff.rule import GradientBuilder, Gradients, NodeView, Tensor
from onnxplain.autodiff.rules import STANDARD
from onnxplain.autodiff.rules.fast.elementwise import ramps
from onnxplain.autodiff.table import Rule, RuleHooks
from onnxplain.errors import GradientError
from onnxplain.model.operators import WEIGHTED

_ADDING = WEIGHTED | {"Add"}
"""What rectifiers follow, and give numbers of both signs."""


def _absorbed_relu(g: GradientBuilder, s: NodeView) -> bool:
    """Whether nothing below 0 can be represented of what a layer adds up: a Relu was merged."""
    maker, dtype, zero = g.walk.makers.get(s.x.name), g.dtype(s.y), g.value(s.input(2))
    if maker is None or maker.op not in _ADDING or dtype is None or dtype.kind not in "iu":
        return False
    least = np.iinfo(dtype).min
    return least == 0 if s.input(2) is None else zero is not None and bool((zero == least).all())


def _is_zero(g: GradientBuilder, x: Tensor | None) -> bool:
    value = g.value(x)
    return value is not None and not value.any()


_RECTIFIERS: Mapping[str, Callable[[GradientBuilder, NodeView], bool]] = {
    "Clip": lambda g, s: _is_zero(g, s.input(1)),
    "Max": lambda g, s: len(s.inputs) == 2 and any(_is_zero(g, x) for x in s.inputs),
    "QuantizeLinear": _absorbed_relu,
    **{op: lambda g, s: True for op in ("LeakyRelu", "PRelu", "Relu", "ThresholdedRelu")},
}
"""When an operator is a rectifier."""


def _is_rectifier(g: GradientBuilder, s: NodeView) -> bool:
    return not s.domain and s.op in _RECTIFIERS and _RECTIFIERS[s.op](g, s)


def _guided(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Pass what is positive where the unit is active; the rule of quantizers knows where."""
    if s.op == "QuantizeLinear":
        return STANDARD.gradients(g, s, [g.Relu(dy)])
    return STANDARD.gradients(g, s, [g.Mul(g.Relu(dy), ramps(g).above(s.y))])


def _deconvolved(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Pass what is positive, whether or not the unit is active; a ceiling still stops it."""
    passed = g.Relu(dy)
    if s.op == "Clip" and s.input(2) is not None:
        passed = g.where(g.Less(s.y, s.inputs[2]), passed)
    if s.op == "Max":
        return [None if _is_zero(g, x) else g.sum_to(passed, x, s.y) for x in s.inputs]
    if s.op == "QuantizeLinear":
        active = g.in_place_of(s.x, g.Relu(s.x))
        return STANDARD.gradients(g, s.reading({s.x.name: active}), [passed])
    return [passed]


def _at_rectifiers(rule: Callable[..., Gradients]) -> Rule:
    return lambda g, s, dy: (rule if _is_rectifier(g, s) else standard)(g, s, dy)


def _check(g: GradientBuilder, steps: Sequence[NodeView]) -> None:
    if not any(_is_rectifier(g, step) for step in steps):
        raise GradientError(
            "The model has no rectifier such as Relu between the input and the score, so the map "
            "would be the plain gradient: use gradient, smoothgrad or integrated_gradients."
        )


_HOOKS = RuleHooks(check=_check)

GUIDED = STANDARD.replaced(dict.fromkeys(_RECTIFIERS, _at_rectifiers(_guided)), _HOOKS)
"""Guided backpropagation (Springenberg 2014): g where g > 0 and the unit is active."""

DECONVNET = STANDARD.replaced(dict.fromkeys(_RECTIFIERS, _at_rectifiers(_deconvolved)), _HOOKS)
"""Deconvnet (Zeiler 2013): g where g > 0; maxima send it back by their switches."""
