"""Operators on quantized tensors, as dequantize, compute in float32, quantize.

That is the form in which a gradient passes straight through the rounding. Results can differ by one
step of the quantization, where a value lies on the edge between two.
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

    Every operator on them computes in float32 instead, those that only move integers about
    included. MatMulInteger and ConvInteger give their whole numbers in float32 where nothing but a
    Cast reads them. Types of inner tensors are no longer declared.
    """
    dequantized = rewritten(rewritten(model, _RULES), _MOVES)
    if dequantized is not model:
        del dequantized.proto.graph.value_info[:]
    return dequantized


class Quantized(NamedTuple):
    """Integers, and what they stand for."""

    q: Tensor
    scale: Tensor
    zero: Tensor | None

    def real(self, g: Rewriter, axis: int = 1) -> Tensor:
        """The reals; scale and zero point may hold by index of an axis."""
        return g.DequantizeLinear(*self, axis=axis)


def _operands(s: NodeView, start: int = 0) -> list[Quantized]:
    """The inputs of a step from one on, in threes; the last may be shorter."""
    filled = cast(list[Tensor], [*s.inputs, None, None])
    return [Quantized(*filled[i : i + 3]) for i in range(start, len(s.inputs), 3)]


@_RULES.of("QuantizeLinear", "DequantizeLinear", domain=MICROSOFT)
def _standard(g: Rewriter, s: NodeView) -> Tensor | None:
    """Where standard ONNX has the types: before opset 21 those of 8 bits, and int32."""
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
    """The operator in threes: operands, then what the result is quantized with, and a bias."""
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
    if bias is not None:  # its scale is alpha times that of the product, and alpha is in Gemm too
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


@_RULES.of("MatMulInteger", "ConvInteger")
def _whole(g: Rewriter, s: NodeView) -> Tensor | None:
    """Products of whole numbers, exact in float32 up to 2²⁴."""
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
    """A scale of 1 for a zero point, which may hold by index of an axis; None if it is unknown."""
    if zero is None:
        return np.ones((), np.float32)
    spec = g.spec(zero)
    dims = None if spec is None else spec.shape
    sizes = [d for d in dims or () if isinstance(d, int)]
    return None if dims is None or len(sizes) < len(dims) else np.ones(sizes, np.float32)


@_MOVES.of(*(MOVES - {"Concat"}), "Identity", "MaxPool", "Resize")
def _move(g: Rewriter, s: NodeView) -> list[Tensor] | None:
    """Integers that are only moved about, or compared with each other, and keep their meaning."""
    meaning = _meaning(g, s.x.name)
    if meaning is None or (s.op == "MaxPool" and len(s.node.output) > 1):
        return None
    reals = g.many(
        s.op, len(s.outputs), g.DequantizeLinear(s.x, *meaning), *s.inputs[1:], **s.attrs
    )
    return [g.QuantizeLinear(y, *meaning) for y in reals]


@_MOVES.of("Pad")
def _pad(g: Rewriter, s: NodeView) -> Tensor | None:
    """The same, with a value of its own, by default the integer 0."""
    meaning = _meaning(g, s.x.name)
    if meaning is None:
        return None
    scale, zero = meaning
    if s.input(2) is not None:
        value = g.DequantizeLinear(s.input(2), scale, zero)
    elif zero is not None:
        value = g.Neg(g.Mul(g.Cast(zero, to=TensorProto.FLOAT), scale))
    else:
        value = None
    real = g.Pad(g.DequantizeLinear(s.x, *meaning), s.inputs[1], value, s.input(3), **s.attrs)
    return g.QuantizeLinear(real, *meaning)


def _meaning(g: Rewriter, integers: str) -> tuple[Tensor, Tensor | None] | None:
    """The scale and zero point that integers were quantized with, all of them with the same."""
    node = g.index.producer(integers)
    while node is not None and ("", node.op_type) in _MOVES:
        node = g.index.producer(node.input[0])
    if node is None or node.op_type != "QuantizeLinear":
        return None
    scale, *zeros = (g.tensor(name) for name in node.input[1:] if name)
    spec = g.spec(scale)
    single = spec is not None and spec.shape in ((), (1,))
    return (scale, zeros[0] if zeros else None) if single else None
