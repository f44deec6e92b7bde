"""Quantization, with the straight-through gradient.

Rounding is treated as the identity, and numbers outside the representable range have the gradient
0, as in torch's fake_quantize (Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", 2018). The score itself keeps its gradient there,
because the largest score is often outside the calibrated range. An integer tensor is differentiated
as if its integers were real numbers. Scales and zero points are constants, even if they are
computed from the data.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from onnxplain.autodiff.rule import F32, GradientBuilder, NodeView, Tensor, vjp
from onnxplain.model.operators import MICROSOFT

_LARGEST = {
    "float8_e4m3fn": 448.0,
    "float8_e4m3fnuz": 240.0,
    "float8_e5m2": 57344.0,
    "float8_e5m2fnuz": 57344.0,
    "float4_e2m1fn": 6.0,
}
"""The largest number of each small float type."""


@vjp("QuantizeLinear")
@vjp("QuantizeLinear", domain=MICROSOFT)
def quantize_linear(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    scale, zero = (_spread(g, s, s.input(i)) for i in (1, 2))
    if s.x.name in g.walk.carried:
        return g.Div(dy, scale)
    q = g.Div(s.x, scale)
    if zero is not None:
        q = g.Add(q, g.as_float(zero))
    low, high = _range(g.dtype(s.y) or np.dtype(np.uint8))
    inside = g.And(g.GreaterOrEqual(q, F32(low)), g.Less(q, F32(high)))
    return g.where(inside, g.Div(dy, scale))


@vjp("DequantizeLinear")
@vjp("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(g: GradientBuilder, s: NodeView, dy: Tensor) -> Tensor:
    return g.Mul(dy, _spread(g, s, s.inputs[1]))


@vjp("DynamicQuantizeLinear")
def dynamic_quantize_linear(g: GradientBuilder, s: NodeView, *dys: Tensor | None) -> Tensor | None:
    return dys[0] and g.Div(dys[0], s.outputs[1])  # nothing is outside its range


def _range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The range [low, high) of numbers that are rounded to representable ones."""
    if dtype.name in _LARGEST:
        largest = np.nextafter(F32(_LARGEST[dtype.name]), F32(np.inf))
        return -float(largest), float(largest)
    signed, bits = dtype.name.startswith("int"), int(dtype.name.lstrip("uint"))
    low = -(2 ** (bits - 1)) if signed else 0
    return low - 0.5, low + 2**bits - 0.5  # halves are rounded to even


def _spread(g: GradientBuilder, s: NodeView, values: Tensor | None) -> Tensor | None:
    """Scales or zero points in a shape that broadcasts to that of x.

    There is one for all of x, one for each index of an axis, or one for each block along it.
    """
    dims = None if values is None else g.static_dims(values)
    if values is None or (dims is not None and prod(dims) == 1):
        return values
    axis, block = g.axis(s.x, s.attr("axis", 1)), s.attr("block_size", 0)
    if not block:
        return g.Reshape(values, np.array([-1] + [1] * (g.rank(s.x) - axis - 1)))
    return g.Gather(values, g.Div(g.arange(g.dim(s.x, axis)), np.int64(block)), axis=axis)
