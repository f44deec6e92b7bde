"""Operators on quantized tensors, replaced by: dequantize, compute in float32, quantize.

In this form the rule of QuantizeLinear gives the straight-through gradient. A result can differ by
one quantization step, where a value is at the boundary between two steps.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from onnx import TensorProto

from onnxplain.autodiff.lowering.rewrite import Rewriter, Rewrites, rewritten
from onnxplain.autodiff.node_view import NodeView, Tensor
from onnxplain.model.model import Model
from onnxplain.model.operators import MICROSOFT, MOVES, standard_form
from onnxplain.tensors import Array

_RULES = Rewrites()
_MOVES = Rewrites()


def dequantize(model: Model) -> Model:
    """The model with integers that stand for reals only between quantizing and dequantizing.

    All operators on quantized tensors compute in float32, also those that only move elements.
    MatMulInteger and ConvInteger output their integers as float32 where only Cast nodes read them.
    The result has no declared types of inner tensors.
    """
    dequantized = rewritten(rewritten(model, _RULES), _MOVES)
    if dequantized is not model:
        del dequantized.proto.graph.value_info[:]
    return dequantized


class Quantized(NamedTuple):
    """A quantized tensor with its scale and zero point."""

    q: Tensor
    scale: Tensor
    zero: Tensor | None

    def real(self, g: Rewriter, axis: int = 1) -> Tensor:
        """The dequantized tensor; scale and zero point may be vectors along `axis`."""
        return g.DequantizeLinear(*self, axis=axis)


def _operands(s: NodeView, start: int = 0) -> list[Quantized]:
    """The inputs of a step from index `start` in groups of three; None fills the last group."""
    filled = cast(list[Tensor], [*s.inputs, None, None])
    return [Quantized(*filled[i : i + 3]) for i in range(start, len(s.inputs), 3)]


@_RULES.of("QuantizeLinear", "DequantizeLinear", domain=MICROSOFT)
def _standard(g: Rewriter, s: NodeView) -> Tensor | None:
    """The standard operator, if it has the types: 8 bits and int32, all types since opset 21."""
    spec = g.spec(s.y if s.op == "QuantizeLinear" else s.x)
    if s.opset < 21 and (spec is None or spec.dtype.name not in ("uint8", "int8", "int32")):
        return None
    return g.many(s.op, 1, *s.inputs, **s.attrs)[0]


@_RULES.of("QLinearConv", "QLinearMatMul")
@_RULES.of(
    *"QLinearAdd QLinearAveragePool QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu".split(),
    *"QLinearMul QLinearSigmoid".split(),
    domain=MICROSOFT,
)
def _of_reals(g: Rewriter, s: NodeView) -> Tensor:
    """Inputs are (q, scale, zero) for each operand, then scale and zero of the output, a bias."""
    *operands, (y_scale, y_zero, bias) = _operands(s)
    axes = {"QLinearConv": (1, 0), "QLinearMatMul": (-2, -1)}.get(s.op, (1, 1))
    x, *others = (one.real(g, axis) for one, axis in zip(operands, axes, strict=False))
    if bias is not None:
        bias_scale = g.Mul(*(one.scale for one in operands))
        others.append(g.DequantizeLinear(bias, bias_scale, axis=0))
    channels_last = s.attr("channels_last", 0)
    ranks = (g.rank(one.q) for one in operands)
    rank = next(filter(None, ranks), len(s.attr("kernel_shape", [])) + 2)
    if channels_last:
        x = g.Transpose(x, perm=[0, rank - 1, *range(1, rank - 1)])
    y = g.many(standard_form(s.op), 1, x, *others, **s.attrs_without("channels_last"))[0]
    if channels_last:
        y = g.Transpose(y, perm=[0, *range(2, rank), 1])
    return g.QuantizeLinear(y, y_scale, y_zero)


@_RULES.of("QGemm", domain=MICROSOFT)
def _gemm(g: Rewriter, s: NodeView) -> Tensor:
    a, b = _operands(s)[:2]
    bias, y_scale, y_zero = (s.input(i) for i in (6, 7, 8))
    c = None
    if bias is not None:  # its scale is alpha · a.scale · b.scale
        scale = g.Mul(a.scale, b.scale)
        c = g.DequantizeLinear(bias, g.Mul(scale, np.float32(s.attr("alpha", 1.0))), axis=-1)
    y = g.Gemm(a.real(g), b.real(g, axis=0 if s.attr("transB", 0) else 1), c, **s.attrs)
    return y if y_scale is None else g.QuantizeLinear(y, y_scale, y_zero)


@_RULES.of("QLinearSoftmax", domain=MICROSOFT)
def _softmax(g: Rewriter, s: NodeView) -> Tensor:
    x = Quantized(*s.inputs[:3]).real(g)
    axis = s.attr("axis", -1)
    if s.attr("opset", 13) >= 13:
        y = g.Softmax(x, axis=axis)
    else:
        y = g.Reshape(g.Softmax(g.Flatten(x, axis=axis), axis=-1), g.Shape(x))
    return g.QuantizeLinear(y, s.inputs[3], s.input(4))


@_RULES.of("QLinearConcat", domain=MICROSOFT)
def _concat(g: Rewriter, s: NodeView) -> Tensor:
    parts = (part.real(g) for part in _operands(s, start=2))
    return g.QuantizeLinear(g.Concat(*parts, axis=s.attr("axis")), *s.inputs[:2])


@_RULES.of("QLinearWhere", domain=MICROSOFT)
def _where(g: Rewriter, s: NodeView) -> Tensor:
    a, b, (y_scale, y_zero, *_) = _operands(s, start=1)
    return g.QuantizeLinear(g.Where(s.x, a.real(g), b.real(g)), y_scale, y_zero)


@_RULES.of("MatMulIntegerToFloat", "DynamicQuantizeMatMul", domain=MICROSOFT)
def _matmul_to_float(g: Rewriter, s: NodeView) -> Tensor:
    if s.op == "DynamicQuantizeMatMul":
        a, others = Quantized(*g.many("DynamicQuantizeLinear", 3, s.x)), (2, 3, 4)
    else:
        a, others = Quantized(s.x, s.inputs[2], s.input(4)), (3, 5, 6)
    scale, zero, last = others
    bias = s.input(last)
    b = Quantized(s.inputs[1], s.inputs[scale], s.input(zero))
    y = g.MatMul(a.real(g, axis=-2), b.real(g, axis=-1))
    return y if bias is None else g.Add(y, bias)


@_RULES.of("DynamicQuantizeLSTM", domain=MICROSOFT)
def _lstm(g: Rewriter, s: NodeView) -> list[Tensor]:
    """The LSTM in float32; ONNX Runtime rounds the input and the state of each step to 8 bits."""
    directions = 2 if s.attr("direction", "forward") == "bidirectional" else 1

    def real(weights: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        """From (directions, inputs, 4 * size) to what LSTM takes, with inputs last."""
        spread = (g.Reshape(one, np.array([directions, 1, -1])) for one in (scale, zero))
        scale, zero = next(spread), g.Cast(next(spread), to=TensorProto.FLOAT)
        shifted = g.Sub(g.Cast(weights, to=TensorProto.FLOAT), zero)
        return g.Transpose(g.Mul(shifted, scale), perm=[0, 2, 1])

    x, w, r, *others = s.inputs[:8]
    w_scale, w_zero, r_scale, r_zero = s.inputs[8:12]
    real_weights = real(w, w_scale, w_zero), real(r, r_scale, r_zero)
    return g.many("LSTM", 3, x, *real_weights, *others, **s.attrs)


@_RULES.of("MatMulInteger", "ConvInteger")
def _whole(g: Rewriter, s: NodeView) -> Tensor | None:
    """Integer products computed in float32, exact up to 2²⁴."""
    axes = {"MatMulInteger": (-2, -1), "ConvInteger": (1, 0)}[s.op]
    zeros = s.input(2), s.input(3)
    scales = [_ones_like(g, zero) for zero in zeros]
    if any(scale is None for scale in scales):
        return None
    operands = zip(s.inputs[:2], scales, zeros, axes, strict=True)
    reals = (g.DequantizeLinear(*operand, axis=axis) for *operand, axis in operands)
    y = g.many(standard_form(s.op), 1, *reals, **s.attrs)[0]
    readers = {g.index.nodes[place].op_type for place in g.index.readers.get(s.y.name, ())}
    if readers == {"Cast"} and s.y.name not in g.index.outputs:
        return y
    return g.Cast(y, to=TensorProto.INT32)


def _ones_like(g: Rewriter, zero: Tensor | None) -> Array | None:
    """Scales of 1 in the shape of a zero point; None if its shape is unknown."""
    if zero is None:
        return np.ones((), np.float32)
    spec = g.spec(zero)
    dims = None if spec is None else spec.shape
    sizes = [d for d in dims or () if isinstance(d, int)]
    return None if dims is None or len(sizes) < len(dims) else np.ones(sizes, np.float32)


@_MOVES.of(*(MOVES - {"Concat"}), "Identity", "MaxPool", "Pad", "Resize")
def _move(g: Rewriter, s: NodeView) -> list[Tensor] | None:
    """Operators that only move or compare integers: scale and zero point stay the same."""
    meaning = _meaning(g, s.x.name)
    if meaning is None or (s.op == "MaxPool" and len(s.node.output) > 1):
        return None
    inputs: list[Tensor | None] = [g.DequantizeLinear(s.x, *meaning), *s.inputs[1:]]
    if s.op == "Pad":
        inputs[2:3] = [_padding(g, s, *meaning)]
    return [g.QuantizeLinear(y, *meaning) for y in g.many(s.op, len(s.outputs), *inputs, **s.attrs)]


def _padding(g: Rewriter, s: NodeView, scale: Tensor, zero: Tensor | None) -> Tensor | None:
    """The dequantized padding value, by default that of the integer 0."""
    if s.input(2) is not None:
        return g.DequantizeLinear(s.input(2), scale, zero)
    return zero and g.Neg(g.Mul(g.Cast(zero, to=TensorProto.FLOAT), scale))


def _meaning(g: Rewriter, integers: str) -> tuple[Tensor, Tensor | None] | None:
    """The scale and zero point of a quantized tensor; None unless they are single and known."""
    node = g.index.producer(integers)
    while node is not None and ("", node.op_type) in _MOVES:
        node = g.index.producer(node.input[0])
    if node is None or node.op_type != "QuantizeLinear":
        return None
    scale, *zeros = (g.tensor(name) for name in node.input[1:] if name)
    spec = g.spec(scale)
    single = spec is not None and spec.shape in ((), (1,))
    return (scale, zeros[0] if zeros else None) if single else None
