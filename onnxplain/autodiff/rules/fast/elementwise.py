"""Squares, and masks that ONNX Runtime computes in the layout of its convolutions."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxplain.autodiff.gradient_builder import F32, GradientBuilder
from onnxplain.autodiff.node_view import NodeView
from onnxplain.autodiff.table import DEFINITIONS


def is_square(g: GradientBuilder, s: NodeView) -> bool:
    """Whether a Pow has the exponent 2."""
    value = g.value(s.inputs[1])
    return value is not None and bool(np.all(value == 2))


def power_of_two(g: GradientBuilder, s: NodeView, dy: gs.Tensor) -> gs.Tensor:
    return g.Mul(dy, g.Mul(F32(2), s.x))


def with_ramps(g: GradientBuilder, s: NodeView, *dys: gs.Tensor | None) -> Any:
    """The definition of the rule, with masks as ramps."""
    entry = DEFINITIONS.find(s)
    assert entry is not None  # it is what this overrides
    return entry.rule(ramps(g), s, *dys)


def ramps(g: GradientBuilder) -> GradientBuilder:
    """A builder of the same graph, with masks as ramps."""
    view = copy.copy(g)
    view.__class__ = _Ramps
    return view


class _Ramps(GradientBuilder):
    """Masks as ramps so steep that they end before the next number: no comparison is as fast.

    ONNX Runtime also has HardSigmoid in the blocked layout of its convolutions, which it has to
    leave for booleans. Only for denormal numbers a mask lies between 0 and 1.
    """

    def above(self, x: gs.Tensor, limit: gs.Tensor | float = 0.0) -> gs.Tensor:
        known = self._known(limit)
        return super().above(x, limit) if known is None else self._ramp(x, known, 1)

    def below(self, x: gs.Tensor, limit: gs.Tensor | float) -> gs.Tensor:
        known = self._known(limit)
        return super().below(x, limit) if known is None else self._ramp(x, known, -1)

    def complement(self, p: gs.Tensor) -> gs.Tensor:
        return self.HardSigmoid(p, alpha=-1.0, beta=1.0)

    def _known(self, limit: gs.Tensor | float) -> float | None:
        if not isinstance(limit, gs.Tensor):
            return limit
        value = self.value(limit)
        return None if value is None else float(value.item())

    def _ramp(self, x: gs.Tensor, limit: float, sign: int) -> gs.Tensor:
        """A power of two as slope makes products exact, so differences as well."""
        _, exponent = math.frexp(limit)
        slope = math.ldexp(sign, 127 - max(exponent, 0))
        return self.HardSigmoid(x, alpha=slope, beta=-slope * limit)
