"""The score that each block of a transformer would have if it were the last one."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import NodeProto, helper

from onnxplain.analysis.transformer import Transformer
from onnxplain.errors import LayerError
from onnxplain.model.graph_index import GraphIndex
from onnxplain.model.model import Model
from onnxplain.tensors import TensorSpec
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended, computed_name, fed, renamed, with_contents

BLOCK_SCORES = PREFIX + "block_scores"
"""The tensor that `with_block_scores` adds: the scores of all blocks, joined along axis 0."""


def with_block_scores(model: Model, blocks: Transformer, score: str, batch: int | str) -> Model:
    """The model with the score that each block would have if it were the last one.

    The part after the last block is copied for each block. A copy reads the mean of the block's
    tokens, in place of every token. It does not quantize: quantization ranges were measured for
    the last block and would clip the values and gradients of other blocks. The results are joined
    along axis 0 as `BLOCK_SCORES`. Each block but the first reads the tokens before it from a new
    input, which has the name of this tensor and `batch` samples. So the score of a block depends on
    no attention of other blocks. `without_cuts` removes these inputs.

    Raises:
        LayerError: the tokens after a block are not known.
    """
    states = [state for state in blocks.states if state is not None]
    if len(states) < len(blocks.states):
        raise LayerError(
            "The tokens after each block of this transformer were not found in the graph, so "
            "no block has a score of its own: use attention_rollout or gradcam."
        )
    graph_index, last = model.index, states[-1].tensor
    head = sorted(graph_index.descendants([last]) & graph_index.ancestors([score]))
    made = [last, *(name for i in head for name in graph_index.nodes[i].output if name)]
    cut = [
        TensorSpec(state.tensor, np.dtype(np.float32), (batch, *state.shape[1:]))
        for state in states[:-1]
    ]
    cut_model = fed(model, *cut)
    prefixes = [f"{PREFIX}block_{block}/" for block in range(len(states))]
    graph = gs.Graph(opset=model.opset)
    g = Builder(graph, PREFIX + "pool/")
    copies: list[NodeProto] = []
    for prefix, state in zip(prefixes, states, strict=True):
        source = last if state.tensor == last else computed_name(state.tensor)
        tokens = state.layout.axes.index("T")
        shape = [size if axis == tokens else 1 for axis, size in enumerate(state.shape)]
        mean = g.ReduceMean(gs.Variable(source), np.array([tokens]), keepdims=1)
        g.Expand(mean, np.array(shape)).name = prefix + last
        names = {name: prefix + name for name in made}
        copies.extend(renamed(_unrounded(graph_index, i), names, prefix) for i in head)
    scores = [prefix + score for prefix in prefixes]
    joined = helper.make_node("Concat", scores, [BLOCK_SCORES], BLOCK_SCORES, axis=0)
    added = gs.export_onnx(graph, do_type_check=False).graph
    added.node.extend([*copies, joined])
    return appended(cut_model, added)


def without_cuts(model: Model, blocks: Transformer) -> Model:
    """The result of `with_block_scores` with each block connected to the one before it again."""
    cut = [state.tensor for state in blocks.states[:-1] if state is not None]
    names = {computed_name(tensor): tensor for tensor in cut}
    inputs = [value for value in model.proto.graph.input if value.name not in cut]
    nodes = [renamed(node, names) for node in model.proto.graph.node]
    return with_contents(model, node=nodes, input=inputs)


def _unrounded(graph_index: GraphIndex, index: int) -> NodeProto:
    """The node, or an Identity if it belongs to a QuantizeLinear followed by DequantizeLinear."""
    node = graph_index.nodes[index]
    maker = graph_index.producer(node.input[0]) if node.op_type == "DequantizeLinear" else node
    if maker is None or maker.op_type != "QuantizeLinear":
        return node
    readers = graph_index.readers_of(maker.output[0])
    if any(reader.op_type != "DequantizeLinear" for reader in readers):
        return node
    return helper.make_node("Identity", node.input[:1], node.output, node.name)
