"""Scales and zero points of a quantized model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto
from onnx.reference.op_run import OpRun

from onnxplain.model.operators import computes_with_integers, reads_in_threes
from onnxplain.tensors import Array, FloatArray


@dataclass(frozen=True)
class Quantization:
    """An integer q represents the real number `scale` · (q − `zero`)."""

    scale: float
    zero: float

    def real(self, integers: Array) -> FloatArray:
        """The real numbers that the integers represent."""
        return (integers.astype(np.float32) - np.float32(self.zero)) * np.float32(self.scale)


def rounds(proto: ModelProto) -> bool:
    """Whether the model rounds inner tensors to float16, bfloat16 or integers."""
    small = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    return any(t.data_type in small for t in proto.graph.initializer) or any(
        computes_with_integers(node.op_type) for node in proto.graph.node
    )


def operand(node: NodeProto, tensor: str) -> tuple[str, str] | None:
    """Names of the scale and the zero point ("" for none) with which a node reads a tensor.

    None if it reads the tensor without them. Operators on quantized tensors read three inputs for
    each: integers, scale, zero point.
    """
    if not reads_in_threes(node.op_type) or tensor not in node.input:
        return None
    place = list(node.input).index(tensor)
    scale, zero = [*node.input, ""][place + 1 : place + 3]
    return str(scale), str(zero)


def dequantized(
    integers: Array, scale: Array, zero: Array | None, axis: int = 1, block: int = 0
) -> FloatArray:
    """The real numbers that integers represent, in the shape of `integers`.

    `scale` and `zero` are one number for all, one for each index of `axis`, or one for each `block`
    neighbors along `axis`.
    """
    zero = np.zeros(1, np.float32) if zero is None else zero

    def spread(values: Array) -> FloatArray:
        plain = values.astype(np.float32)
        if plain.size == 1:
            return plain.reshape(())
        if block:
            return np.repeat(plain, block, axis).take(range(integers.shape[axis]), axis)
        shape = [1] * integers.ndim
        shape[axis] = -1
        return plain.reshape(shape)

    return (integers.astype(np.float32) - spread(zero)) * spread(scale)


class DequantizeLinear(OpRun):
    """For ONNX's reference evaluator, which has this operator only since opset 19."""

    op_domain = ""

    def _run(
        self,
        x: Array,
        scale: Array,
        zero: Array | None = None,
        axis: int = 1,
        block_size: int = 0,
        **_: Any,
    ) -> tuple[FloatArray]:
        return (dequantized(x, scale, zero, axis, block_size),)


MicrosoftDequantizeLinear = type(
    "DequantizeLinear", (DequantizeLinear,), {"op_domain": "com.microsoft"}
)
"""The same in ONNX Runtime's domain, whose quantizer writes it for 4 and 16 bits."""
