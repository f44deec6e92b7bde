"""Merging batch normalisation into the layer before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from onnxplain.model.constants import constant_value
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX

_Array = NDArray[Any]


def merge_batch_norms(model: Model) -> Model:
    """The model with each BatchNormalization made part of the Conv or Gemm that alone feeds it.

    The layer then makes the tensor that the normalisation made. Others stay as they are.
    """
    pairs = [pair for node in model.proto.graph.node if (pair := _pair(model, node)) is not None]
    if not pairs:
        return model
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    merged = {layer.output[0]: (layer, norm) for layer, norm in pairs}
    dropped = {norm.output[0] for _, norm in pairs}
    nodes = [node for node in proto.graph.node if node.output[0] not in dropped]
    for node in nodes:
        if node.output[0] in merged:
            _merge(model, proto, node, merged[node.output[0]][1])
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return replace(model, proto=proto)


def _pair(model: Model, norm: NodeProto) -> tuple[NodeProto, NodeProto] | None:
    """A normalisation with fixed statistics and the layer before it, if they can be merged."""
    if norm.op_type != "BatchNormalization" or attributes(norm).get("training_mode", 0):
        return None
    layer = model.index.producer(norm.input[0])
    alone = model.index.readers[norm.input[0]] == [model.index.position[norm.output[0]]]
    if layer is None or not alone or norm.input[0] in model.index.outputs:
        return None
    if layer.op_type not in ("Conv", "Gemm") or attributes(layer).get("transA", 0):
        return None
    constants = [*layer.input[1:], *norm.input[1:]]
    if any(constant_value(model, name) is None for name in constants if name):
        return None
    return layer, norm


def _merge(model: Model, proto: ModelProto, layer: NodeProto, norm: NodeProto) -> None:
    scale, shift, mean, variance = _values(model, norm.input[1:])
    gain = scale / np.sqrt(variance + attributes(norm).get("epsilon", 1e-5))
    (weights,) = _values(model, layer.input[1:2])
    given = _values(model, [name for name in layer.input[2:] if name])
    told = attributes(layer)
    by_columns = layer.op_type == "Gemm" and not told.get("transB", 0)
    rows = gain if by_columns else gain.reshape(-1, *[1] * (weights.ndim - 1))
    bias = told.get("beta", 1.0) * given[0] if given else np.zeros_like(gain)
    bias = np.broadcast_to((bias - mean) * gain + shift, gain.shape)
    name = norm.output[0]
    made = {"weights": weights * rows, "bias": bias / told.get("beta", 1.0)}
    for what, value in made.items():
        tensor = numpy_helper.from_array(value.astype(np.float32), f"{PREFIX}merged/{what}/{name}")
        proto.graph.initializer.append(tensor)
    layer.input[1:] = [f"{PREFIX}merged/{what}/{name}" for what in made]
    layer.output[0] = name


def _values(model: Model, names: Sequence[str]) -> list[_Array]:
    """Constants in float64; all of them are known."""
    return [np.asarray(constant_value(model, name), np.float64) for name in names]
