"""Layers worth explaining: tensors with a spatial grid on the way from the picture to the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnxplain.analysis.layout import Layout, find_layouts
from onnxplain.analysis.liveness import Mask, read_elements
from onnxplain.errors import LayerError
from onnxplain.model import operators
from onnxplain.model.graph_index import GraphIndex, reads
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape
from onnxplain.suggestions import closest

LAYOUTS = ("NCHW", "NHWC", "NTC", "NCT")
"""Layouts of activations that have a map: grids of rows and columns, and tokens on such a grid."""


_NO_GRID = (
    "No layer on the way to the score has rows and columns of more than one cell: choose a method "
    "that needs no layer, such as occlusion or integrated_gradients (with fill or baseline zeros "
    "where the input is no picture)."
)

_BLOCKED_CHANNELS = (
    "The model was saved by ONNX Runtime at its highest optimization level, with channels in "
    "blocks for one kind of CPU, so that no layer can be read: save it at the level extended, or "
    "choose a method that needs no layer, such as occlusion or integrated_gradients."
)


@dataclass(frozen=True)
class Layer:
    """An activation with a grid.

    `tensor` names it in the graph, `node` the node that makes it (its operator is `op`);
    `shape` holds for the smallest batch that the model takes; `whole` says that all of the
    picture's way to the score leads through it, and `matters` that the score reads cells of its
    grid, and not only extra tokens. `tokens_read` are the places of the tokens that it reads.
    """

    tensor: str
    node: str
    op: str
    shape: Shape
    layout: Layout
    whole: bool
    matters: bool = True
    tokens_read: tuple[int, ...] = ()

    @property
    def grid(self) -> Shape:
        """Rows and columns."""
        return self.layout.grid

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[self.layout.axes.index("C")]


def tensor_of(model: Model, name: str) -> str:
    """The tensor that a user means by a node's or a tensor's name.

    Raises:
        LayerError: there is no such name; the message lists close ones.
    """
    graph_index = model.index
    if name in graph_index.position:
        return name
    for node in graph_index.nodes:
        if name and node.name == name:
            return str(node.output[0])
    known = [*(node.name for node in graph_index.nodes if node.name), *graph_index.tensors()]
    raise LayerError(
        f"The model has no layer {name!r}{closest(name, known)}; "
        "`onnxplain inspect` lists the layers worth explaining."
    )


def grid_layers(model: Model, shapes: Mapping[str, Shape], picture: str, score: str) -> list[Layer]:
    """All tensors with a grid of more than one cell between `picture` and `score`, in order."""
    graph_index = model.index
    layouts = find_layouts(model, shapes, picture)
    whole = _bottlenecks(model, picture, score)
    read = read_elements(model, shapes, picture, score)
    layers = []
    for tensor in graph_index.tensors_between(picture, score):
        layout = layouts.get(tensor)
        if layout is None or layout.axes not in LAYOUTS or prod(layout.grid) <= 1:
            continue
        if shapes[tensor][0] != shapes[picture][0]:
            continue  # parts of the picture, such as windows, were merged into the batch
        node = graph_index.nodes[graph_index.position[tensor]]
        made = Layer(tensor, node.name, node.op_type, shapes[tensor], layout, tensor in whole)
        layers.append(_as_read(made, read.get(tensor)))
    return [layer for layer in layers if layer.tensor != score]


def auto_layer(model: Model, layers: list[Layer]) -> Layer:
    """The last layer whose grid still matters to the score.

    Layers that all of the picture's way leads through come first. After a transformer's last
    attention the patch tokens no longer reach the class token: a token grid counts before it only,
    and where that attention reads the tokens normalized, it is the normalized ones that count. In
    front of a normalization a token that is scaled says the same as before, so that its activations
    and gradients are at right angles, and methods that multiply them see nothing.

    Raises:
        LayerError: there is no layer with a grid.
    """
    chosen = main_layers(model, layers)[-1]
    if "T" not in chosen.layout.axes:
        return chosen
    same = _normalized(model.index, chosen.tensor)
    return [
        one for one in layers if one.tensor in same and one.shape == chosen.shape and one.matters
    ][-1]


_NORMALIZING = (operators.NORMALIZES_LAST | operators.KEEPS_VALUES | operators.ARITHMETIC) | {
    "Pow",
    "Reciprocal",
    "ReduceMean",
    "Sqrt",
}
"""Normalizations, and the operators that one is written in."""


def _normalized(graph_index: GraphIndex, tensor: str) -> set[str]:
    """What is made of `tensor` and constants alone on the way through a normalization.

    A node that makes several results, as SkipLayerNormalization makes the sum and what it becomes,
    makes all of them of one.
    """
    node = graph_index.producer(tensor)
    found = {tensor} if node is None else {name for name in node.output if name}
    for index in sorted(graph_index.descendants(found)):
        node = graph_index.nodes[index]
        if node.op_type in _NORMALIZING and graph_index.computed & set(node.input) <= found:
            found.update(name for name in node.output if name)
    return found


def main_layers(model: Model, layers: list[Layer]) -> list[Layer]:
    """The layers whose grid matters to the score and that all of the picture's way leads through.

    Where there is no such layer, those whose grid matters.

    Raises:
        LayerError: there is none either.
    """
    mattering = mattering_layers(model, layers)
    return [layer for layer in mattering if layer.whole] or mattering


def mattering_layers(model: Model, layers: list[Layer]) -> list[Layer]:
    """The layers whose grid matters to the score.

    Raises:
        LayerError: there is none.
    """
    mattering = [layer for layer in layers if layer.matters]
    if not mattering:
        blocked = any(node.domain in operators.PROCESSOR_DOMAINS for node in model.index.nodes)
        raise LayerError(_BLOCKED_CHANNELS if blocked else _NO_GRID)
    return mattering


def _as_read(layer: Layer, mask: Mask | None) -> Layer:
    """A layer with what the score reads of it, None for nothing."""
    axes = layer.layout.axes
    if mask is None or "T" not in axes:
        return replace(layer, matters=mask is not None)
    others = tuple(i for i, axis in enumerate(axes) if axis != "T")
    tokens = tuple(np.flatnonzero(mask.any(axis=others)).tolist())
    return replace(layer, matters=tokens[-1] >= layer.layout.prefix, tokens_read=tokens)


def is_residual(graph_index: GraphIndex, tensor: str) -> bool:
    """Whether a tensor is the sum of two or more that are computed from an input."""
    node = graph_index.producer(tensor)
    if node is None or operators.standard_form(node.op_type) not in ("Add", "Sum"):
        return False
    return sum(name in graph_index.computed for name in node.input) > 1


def unplaced_sums(
    model: Model,
    shapes: Mapping[str, Shape],
    layouts: Mapping[str, Layout],
    picture: str,
    score: str,
) -> list[str]:
    """Sums around a block that all of the picture's way leads through, and that have no grid.

    They hold tokens or cells whose place in the picture cannot be told.
    """
    graph_index = model.index
    whole = _bottlenecks(model, picture, score)
    return [
        tensor
        for tensor in graph_index.tensors_between(picture, score)
        if tensor in whole
        and tensor not in layouts
        and prod(sorted(shapes.get(tensor, ())[1:])[:-1]) > 1
        and is_residual(graph_index, tensor)
    ]


def _bottlenecks(model: Model, picture: str, score: str) -> set[str]:
    """Tensors that every way from the picture to the score leads through.

    Nodes are visited in order while keeping the tensors still to be read: where only one is left,
    everything after it depends on the picture through it alone.
    """
    graph_index = model.index
    way = graph_index.between(picture, score)
    last_reader = {name: index for index in way for name in reads(graph_index.nodes[index])}
    live, found = {picture}, set[str]()
    for index in way:
        live.update(graph_index.nodes[index].output)
        live = {name for name in live if last_reader.get(name, -1) > index}
        if len(live) == 1:
            found |= live
    return found
