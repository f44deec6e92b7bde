"""float16, bfloat16 and float64 models, computed in float32."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from onnxplain.autodiff.lowering.rewrite import rename
from onnxplain.model.evaluation import is_small
from onnxplain.model.graph_index import all_graphs
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX

_OTHERS = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
_TYPE_ATTRIBUTES = frozenset(
    "to dtype stash_type precision softmax_precision output_dtype output_datatype".split()
)
"""Attributes whose value is an element type, of any operator."""


def to_float32(model: Model) -> Model:
    """The model with all that is float16, bfloat16 or float64 inside it made float32.

    Inputs and outputs keep their names and types: each has a Cast, and the float32 tensor has
    another name. Large weights are not read: each gets another name, and the output of a Cast has
    its old name.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
    inner = {name: f"{PREFIX}float32/{name}" for name, one in types.items() if one in _OTHERS}
    rename(graph.node, inner)
    for part in all_graphs(graph):
        ends = () if part is graph else (*part.input, *part.output)
        _widen(part, [*part.value_info, *ends])
    inputs = [v.name for v in graph.input if v.name in inner]
    outputs = [v.name for v in graph.output if v.name in inner]
    entering = [_cast(name, inner[name], TensorProto.FLOAT) for name in inputs]
    leaving = [_cast(inner[name], name, types[name]) for name in outputs]
    _set_nodes(graph, [*entering, *graph.node, *leaving])
    return replace(model, proto=proto)


def _widen(graph: GraphProto, values: Iterable[ValueInfoProto]) -> None:
    """Change all nodes and weights of a graph, and the types of `values`, to float32."""
    for value in values:
        _widen_type(value.type)
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        if attribute.name in _TYPE_ATTRIBUTES and attribute.i in _OTHERS:
            attribute.i = TensorProto.FLOAT
        elif attribute.HasField("t"):
            _widen_tensor(attribute.t)
        elif attribute.HasField("tp"):
            _widen_type(attribute.tp)
    _set_nodes(graph, [*_widen_weights(graph.initializer), *graph.node])


def _widen_weights(weights: Iterable[TensorProto]) -> list[NodeProto]:
    """Convert small weights in place; rename large weights, and return a Cast for each."""
    casts = []
    for tensor in weights:
        if tensor.data_type not in _OTHERS:
            continue
        if is_small(tensor):
            _widen_tensor(tensor)
        else:
            name = tensor.name
            tensor.name = f"{PREFIX}stored/{name}"
            casts.append(_cast(tensor.name, name, TensorProto.FLOAT))
    return casts


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _OTHERS:
        with np.errstate(over="ignore"):
            array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _widen_type(kind: TypeProto) -> None:
    if kind.HasField("sequence_type"):
        _widen_type(kind.sequence_type.elem_type)
    elif kind.HasField("optional_type"):
        _widen_type(kind.optional_type.elem_type)
    elif kind.tensor_type.elem_type in _OTHERS:
        kind.tensor_type.elem_type = TensorProto.FLOAT


def _cast(source: str, result: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{PREFIX}cast/{result}", to=to)


def _set_nodes(graph: GraphProto, nodes: Iterable[NodeProto]) -> None:
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)
