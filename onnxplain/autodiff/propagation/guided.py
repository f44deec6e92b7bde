"""Guided backpropagation and deconvnet: rectifiers pass back only positive gradients.

A rectifier keeps its input above 0, and reduces or removes it below. These are Relu, Clip from 0
(ReLU6), the maximum of 0 and one other tensor, LeakyRelu, PRelu and ThresholdedRelu. A quantizer
after a layer is one too if its range starts at 0, because a Relu was merged into it. Smooth
activations such as Elu, Gelu or Swish keep their derivative: the papers define only rectifiers.
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
"""Operators before a rectifier; their results have both signs."""


def _absorbed_relu(g: GradientBuilder, s: NodeView) -> bool:
    """Whether a quantizer follows a layer and cannot represent numbers below 0, like a Relu."""
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
"""Functions that decide whether a node of that operator is a rectifier."""


def _is_rectifier(g: GradientBuilder, s: NodeView) -> bool:
    return not s.domain and s.op in _RECTIFIERS and _RECTIFIERS[s.op](g, s)


def _guided(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Pass positive gradients where the unit is active; for quantizers, within their range."""
    if s.op == "QuantizeLinear":
        return STANDARD.gradients(g, s, [g.Relu(dy)])
    return STANDARD.gradients(g, s, [g.Mul(g.Relu(dy), ramps(g).above(s.y))])


def _deconvolved(g: GradientBuilder, s: NodeView, dy: Tensor) -> Gradients:
    """Pass positive gradients, also where the unit is not active; not above an upper limit."""
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
"""Deconvnet (Zeiler 2013): g where g > 0; max pools pass it to the largest element."""
