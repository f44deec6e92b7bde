"""The score that each block of a transformer would have if it were the last one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxplain.analysis.transformer import Transformer
from onnxplain.errors import LayerError
from onnxplain.model.graph_index import GraphIndex
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX

BLOCK_SCORES = PREFIX + "block_scores"
"""What `with_block_scores` adds: the scores of each block, one block after the other."""


def with_block_scores(model: Model, blocks: Transformer, score: str, batch: int | str) -> Model:
    """The model with the score that each block would have if it were the last one.

    What lies behind the last block reads the mean of a block's tokens, in the place of each of
    them, and rounds nothing: where it is quantised, its ranges were measured for the last block's
    tokens, and would cut off those of others, and their gradients. The results are joined along the
    first axis as `BLOCK_SCORES`. Each block but the first reads the state before it from an input
    of that name and of `batch` samples, so that its score depends on no attention but its own;
    `without_cuts` undoes that.

    Raises:
        LayerError: the tokens behind a block are not known.
    """
    states = [state for state in blocks.states if state is not None]
    if len(states) < len(blocks.states):
        raise LayerError(
            "The tokens behind each block of this transformer cannot be told from the graph, so "
            "no block has a score of its own: use attention_rollout or gradcam."
        )
    graph_index = model.index
    last = states[-1].tensor
    head = sorted(graph_index.descendants([last]) & graph_index.ancestors([score]))
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    nodes = proto.graph.node
    cut = states[:-1]
    for name in (state.tensor for state in cut):
        made = nodes[graph_index.position[name]]
        made.output[list(made.output).index(name)] = _made(name)
    for block, state in enumerate(states):
        source = state.tensor if state.tensor == last else _made(state.tensor)
        prefix = f"{PREFIX}block_{block}/"
        pool = f"{PREFIX}pool_{block}/"
        nodes.extend(_pooled(pool, source, prefix + last))
        nodes.extend(
            _renamed(_unrounded(graph_index, i), prefix, last, _behind(graph_index, head))
            for i in head
        )
        tokens = state.layout.axes.index("T")
        shape = [size if axis == tokens else 1 for axis, size in enumerate(state.shape)]
        sizes = {"axis": [tokens], "shape": shape}
        proto.graph.initializer.extend(
            numpy_helper.from_array(np.array(size), pool + name) for name, size in sizes.items()
        )
    scores = [f"{PREFIX}block_{block}/{score}" for block in range(len(states))]
    nodes.append(helper.make_node("Concat", scores, [BLOCK_SCORES], BLOCK_SCORES, axis=0))
    proto.graph.input.extend(
        helper.make_tensor_value_info(state.tensor, TensorProto.FLOAT, [batch, *state.shape[1:]])
        for state in cut
    )
    return replace(model, proto=proto)


def without_cuts(model: Model, blocks: Transformer) -> Model:
    """The model with the states between blocks themselves in place of the inputs for them."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    made = {_made(state.tensor): state.tensor for state in blocks.states[:-1] if state is not None}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [made.get(name, name) for name in names]
    inputs = [value for value in proto.graph.input if value.name not in made.values()]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    return replace(model, proto=proto)


def _made(name: str) -> str:
    return f"{PREFIX}made/{name}"


def _behind(graph_index: GraphIndex, head: Sequence[int]) -> frozenset[str]:
    return frozenset(name for i in head for name in graph_index.nodes[i].output if name)


def _pooled(prefix: str, source: str, result: str) -> list[NodeProto]:
    """The mean over the tokens, in the place of each of them."""
    mean = prefix + "mean"
    return [
        helper.make_node("ReduceMean", [source, prefix + "axis"], [mean], mean, keepdims=1),
        helper.make_node("Expand", [mean, prefix + "shape"], [result], result),
    ]


def _unrounded(graph_index: GraphIndex, index: int) -> NodeProto:
    """A node, without the rounding and the limits of a quantisation that is undone at once."""
    node = graph_index.nodes[index]
    maker = graph_index.producer(node.input[0]) if node.op_type == "DequantizeLinear" else node
    if maker is None or maker.op_type != "QuantizeLinear":
        return node
    readers = (graph_index.nodes[i] for i in graph_index.readers.get(maker.output[0], ()))
    if any(reader.op_type != "DequantizeLinear" for reader in readers):
        return node
    return helper.make_node("Identity", node.input[:1], node.output, node.name)


def _renamed(node: NodeProto, prefix: str, last: str, behind: frozenset[str]) -> NodeProto:
    """A copy of a node behind the last block, which reads and makes tensors of its own."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name = node.name and prefix + node.name  # two nodes may not share a name
    for names in (copy.input, copy.output):
        names[:] = [prefix + n if n == last or n in behind else n for n in names]
    return copy
