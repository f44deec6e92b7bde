"""The attention matrices of a transformer, and the tokens behind each of its blocks.

Both are found by structure in a graph that `autodiff.prepare` has made plain, so that it does not
matter which export or which fused operator they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxplain.errors import LayerError
from onnxplain.graph.builder import PREFIX
from onnxplain.graph.layers import Layer, grid_layers
from onnxplain.graph.layout import Layout
from onnxplain.graph.model import Model
from onnxplain.graph.shapes import Shape
from onnxplain.graph.surgery import extract
from onnxplain.graph.wiring import Wiring

BLOCK_SCORES = PREFIX + "block_scores"
"""What `with_block_scores` adds: the scores of each block, one block after the other."""

_ELEMENTWISE = frozenset("Add Sub Mul Div Where Cast Identity Dropout Clip".split())
"""Operators that may stand between a softmax and the product with the values."""

_INSTEAD = "use gradcam, or layercam, which ask for a layer with a grid only"


@dataclass(frozen=True)
class Transformer:
    """Blocks of self-attention over all of a picture's tokens, in order.

    `attention` are tensors (batch, heads, tokens, tokens), or with batch and heads merged; rows ask
    and columns answer. `states` are the tokens behind each block, as far as they are found.
    `layout` tells how tokens lie on the grid. `read` are the tokens that the score is read from:
    the extra ones, such as a class token, or the grid's.
    """

    attention: tuple[str, ...]
    states: tuple[Layer | None, ...]
    layout: Layout
    read: slice

    @property
    def tokens(self) -> int:
        """Number of tokens, the extra ones included."""
        return self.layout.prefix + prod(self.layout.grid)


def find_transformer(
    model: Model, shapes: Mapping[str, Shape], picture: str, score: str
) -> Transformer:
    """The blocks of a transformer between `picture` and `score`.

    Raises:
        LayerError: there are none, or not all of them attend to all tokens of one grid.
    """
    wiring = model.wiring
    way = wiring.between(picture, score)
    found = [matrix for index in way if (matrix := _weighing(wiring, shapes, index))]
    attention = tuple(dict.fromkeys(found))
    if not attention:
        raise LayerError(
            "No attention matrix was found between the picture and the score, neither a softmax "
            f"that weighs tokens nor a fused operator: {_INSTEAD}."
        )
    layers = [
        layer
        for layer in grid_layers(model, shapes, picture, score)
        if set(layer.layout.axes) == set("NTC")
    ]
    sizes = {shapes[matrix][-1] for matrix in attention}
    batch = shapes[picture][0]
    merged = any(len(shapes[m]) == 4 and shapes[m][0] != batch for m in attention)
    same = [layer for layer in layers if {_tokens(layer)} == sizes]
    if merged or not same:
        raise LayerError(
            "The attention of this model does not run over all tokens of one grid, as in models "
            f"with windows, stages or several scales, so that it cannot be followed: {_INSTEAD}."
        )
    states = _states(wiring, same, attention, score)
    layout = same[-1].layout
    grid = same[-1].matters
    read = slice(layout.prefix, None) if grid or not layout.prefix else slice(0, layout.prefix)
    return Transformer(attention, states, layout, read)


def with_block_scores(model: Model, blocks: Transformer, score: str) -> Model:
    """The model with the score that each block would have if it were the last one.

    What lies behind the last block reads the mean of a block's tokens, in the place of each of
    them. The results are joined along the first axis as `BLOCK_SCORES`. Each block but the first
    reads the state before it from an input of that name, so that its score depends on no attention
    but its own.

    Raises:
        LayerError: the tokens behind a block are not known.
    """
    states = [state for state in blocks.states if state is not None]
    if len(states) < len(blocks.states):
        raise LayerError(
            "The tokens behind each block of this transformer cannot be told from the graph, so "
            "no block has a score of its own: use attention_rollout or gradcam."
        )
    wiring = model.wiring
    last = states[-1].tensor
    head = sorted(wiring.descendants([last]) & wiring.ancestors([score]))
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    nodes = proto.graph.node
    inner = [state.tensor for state in states[:-1]]
    for name in inner:
        made = nodes[wiring.position[name]]
        made.output[list(made.output).index(name)] = _made(name)
    for block, state in enumerate(states):
        source = state.tensor if state.tensor == last else _made(state.tensor)
        prefix = f"{PREFIX}block_{block}/"
        pool = f"{PREFIX}pool_{block}/"
        nodes.extend(_pooled(pool, source, prefix + last))
        nodes.extend(_renamed(wiring.nodes[i], prefix, last, _behind(wiring, head)) for i in head)
        sizes = {"axis": [state.layout.axes.index("T")], "shape": state.shape}
        proto.graph.initializer.extend(
            numpy_helper.from_array(np.array(size), pool + name) for name, size in sizes.items()
        )
    scores = [f"{PREFIX}block_{block}/{score}" for block in range(len(states))]
    nodes.append(helper.make_node("Concat", scores, [BLOCK_SCORES], BLOCK_SCORES, axis=0))
    cut = [
        helper.make_tensor_value_info(state.tensor, TensorProto.FLOAT, state.shape)
        for state in states[:-1]
    ]
    inputs = [*proto.graph.input, *cut]
    outputs = [BLOCK_SCORES, *blocks.attention]
    return replace(model, proto=extract(proto, outputs, inputs))


def _weighing(wiring: Wiring, shapes: Mapping[str, Shape], index: int) -> str | None:
    """What a softmax becomes that multiplies values, where it is square; else None."""
    node = wiring.nodes[index]
    if node.op_type != "Softmax":
        return None
    tensor = str(node.output[0])
    shape = shapes.get(tensor, ())
    if len(shape) not in (3, 4) or shape[-1] != shape[-2]:
        return None
    while True:
        readers = [wiring.nodes[i] for i in wiring.readers.get(tensor, ())]
        if any(n.op_type == "MatMul" and n.input[0] == tensor for n in readers):
            return tensor
        same = [
            n for n in readers if n.op_type in _ELEMENTWISE and shapes.get(n.output[0]) == shape
        ]
        if not same:
            return None
        tensor = str(same[-1].output[0])


def _tokens(layer: Layer) -> int:
    return layer.shape[layer.layout.axes.index("T")]


def _states(
    wiring: Wiring, layers: Sequence[Layer], attention: Sequence[str], score: str
) -> tuple[Layer | None, ...]:
    """The last sum behind each attention that all of the way to the score leads through."""
    sums = [layer for layer in layers if layer.whole and _is_residual(wiring, layer.tensor)]
    ends = [*(wiring.position[name] for name in attention), wiring.position[score]]
    between = (
        [layer for layer in sums if start < wiring.position[layer.tensor] < end]
        for start, end in pairwise(ends)
    )
    return tuple(found[-1] if found else None for found in between)


def _is_residual(wiring: Wiring, tensor: str) -> bool:
    """Whether a tensor is the sum of two that are both computed from an input."""
    node = wiring.producer(tensor)
    if node is None or node.op_type != "Add":
        return False
    made = (wiring.ancestors([name]) for name in node.input)
    return all(
        any(set(wiring.nodes[i].input) & set(wiring.inputs) for i in nodes) for nodes in made
    )


def _made(name: str) -> str:
    return f"{PREFIX}made/{name}"


def _behind(wiring: Wiring, head: Sequence[int]) -> frozenset[str]:
    return frozenset(name for i in head for name in wiring.nodes[i].output if name)


def _pooled(prefix: str, source: str, result: str) -> list[NodeProto]:
    """The mean over the tokens, in the place of each of them."""
    mean = prefix + "mean"
    return [
        helper.make_node("ReduceMean", [source, prefix + "axis"], [mean], mean, keepdims=1),
        helper.make_node("Expand", [mean, prefix + "shape"], [result], result),
    ]


def _renamed(node: NodeProto, prefix: str, last: str, behind: frozenset[str]) -> NodeProto:
    """A copy of a node behind the last block, which reads and makes tensors of its own."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name = node.name and prefix + node.name  # two nodes may not share a name
    for names in (copy.input, copy.output):
        names[:] = [prefix + n if n == last or n in behind else n for n in names]
    return copy
