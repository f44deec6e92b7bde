"""The linear classifier behind a global pool, which class activation mapping reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from onnx import NodeProto

from onnxplain.errors import LayerError
from onnxplain.graph.constants import constant_value
from onnxplain.graph.model import Model
from onnxplain.graph.wiring import attributes
from onnxplain.tensors import Array, FloatArray

Pooling = Literal["average", "max"]

_POOLS: dict[str, Pooling] = {
    "GlobalAveragePool": "average",
    "QLinearGlobalAveragePool": "average",
    "ReduceMean": "average",
    "AveragePool": "average",
    "QLinearAveragePool": "average",
    "GlobalMaxPool": "max",
    "ReduceMax": "max",
    "MaxPool": "max",
}

_TRANSPARENT = frozenset(
    "Identity Cast Dropout Flatten Reshape Squeeze Unsqueeze QuantizeLinear DequantizeLinear "
    "Transpose".split()
)

_REFUSAL = (
    "CAM needs global average or max pooling followed by one linear layer before the score, and "
    "here {found}; use gradcam, which needs neither, or scorecam, which needs no gradients."
)


@dataclass(frozen=True)
class Classifier:
    """score = weights · pool(activation at `layer`) + bias; `weights` is (classes, channels).

    `weights` is None where the pooled channels are the scores themselves, as in fully convolutional
    classifiers.
    """

    layer: str
    pooling: Pooling
    weights: FloatArray | None


def find_classifier(model: Model, score: str) -> Classifier:
    """Walk back from the score tensor to the pool.

    Raises:
        LayerError: something other than a linear layer lies between a global pool and the score.
    """
    weights: FloatArray | None = None
    tensor = score
    while (node := model.wiring.producer(tensor)) is not None:
        op = node.op_type
        if op in _POOLS:
            return Classifier(node.input[0], _POOLS[op], weights)
        if op in _TRANSPARENT:
            tensor = node.input[0]
            continue
        if op == "Add" and (data := _without_bias(model, node)) is not None:
            tensor = data
            continue
        matrix = _weights(model, node)
        if matrix is None or weights is not None:
            found = "a second linear layer" if matrix is not None else f"{op} {node.name!r}"
            raise LayerError(_REFUSAL.format(found=f"{found} stands between them"))
        weights = matrix
        tensor = node.input[0]
    raise LayerError(_REFUSAL.format(found="there is no such pool"))


def _without_bias(model: Model, node: NodeProto) -> str | None:
    """The data input of an Add whose other input is constant."""
    for data, bias in (node.input, reversed(node.input)):
        if constant_value(model, bias) is not None:
            return str(data)
    return None


def _weights(model: Model, node: NodeProto) -> FloatArray | None:
    """The matrix (classes, channels) of a Gemm, a MatMul or a 1x1 Conv; None for anything else."""
    if node.op_type not in ("Gemm", "MatMul", "Conv"):
        return None
    constant = constant_value(model, node.input[1])
    if constant is None:
        return None
    matrix: Array = constant.astype(np.float32)
    given = attributes(node)
    if node.op_type == "Conv":
        pointwise = set(matrix.shape[2:]) <= {1} and given.get("group", 1) == 1
        return matrix.reshape(matrix.shape[:2]) if pointwise else None
    if matrix.ndim != 2 or given.get("transA", 0):
        return None
    alpha = np.float32(given.get("alpha", 1.0))
    return alpha * (matrix if given.get("transB", 0) else matrix.T)
