"""Merges batch normalization into the layer before it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from onnxplain.model.constants import constant_value
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import with_contents

_Array = NDArray[Any]


def merge_batch_norms(model: Model) -> Model:
    """The model with each BatchNormalization merged into the Conv or Gemm before it.

    The output of the layer then has the name of the output of the normalization. A normalization
    stays as it is where other nodes read its input too, or its statistics are not constant.
    """
    nodes, weights = dict(enumerate(model.index.nodes)), list(model.proto.graph.initializer)
    for place, norm in enumerate(model.index.nodes):
        if _is_mergeable(model, norm):
            before = model.index.position[norm.input[0]]
            nodes[before], added = _merged(model, nodes[before], norm)
            weights += added
            del nodes[place]
    return with_contents(model, node=nodes.values(), initializer=weights)


def _is_mergeable(model: Model, norm: NodeProto) -> bool:
    """Whether a node is a BatchNormalization with constant statistics after a Conv or Gemm."""
    if norm.op_type != "BatchNormalization" or attributes(norm).get("training_mode", 0):
        return False
    layer = model.index.producer(norm.input[0])
    alone = model.index.readers[norm.input[0]] == [model.index.position[norm.output[0]]]
    if layer is None or not alone or norm.input[0] in model.index.outputs:
        return False
    if layer.op_type not in ("Conv", "Gemm") or attributes(layer).get("transA", 0):
        return False
    constants = [*layer.input[1:], *norm.input[1:]]
    return all(constant_value(model, name) is not None for name in constants if name)


def _merged(model: Model, layer: NodeProto, norm: NodeProto) -> tuple[NodeProto, list[TensorProto]]:
    """The layer and the normalization as one node, and the weights of that node."""
    scale, shift, mean, variance = _values(model, norm.input[1:])
    gain = scale / np.sqrt(variance + attributes(norm).get("epsilon", 1e-5))
    weights, *given = _values(model, filter(None, layer.input[1:]))
    settings = attributes(layer)
    by_columns = layer.op_type == "Gemm" and not settings.get("transB", 0)
    rows = gain if by_columns else gain.reshape(-1, *[1] * (weights.ndim - 1))
    bias = settings.get("beta", 1.0) * given[0] if given else np.zeros_like(gain)
    bias = np.broadcast_to((bias - mean) * gain + shift, gain.shape)
    made = {"weights": weights * rows, "bias": bias / settings.get("beta", 1.0)}
    tensors = [numpy_helper.from_array(value.astype(np.float32)) for value in made.values()]
    for tensor, what in zip(tensors, made, strict=True):
        tensor.name = f"{PREFIX}merged/{what}/{norm.output[0]}"
    merged = NodeProto()
    merged.CopyFrom(layer)
    merged.input[1:] = [tensor.name for tensor in tensors]
    merged.output[0] = norm.output[0]
    return merged, tensors


def _values(model: Model, names: Iterable[str]) -> list[_Array]:
    """The values of constants in float64."""
    return [np.asarray(constant_value(model, name), np.float64) for name in names]
