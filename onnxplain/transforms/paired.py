"""A second sample beside the first: what depends on the input is computed once more for it."""

from __future__ import annotations

from dataclasses import replace

from onnx import ModelProto, NodeProto

from onnxplain.model.model import Model
from onnxplain.model.operators import SIZE_READERS
from onnxplain.transforms.builder import PREFIX


def twin_name(twin: str, tensor: str) -> str:
    """What a tensor is called for the second sample `twin`."""
    return f"{PREFIX}{twin}/{tensor}"


def with_twin(model: Model, twin: str, source: str) -> Model:
    """The model with its nodes after the input `source` a second time, for another sample.

    `twin_name(twin, source)` becomes an input of the same type; weights, and what else does not
    depend on the values of `source`, are shared. Bodies of If, Loop and Scan still read the first
    sample.
    """
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    varying, nodes = {source}, []
    for node in model.index.nodes:
        if node.op_type not in SIZE_READERS and not varying.isdisjoint(node.input):
            nodes.append(node)
            varying.update(filter(None, node.output))
    proto.graph.node.extend(_renamed(node, twin, varying) for node in nodes)
    (declared,) = (value for value in model.proto.graph.input if value.name == source)
    added = proto.graph.input.add()
    added.CopyFrom(declared)
    added.name = twin_name(twin, source)
    return replace(model, proto=proto)


def _renamed(node: NodeProto, twin: str, varying: set[str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name = twin_name(twin, node.name or node.output[0])
    for names in (copy.input, copy.output):
        names[:] = [twin_name(twin, name) if name in varying else name for name in names]
    return copy
