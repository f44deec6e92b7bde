"""Small rewrites that give every file the same shape, and change no answer but by rounding."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions

from onnxplain.model.graph_index import attributes, reads
from onnxplain.model.operators import MICROSOFT, STANDARD_DOMAINS


def normalize(proto: ModelProto) -> ModelProto:
    """Inline functions, lift constants, part fused sums, list only true inputs, sort nodes.

    Metadata, names of tensors and the outputs are kept. The argument may be changed in place.
    """
    if proto.functions:
        proto = inline_local_functions(proto)
    _lift_constants(proto)
    _split_skips(proto)
    _drop_initializers_from_inputs(proto)
    _sort_nodes(proto)
    # Below IR 4 an initializer that is no input is invalid.
    proto.ir_version = max(proto.ir_version, 4)
    return proto


def _lift_constants(proto: ModelProto) -> None:
    kept: list[NodeProto] = []
    for node in proto.graph.node:
        tensor = _constant_tensor(node)
        if tensor is None:
            kept.append(node)
        else:
            proto.graph.initializer.append(tensor)
    if len(kept) < len(proto.graph.node):
        del proto.graph.node[:]
        proto.graph.node.extend(kept)


def _constant_tensor(node: NodeProto) -> TensorProto | None:
    if node.op_type != "Constant" or node.domain not in STANDARD_DOMAINS:
        return None
    values = attributes(node)
    if "value" in values:
        tensor = TensorProto()
        tensor.CopyFrom(values["value"])
        tensor.name = node.output[0]
        return tensor
    for name, kind in (
        ("value_float", TensorProto.FLOAT),
        ("value_floats", TensorProto.FLOAT),
        ("value_int", TensorProto.INT64),
        ("value_ints", TensorProto.INT64),
    ):
        if name in values:
            dtype = helper.tensor_dtype_to_np_dtype(kind)
            array = np.asarray(values[name], dtype=dtype)
            return numpy_helper.from_array(array, node.output[0])
    return None


def _split_skips(proto: ModelProto) -> None:
    """Part a fused sum and normalisation where the sum is read too.

    The sum is what all of a transformer's way leads through; fused, no tensor is. Up to rounding
    the answers stay the same.
    """
    nodes = list(proto.graph.node)
    if any(_gives_its_sum(node) for node in nodes):
        parts = [_parted(node) if _gives_its_sum(node) else [node] for node in nodes]
        del proto.graph.node[:]
        proto.graph.node.extend(part for some in parts for part in some)


def _gives_its_sum(node: NodeProto) -> bool:
    fused = node.op_type == "SkipLayerNormalization" and node.domain == MICROSOFT
    return fused and any(node.output[3:])


def _parted(node: NodeProto) -> list[NodeProto]:
    x, skip, gamma, beta, bias = [*node.input, "", ""][:5]
    *normalised, total = node.output
    first = f"{total}/without_bias" if bias else total
    epsilon = attributes(node).get("epsilon", 1e-12)
    added = [helper.make_node("Add", [x, skip], [first], first)]
    if bias:
        added.append(helper.make_node("Add", [first, bias], [total], total))
    scale = [total, gamma, beta] if beta else [total, gamma]
    while normalised and not normalised[-1]:
        normalised.pop()
    if not normalised:
        return added
    return [
        *added,
        helper.make_node("LayerNormalization", scale, normalised, node.name, epsilon=epsilon),
    ]


def _drop_initializers_from_inputs(proto: ModelProto) -> None:
    """IR 3 lists every initializer as an input; later versions do so to allow overriding."""
    initializers = {tensor.name for tensor in proto.graph.initializer}
    initializers.update(tensor.values.name for tensor in proto.graph.sparse_initializer)
    true_inputs = [value for value in proto.graph.input if value.name not in initializers]
    if len(true_inputs) < len(proto.graph.input):
        del proto.graph.input[:]
        proto.graph.input.extend(true_inputs)


def _sort_nodes(proto: ModelProto) -> None:
    """Put each node after those that it reads from, as ONNX asks; ONNX Runtime takes any order."""
    nodes = list(proto.graph.node)
    makers = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    before = {
        i: {makers[name] for name in reads(node) if name in makers} for i, node in enumerate(nodes)
    }
    if all(max(earlier, default=-1) < i for i, earlier in before.items()):
        return
    try:
        order = list(TopologicalSorter(before).static_order())
    except CycleError:
        return  # ONNX Runtime refuses it
    del proto.graph.node[:]
    proto.graph.node.extend(nodes[i] for i in order)
