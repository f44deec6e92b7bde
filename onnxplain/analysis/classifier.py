"""The linear classifier after a global pool, which class activation mapping reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import NodeProto

from onnxplain.errors import LayerError
from onnxplain.model import operators
from onnxplain.model.constants import constant_value, constant_values, reduced_axes
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.model.quantization import dequantized
from onnxplain.model.shapes import Shape
from onnxplain.tensors import FloatArray

Pooling = Literal["average", "max"]

_POOLS: dict[str, Pooling] = {
    **dict.fromkeys(operators.AVERAGE_POOLS | {"ReduceMean"}, "average"),
    **dict.fromkeys(operators.MAX_POOLS | {"ReduceMax"}, "max"),
}

_LINEAR = ("Conv", "Gemm", "MatMul")

_REFUSAL = (
    "CAM needs global average or max pooling followed by one linear layer before the score, and "
    "here {found}."
)


@dataclass(frozen=True)
class Classifier:
    """score = weights · pool(activation at `layer`) + bias; `weights` is (classes, channels).

    `weights` is None where the pooled channels are the scores, as in fully convolutional
    classifiers.
    """

    layer: str
    pooling: Pooling
    weights: FloatArray | None

    def matrix(self, channels: int) -> FloatArray:
        """The weights, (classes, channels): the identity where the pooled channels are scores."""
        return np.eye(channels, dtype=np.float32) if self.weights is None else self.weights


def find_classifier(model: Model, shapes: Mapping[str, Shape], score: str) -> Classifier:
    """Search from the score tensor back to the global pool and the linear layer after it.

    Raises:
        LayerError: there is no global pool, or an operator between it and the score is not part of
            one linear layer.
    """
    weights: FloatArray | None = None
    tensor = score
    while (node := model.index.producer(tensor)) is not None:
        op = operators.standard_form(node.op_type)
        if op in _POOLS:
            if not _is_global(model, node, shapes.get(node.input[0], ())):
                found = f"{_called(node)} covers only a part of the grid at a time"
                raise LayerError(_REFUSAL.format(found=found))
            return Classifier(node.input[0], _POOLS[op], weights)
        data = node.input[0] if op in operators.CARRIES else _without_bias(model, node)
        if data is None:
            matrix, data = _weights(model, node), node.input[0]
            if matrix is None or weights is not None:
                found = "a second linear layer" if matrix is not None else _called(node)
                raise LayerError(_REFUSAL.format(found=f"{found} stands between them"))
            weights = matrix
        tensor = data
    raise LayerError(_REFUSAL.format(found="there is no such pool"))


def _called(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]!r}"


def _is_global(model: Model, pool: NodeProto, shape: Shape) -> bool:
    """Whether a pool reduces all rows and columns of a tensor of that shape to one number."""
    if "Global" in pool.op_type:
        return True
    if pool.op_type in ("ReduceMean", "ReduceMax"):
        # Channels are first, or last, as in (N, T, C).
        spatial = [*range(2, len(shape))], [*range(1, len(shape) - 1)]
        return len(shape) > 2 and sorted(reduced_axes(model, pool, len(shape)) or ()) in spatial
    given = attributes(pool)
    return tuple(given["kernel_shape"]) == shape[2:] and not any(given.get("pads", ()))


def _without_bias(model: Model, node: NodeProto) -> str | None:
    """The data input of an Add whose other input is constant; None for anything else."""
    for data, bias in (node.input, reversed(node.input)) if node.op_type == "Add" else ():
        if constant_value(model, bias) is not None:
            return str(data)
    return None


def _weights(model: Model, node: NodeProto) -> FloatArray | None:
    """The matrix (classes, channels) of a linear layer; None for anything else.

    Quantized layers read their weights, scales and zero points as inputs 3 to 5.
    """
    kind = operators.standard_form(node.op_type)
    if kind not in _LINEAR or not (node.op_type == kind or operators.reads_in_threes(node.op_type)):
        return None
    given = attributes(node)
    matrix = _operand(model, node, kind, axis=0 if kind == "Conv" or given.get("transB") else 1)
    if matrix is None:
        return None
    if kind == "Conv":
        pointwise = set(matrix.shape[2:]) <= {1} and given.get("group", 1) == 1
        return matrix.reshape(matrix.shape[:2]) if pointwise else None
    if matrix.ndim != 2 or given.get("transA", 0):
        return None
    alpha = np.float32(given.get("alpha", 1.0))
    return alpha * (matrix if given.get("transB", 0) else matrix.T)


def _operand(model: Model, node: NodeProto, kind: str, axis: int) -> FloatArray | None:
    """The constant that a linear layer multiplies by; `axis` is the axis of its classes."""
    if node.op_type == kind:
        value = constant_value(model, node.input[1])
        return None if value is None else value.astype(np.float32)
    values = constant_values(model, node.input[3:6])
    return None if values is None else dequantized(values[0], values[1], values[2], axis)
