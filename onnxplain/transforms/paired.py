"""A second sample in the same graph: all nodes that depend on the input are copied for it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from onnxplain.model.model import Model
from onnxplain.model.operators import SIZE_READERS
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import renamed


def paired_name(twin: str, tensor: str) -> str:
    """The name of a tensor for the second sample `twin`."""
    return f"{PREFIX}{twin}/{tensor}"


def with_paired(model: Model, twin: str, source: str) -> Model:
    """The model with a copy of all nodes that depend on the input `source`, for another sample.

    `paired_name(twin, source)` becomes an input of the same type. Weights and other tensors that do
    not depend on the values of `source` are shared. Subgraphs of If, Loop and Scan still read the
    first sample.
    """
    proto = deepcopy(model.proto)
    varying, nodes = {source}, []
    for node in model.index.nodes:
        if node.op_type not in SIZE_READERS and not varying.isdisjoint(node.input):
            nodes.append(node)
            varying.update(filter(None, node.output))
    names = {name: paired_name(twin, name) for name in varying}
    proto.graph.node.extend(renamed(node, names, paired_name(twin, "")) for node in nodes)
    (declared,) = (value for value in model.proto.graph.input if value.name == source)
    added = proto.graph.input.add()
    added.CopyFrom(declared)
    added.name = names[source]
    return replace(model, proto=proto)
