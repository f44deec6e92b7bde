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
from onnxplain.graph.layers import Layer, grid_layers, is_residual, tokens_read
from onnxplain.graph.layout import Layout
from onnxplain.graph.model import Model
from onnxplain.graph.reach import read_elements
from onnxplain.graph.shapes import Shape
from onnxplain.graph.surgery import extract
from onnxplain.graph.weighing import Weighing, find_weighings
from onnxplain.graph.wiring import SIZE_READERS, Wiring

BLOCK_SCORES = PREFIX + "block_scores"
"""What `with_block_scores` adds: the scores of each block, one block after the other."""


@dataclass(frozen=True)
class Transformer:
    """Blocks of self-attention over all of a picture's tokens, in order.

    `attention` are tensors (batch, heads, tokens, tokens), or with batch and heads merged; rows ask
    and columns answer. `states` are the tokens behind each block, as far as they are found.
    `layout` tells how tokens lie on the grid. `read` are the places of the tokens that the score is
    read from behind the last block, and `pool` is the attention (..., rows, tokens) that weighs
    them, if there is one.
    """

    attention: tuple[str, ...]
    states: tuple[Layer | None, ...]
    layout: Layout
    read: tuple[int, ...]
    pool: str | None = None

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
    weighings = find_weighings(model, shapes, picture, score)
    layers = grid_layers(model, shapes, picture, score)
    pool = None
    if len(weighings) > 1 and _pools(model.wiring, weighings[-1], score):
        *weighings, pool = weighings
    last = max((model.wiring.position[w.tensor] for w in weighings), default=0)
    sizes = {weighing.columns for weighing in weighings}
    read = read_elements(model, shapes, picture, score)
    same = [
        layer
        for layer in layers
        if set(layer.layout.axes) == set("NTC")
        and {_tokens(layer)} == sizes
        and layer.tensor in read
    ]
    obstacle = _obstacle(weighings, shapes[picture][0])
    if not obstacle and not (same and model.wiring.position[same[-1].tensor] > last):
        obstacle = _NO_TOKENS.format(" and ".join(map(str, sorted(sizes))))
    if obstacle:
        raise LayerError(f"{obstacle}: {_instead(layers)}.")
    attention = [weighing.tensor for weighing in weighings]
    return Transformer(
        tuple(attention),
        _states(model.wiring, same, attention, score),
        same[-1].layout,
        tuple(np.flatnonzero(tokens_read(same[-1].layout, read[same[-1].tensor])).tolist()),
        None if pool is None else pool.tensor,
    )


_NO_ATTENTION = (
    "No attention matrix was found between the picture and the score, neither a softmax that "
    "weighs tokens nor a fused operator"
)
_NO_TOKENS = (
    "The attention of this model runs over {} tokens or channels, and no layer behind it holds as "
    "many tokens of one grid, as with windows, stages or attention between channels"
)


def _obstacle(weighings: Sequence[Weighing], batch: int) -> str:
    """Why what tokens attend to cannot be followed; empty where it can."""
    if not weighings:
        return _NO_ATTENTION
    for weighing in weighings:
        name, rows, columns = weighing.tensor, weighing.rows, weighing.columns
        if weighing.mixed:
            return (
                f"The heads of this model talk with each other: {name!r} adds up the softmaxes of "
                "several heads with weights of any sign, and what weighs the values is no share "
                "of attention that could be followed"
            )
        if len(weighing.shape) > _RANK or (
            len(weighing.shape) == _RANK and weighing.shape[0] != batch
        ):
            return (
                f"The attention of this model runs within windows: {name!r} has the shape "
                f"{weighing.shape}, so that no token attends to all of the picture"
            )
        if rows != columns:
            return (
                f"Not every token of this model attends to all others: at {name!r} {rows} ask "
                f"{columns}, as with stages, pooled keys or a class token that attends alone"
            )
    return ""


_RANK = 4  # (batch, heads, rows, columns)


def _instead(layers: Sequence[Layer]) -> str:
    if any(layer.matters for layer in layers):
        return "use gradcam, or layercam, which ask for a layer with a grid only"
    return "use occlusion or integrated_gradients, which ask for no layer"


def _pools(wiring: Wiring, weighing: Weighing, score: str) -> bool:
    """Whether few ask all tokens, and nothing but their answers goes on to the score."""
    if weighing.rows >= weighing.columns:
        return False
    behind = wiring.descendants([weighing.tensor])
    own = {weighing.tensor, *(name for i in behind for name in wiring.nodes[i].output)}
    others = {n for i in wiring.descendants(wiring.inputs) for n in wiring.nodes[i].output} - own
    way = sorted(behind & wiring.ancestors([score], without=SIZE_READERS))
    product = next((i for i in way if wiring.nodes[i].op_type == "MatMul"), len(wiring.nodes))
    return not any(others & set(wiring.nodes[i].input) for i in way if i > product)


def with_block_scores(model: Model, blocks: Transformer, score: str) -> Model:
    """The model with the score that each block would have if it were the last one.

    What lies behind the last block reads the mean of a block's tokens, in the place of each of
    them, and rounds nothing: where it is quantised, its ranges were measured for the last block's
    tokens, and would cut off those of others, and their gradients. The results are joined along the
    first axis as `BLOCK_SCORES`. Each block but the first reads the state before it from an input
    of that name, so that its score depends on no attention but its own.

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
        nodes.extend(
            _renamed(_unrounded(wiring, i), prefix, last, _behind(wiring, head)) for i in head
        )
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


def _tokens(layer: Layer) -> int:
    return layer.shape[layer.layout.axes.index("T")]


def _states(
    wiring: Wiring, layers: Sequence[Layer], attention: Sequence[str], score: str
) -> tuple[Layer | None, ...]:
    """The last sum behind each attention that all of the way to the score leads through."""
    sums = [layer for layer in layers if layer.whole and is_residual(wiring, layer.tensor)]
    ends = [*(wiring.position[name] for name in attention), wiring.position[score]]
    between = (
        [layer for layer in sums if start < wiring.position[layer.tensor] < end]
        for start, end in pairwise(ends)
    )
    return tuple(found[-1] if found else None for found in between)


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


def _unrounded(wiring: Wiring, index: int) -> NodeProto:
    """A node, without the rounding and the limits of a quantisation that is undone at once."""
    node = wiring.nodes[index]
    maker = wiring.producer(node.input[0]) if node.op_type == "DequantizeLinear" else node
    if maker is None or maker.op_type != "QuantizeLinear":
        return node
    readers = (wiring.nodes[i] for i in wiring.readers.get(maker.output[0], ()))
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
