"""Squares, and masks that ONNX Runtime computes in the blocked layout of its convolutions."""

from __future__ import annotations

import copy
import math
from typing import Any

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor
from onnxplain.autodiff.table import DEFINITIONS


def power_of_two(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor | None:
    value = g.value(s.inputs[1])
    if value is None or (value != 2).any():
        return None
    return g.Mul(dy, g.Mul(F32(2), s.x))


def with_ramps(g: GradientBuilder, s: NodeView, *dys: Tensor | None) -> Any:
    """The rule by its definition, with masks computed as ramps, see `_Ramps`."""
    entry = DEFINITIONS.find(s)
    assert entry is not None  # it is what this overrides
    return entry.rule(ramps(g), s, *dys)


def ramps(g: GradientBuilder) -> GradientBuilder:
    """A builder for the same graph, with masks computed as ramps, see `_Ramps`."""
    view = copy.copy(g)
    view.__class__ = _Ramps
    return view


class _Ramps(GradientBuilder):
    """Masks computed by HardSigmoid with a very steep slope, which is faster than a comparison.

    The result is 0 or 1 except for denormal numbers. ONNX Runtime computes HardSigmoid in the
    blocked layout of its convolutions, but must convert the layout for booleans.
    """

    def above(self, x: Tensor, limit: Tensor | float = 0.0) -> Tensor:
        known = self._known(limit)
        return super().above(x, limit) if known is None else self._ramp(x, known, 1)

    def below(self, x: Tensor, limit: Tensor | float) -> Tensor:
        known = self._known(limit)
        return super().below(x, limit) if known is None else self._ramp(x, known, -1)

    def complement(self, p: Tensor) -> Tensor:
        return self.HardSigmoid(p, alpha=-1.0, beta=1.0)

    def _known(self, limit: Tensor | float) -> float | None:
        if not isinstance(limit, Tensor):
            return limit
        value = self.value(limit)
        return None if value is None else float(value.item())

    def _ramp(self, x: Tensor, limit: float, sign: int) -> Tensor:
        """The slope is a power of two, so that products and differences are exact."""
        _, exponent = math.frexp(limit)
        slope = math.ldexp(sign, 127 - max(exponent, 0))
        return self.HardSigmoid(x, alpha=slope, beta=-slope * limit)
