"""The attention matrices of a transformer, and the tokens after each of its blocks.

Both are found by the structure of a graph that `autodiff.lowering` has reduced to standard
operators, so they do not depend on the exporter or on fused operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, pairwise
from math import prod

from onnxplain.analysis.attention_weights import (
    AttentionWeights,
    Factors,
    find_attention_weights,
    find_factors,
)
from onnxplain.analysis.layers import Layer, grid_layers, is_residual
from onnxplain.analysis.layout import Layout
from onnxplain.errors import LayerError
from onnxplain.model.graph_index import GraphIndex, reads_sizes
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape


@dataclass(frozen=True)
class Transformer:
    """Blocks of self-attention over all of a picture's tokens, in order.

    `attention` are tensors (batch, heads, queries, keys), with batch and heads perhaps merged;
    queries and keys are all tokens. `states` are the tokens after each block, None where they are
    not found. `layout` is the layout of the tokens. `read` are the indices of the tokens that the
    score depends on after the last block. `pool` is the attention (..., rows, tokens) that pools
    these tokens, None without one. `factors` are the queries and keys of each block, None where
    they are not found.
    """

    attention: tuple[str, ...]
    states: tuple[Layer | None, ...]
    layout: Layout
    read: tuple[int, ...]
    pool: str | None = None
    factors: tuple[Factors | None, ...] = ()

    @property
    def matrices(self) -> tuple[str, ...]:
        """The attention of all blocks, and then the one that pools, if there is one."""
        return self.attention if self.pool is None else (*self.attention, self.pool)

    @property
    def samples_axis(self) -> int:
        """The axis of the samples in the tokens after a block."""
        return self.layout.axes.index("N")

    def class_token(self) -> int:
        """The index of the only token that the score reads, which has no place on the grid.

        Raises:
            LayerError: the score reads other tokens, or queries and keys were not found.
        """
        if self.pool is not None or len(self.read) != 1 or self.read[0] >= self.layout.prefix:
            raise LayerError(
                "The score of this transformer is not read from a class token alone, but from "
                "tokens of the grid, or from several tokens: use generic_attention or legrad."
            )
        if None in self.factors:
            raise LayerError(
                "The queries and keys of this transformer were not found in the graph, only their "
                "attention: use generic_attention or legrad."
            )
        return self.read[0]

    @property
    def tokens(self) -> int:
        """Number of tokens, the extra ones included."""
        return self.layout.prefix + prod(self.layout.grid)


def find_transformer(
    model: Model, shapes: Mapping[str, Shape], picture: str, score: str
) -> Transformer:
    """The blocks of a transformer between `picture` and `score`; the result is cached.

    Raises:
        LayerError: there are none, or not all of them attend to all tokens of one grid.
    """
    key = "transformer", frozenset(shapes.items()), picture, score
    return model.once(key, lambda: _search(model, shapes, picture, score))


def _search(model: Model, shapes: Mapping[str, Shape], picture: str, score: str) -> Transformer:
    matrices = find_attention_weights(model, shapes, picture, score)
    layers = grid_layers(model, shapes, picture, score)
    pool = None
    if len(matrices) > 1 and _pools(model.index, matrices[-1], score):
        *matrices, pool = matrices
    last = max((model.index.position[w.tensor] for w in matrices), default=0)
    sizes = {matrix.columns for matrix in matrices}
    same = [
        layer
        for layer in layers
        if set(layer.layout.axes) == set("NTC") and {_tokens(layer)} == sizes and layer.tokens_read
    ]
    obstacle = _obstacle(matrices, shapes[picture][0])
    if not obstacle and not (same and model.index.position[same[-1].tensor] > last):
        obstacle = _NO_TOKENS.format(" and ".join(map(str, sorted(sizes))))
    if obstacle:
        raise LayerError(f"{obstacle}: {_instead(layers)}.")
    attention = [matrix.tensor for matrix in matrices]
    return Transformer(
        tuple(attention),
        _states(model.index, same, attention, score),
        same[-1].layout,
        same[-1].tokens_read,
        None if pool is None else pool.tensor,
        tuple(find_factors(model, matrix, picture) for matrix in matrices),
    )


_NO_ATTENTION = (
    "No attention matrix was found between the picture and the score, neither a softmax that "
    "weighs tokens nor a fused operator"
)
_NO_TOKENS = (
    "The attention of this model runs over {} tokens or channels, and no layer after it holds as "
    "many tokens of one grid, as with windows, stages or attention between channels"
)


def _obstacle(matrices: Sequence[AttentionWeights], batch: int) -> str:
    """Why attention cannot be followed through the model; empty where it can."""
    if not matrices:
        return _NO_ATTENTION
    for matrix in matrices:
        name, rows, columns = matrix.tensor, matrix.rows, matrix.columns
        if matrix.mixed:
            return (
                f"The heads of this model are mixed (talking heads): {name!r} is a sum of the "
                "softmaxes of several heads, with weights of any sign, so that the matrix that "
                "multiplies the values holds no shares of attention"
            )
        if len(matrix.shape) > _RANK or (len(matrix.shape) == _RANK and matrix.shape[0] != batch):
            return (
                f"The attention of this model runs within windows: {name!r} has the shape "
                f"{matrix.shape}, so that no token attends to all of the picture"
            )
        if rows != columns:
            return (
                f"Not every token of this model attends to all others: {name!r} has {rows} queries "
                f"and {columns} keys, as with stages, pooled keys or a class token that attends "
                "alone"
            )
    return ""


_RANK = 4  # (batch, heads, rows, columns)


def _instead(layers: Sequence[Layer]) -> str:
    if any(layer.matters for layer in layers):
        return "use gradcam, or layercam, which ask only for a layer with a grid"
    return "use occlusion or integrated_gradients, which ask for no layer"


def _pools(graph_index: GraphIndex, matrix: AttentionWeights, score: str) -> bool:
    """Whether fewer queries than tokens attend, and the score depends on their outputs alone."""
    if matrix.rows >= matrix.columns:
        return False
    after = graph_index.descendants([matrix.tensor])
    others = graph_index.computed - graph_index.dependent([matrix.tensor])
    way = sorted(after & graph_index.ancestors([score], without=reads_sizes))
    nodes = (graph_index.nodes[index] for index in way)
    from_product = list(dropwhile(lambda node: node.op_type != "MatMul", nodes))
    return not any(others & set(node.input) for node in from_product[1:])


def _tokens(layer: Layer) -> int:
    return layer.shape[layer.layout.axes.index("T")]


def _states(
    graph_index: GraphIndex, layers: Sequence[Layer], attention: Sequence[str], score: str
) -> tuple[Layer | None, ...]:
    """The last residual sum of each block that every path goes through; None without one."""
    sums = [layer for layer in layers if layer.whole and is_residual(graph_index, layer.tensor)]
    ends = [*(graph_index.position[name] for name in attention), graph_index.position[score]]
    between = (
        [layer for layer in sums if start < graph_index.position[layer.tensor] < end]
        for start, end in pairwise(ends)
    )
    return tuple(found[-1] if found else None for found in between)
