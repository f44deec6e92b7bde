"""The biases of a model: constants that are added, one for each channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from onnxplain.model.constants import constant_value, constant_values
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.tensors import Array, FloatArray

_AFTER_CHANNELS = 2
"""Number of axes after the channels: rows and columns."""


@dataclass(frozen=True, eq=False)
class Bias:
    """`values`, (channels,), are added to give `tensor`, (N, channels, rows, columns)."""

    tensor: str
    values: FloatArray


def find_biases(model: Model, source: str, score: str) -> list[Bias]:
    """The biases that are added on a path from `source` to `score`, in order."""
    found = []
    for index in model.index.between(source, score):
        node = model.index.nodes[index]
        values = _FINDERS[node.op_type](model, node) if node.op_type in _FINDERS else None
        if values is not None and values.any():
            found.append(Bias(node.output[0], values.astype(np.float32)))
    return found


def _of_convolution(model: Model, node: NodeProto) -> Array | None:
    given = len(node.input) > 2 and node.input[2]
    return constant_value(model, node.input[2]) if given else None


def _of_batch_norm(model: Model, node: NodeProto) -> Array | None:
    """β − μ γ / √(σ² + ε)."""
    values = constant_values(model, node.input[1:5])
    if values is None:
        return None
    gamma, beta, mean, variance = (value.astype(np.float64) for value in values)
    epsilon = attributes(node).get("epsilon", 1e-5)
    shift: Array = beta - mean * gamma / np.sqrt(variance + epsilon)
    return shift


def _of_sum(model: Model, node: NodeProto) -> Array | None:
    """The constant input of a sum if its shape is (..., channels, 1, 1), as (channels,)."""
    constants = [v for v in (constant_value(model, name) for name in node.input) if v is not None]
    if len(constants) != 1 or constants[0].ndim <= _AFTER_CHANNELS:
        return None
    flat = constants[0].reshape(-1)
    return flat if constants[0].shape[-3:] == (flat.size, 1, 1) else None


_FINDERS: Mapping[str, Callable[[Model, NodeProto], Array | None]] = {
    "Conv": _of_convolution,
    "ConvTranspose": _of_convolution,
    "BatchNormalization": _of_batch_norm,
    "Add": _of_sum,
}
