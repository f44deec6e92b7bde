"""Small rewrites that bring every model to one form. Outputs change by rounding only."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from onnxplain.errors import ModelError
from onnxplain.model.graph_index import attributes, reads, subgraphs
from onnxplain.model.operators import MICROSOFT, key_of


def normalize(proto: ModelProto) -> ModelProto:
    """Bring a model to one form; `proto` may be changed in place.

    Functions are inlined, constants become initializers, fused sums and normalizations are split
    into nodes, initializers are no longer listed as inputs, and nodes are sorted. Metadata, names
    of tensors and the outputs are kept.

    Raises:
        ModelError: the graph has a cycle, or a function calls itself.
    """
    if proto.functions:
        _check_functions(proto)
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
    # Before IR version 4 every initializer must also be an input.
    proto.ir_version = max(proto.ir_version, 4)
    return proto


_NUMBERS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
"""Attributes of Constant that hold plain numbers, and the element type of each."""


def _constant_tensor(node: NodeProto) -> TensorProto | None:
    """The value of a Constant, named like its output; None for other nodes."""
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
    """Whether a node is a fused sum and normalization that also outputs the sum."""
    return key_of(node) == (MICROSOFT, "SkipLayerNormalization") and any(node.output[3:])


def _parted(node: NodeProto) -> list[NodeProto]:
    """A fused sum and normalization as two or three nodes, equal up to rounding.

    In a transformer all values flow through the sum. While it is fused, no single tensor holds it.
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
    """IR version 3 lists every initializer as an input; later ones may, so that it can be set."""
    initializers = {tensor.name for tensor in graph.initializer}
    initializers.update(tensor.values.name for tensor in graph.sparse_initializer)
    true_inputs = [value for value in graph.input if value.name not in initializers]
    del graph.input[:]
    graph.input.extend(true_inputs)


def _check_functions(proto: ModelProto) -> None:
    """Raise ModelError if a function calls itself, also through others: it has no end."""
    calls = {
        (f.domain, f.name): {
            key_of(node)
            for graph in (f, *(body for node in f.node for body in subgraphs(node)))
            for node in graph.node
        }
        for f in proto.functions
    }
    try:
        TopologicalSorter({own: calls[own] & calls.keys() for own in calls}).prepare()
    except CycleError as error:
        raise ModelError(
            f"The function {error.args[1][0][1]!r} of the model calls itself: export the model "
            "again."
        ) from None


_SHOWN = 3


def _sorted(nodes: list[NodeProto]) -> list[NodeProto]:
    """Nodes in topological order: ONNX requires it, but ONNX Runtime also loads other orders."""
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    before = {
        i: {makers[name] for name in reads(node) if name in makers} for i, node in enumerate(nodes)
    }
    if all(max(earlier, default=-1) < i for i, earlier in before.items()):
        return nodes
    try:
        return [nodes[i] for i in TopologicalSorter(before).static_order()]
    except CycleError as error:
        around = ", ".join(str(nodes[i].output[0]) for i in error.args[1][:_SHOWN])
        raise ModelError(
            f"The graph has a cycle, in which a node waits for its own output ({around}): export "
            "the model again."
        ) from None
