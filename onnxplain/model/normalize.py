"""Small rewrites that give every file the same shape, and change no answer but by rounding."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from onnxplain.model.graph_index import attributes, reads
from onnxplain.model.operators import MICROSOFT, key_of


def normalize(proto: ModelProto) -> ModelProto:
    """Inline functions, lift constants, part fused sums, list only true inputs, sort nodes.

    Metadata, names of tensors and the outputs are kept. The argument may be changed in place.
    """
    if proto.functions:
        proto = inline_local_functions(proto)
    graph = proto.graph
    nodes: list[NodeProto] = []
    for node in graph.node:
        if (tensor := _constant_tensor(node)) is not None:
            graph.initializer.append(tensor)
        else:
            nodes.extend(_parted(node) if _gives_its_sum(node) else [node])
    nodes = _sorted(nodes)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_initializers_from_inputs(graph)
    # Below IR 4 an initializer that is no input is invalid.
    proto.ir_version = max(proto.ir_version, 4)
    return proto


_NUMBERS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
"""Attributes that state a constant as numbers, and its type."""


def _constant_tensor(node: NodeProto) -> TensorProto | None:
    """What a Constant holds, under the name of its output; None for other nodes."""
    if key_of(node) != ("", "Constant"):
        return None
    for name, value in attributes(node).items():
        if name in _NUMBERS:
            return numpy_helper.from_array(np.asarray(value, _NUMBERS[name]), node.output[0])
        if name == "value":
            value.name = node.output[0]
            return value  # type: ignore[no-any-return]
    return None


def _gives_its_sum(node: NodeProto) -> bool:
    """Whether a node is a fused sum and normalization of which the sum is read too."""
    return key_of(node) == (MICROSOFT, "SkipLayerNormalization") and any(node.output[3:])


def _parted(node: NodeProto) -> list[NodeProto]:
    """A fused sum and normalization as two or three nodes.

    The sum is what all of a transformer's way leads through; fused, no tensor is. Up to rounding
    the answers stay the same.
    """
    x, skip, gamma, beta, bias = [*node.input, "", ""][:5]
    *normalized, total = node.output
    first = f"{total}/without_bias" if bias else total
    parts = [helper.make_node("Add", [x, skip], [first], first)]
    if bias:
        parts.append(helper.make_node("Add", [first, bias], [total], total))
    while normalized and not normalized[-1]:
        normalized.pop()
    if normalized:
        scale = [total, gamma, beta] if beta else [total, gamma]
        epsilon = attributes(node).get("epsilon", 1e-12)
        parts.append(
            helper.make_node("LayerNormalization", scale, normalized, node.name, epsilon=epsilon)
        )
    return parts


def _drop_initializers_from_inputs(graph: GraphProto) -> None:
    """IR 3 lists every initializer as an input; later versions do so to allow overriding."""
    initializers = {tensor.name for tensor in graph.initializer}
    initializers.update(tensor.values.name for tensor in graph.sparse_initializer)
    true_inputs = [value for value in graph.input if value.name not in initializers]
    del graph.input[:]
    graph.input.extend(true_inputs)


def _sorted(nodes: list[NodeProto]) -> list[NodeProto]:
    """Each node after those that it reads from, as ONNX asks; ONNX Runtime takes any order."""
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    before = {
        i: {makers[name] for name in reads(node) if name in makers} for i, node in enumerate(nodes)
    }
    if all(max(earlier, default=-1) < i for i, earlier in before.items()):
        return nodes
    try:
        return [nodes[i] for i in TopologicalSorter(before).static_order()]
    except CycleError:
        return nodes  # ONNX Runtime refuses it
