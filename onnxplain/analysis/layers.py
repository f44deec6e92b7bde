"""Layers to explain: tensors with a spatial grid on a path from the picture to the score."""

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

LAYOUTS = ("NCHW", "NHWC", "NTC", "NCT", "NCW", "NWC", "NCDHW", "NDHWC")
"""Layouts of activations with a grid: rows and columns, tokens on such a grid, or places along one
axis or three."""


_NO_GRID = (
    "No layer between the input and the score has rows and columns of more than one cell: choose a "
    "method that needs no layer, such as occlusion or integrated_gradients (with fill or baseline "
    "zeros where the input is no picture)."
)

_BLOCKED_CHANNELS = (
    "The model was saved by ONNX Runtime at its highest optimization level, with channels in "
    "blocks for one kind of CPU, so that no layer can be read: save it at the level extended, or "
    "choose a method that needs no layer, such as occlusion or integrated_gradients."
)


@dataclass(frozen=True)
class Layer:
    """An activation with a grid.

    `tensor` is its name in the graph, `node` the name of the node that makes it, and `op` the
    operator of that node. `shape` is that for the smallest batch that the model takes. `whole` is
    true where every path from the picture to the score goes through the tensor. `matters` is true
    where the score depends on cells of its grid, and not only on extra tokens such as a class
    token. `tokens_read` are the indices of the tokens that the score depends on.
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
        """Rows and columns; the length alone, or also the depth first."""
        return self.layout.grid

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[self.layout.axes.index("C")]


def tensor_of(model: Model, name: str) -> str:
    """The tensor of that name, or the first output of the node of that name.

    Raises:
        LayerError: there is no such name; the message lists similar ones.
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
    whole = bottlenecks(model, picture, score)
    read = read_elements(model, shapes, picture, score)
    layers = []
    for tensor in graph_index.tensors_between(picture, score):
        layout = layouts.get(tensor)
        if layout is None or layout.axes not in LAYOUTS or prod(layout.grid) <= 1:
            continue
        if shapes[tensor][0] != shapes[picture][0]:
            continue  # windows or other parts of the picture were merged into the batch
        node = graph_index.nodes[graph_index.position[tensor]]
        made = Layer(tensor, node.name, node.op_type, shapes[tensor], layout, tensor in whole)
        layers.append(_as_read(made, read.get(tensor)))
    return [layer for layer in layers if layer.tensor != score]


def auto_layer(model: Model, layers: list[Layer]) -> Layer:
    """The last layer whose grid the score depends on.

    Layers that every path from picture to score goes through are preferred. After a transformer's
    last attention, patch tokens have no effect on the class token, so the layer is before that
    attention. Where that attention reads normalized tokens, the normalized tensor is returned:
    before a normalization the scale of a token has no effect on the score, so activations and
    gradients are orthogonal, and methods that multiply the two give about 0.

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
"""Normalizations, and the elementary operators that a normalization may be written with."""


def _normalized(graph_index: GraphIndex, tensor: str) -> set[str]:
    """`tensor`, and tensors that are computed from it and constants by normalization operators.

    All outputs of a node count as the same: SkipLayerNormalization outputs the sum and the
    normalized sum.
    """
    node = graph_index.producer(tensor)
    found = {tensor} if node is None else {name for name in node.output if name}
    for index in sorted(graph_index.descendants(found)):
        node = graph_index.nodes[index]
        if node.op_type in _NORMALIZING and graph_index.computed & set(node.input) <= found:
            found.update(name for name in node.output if name)
    return found


def main_layers(model: Model, layers: list[Layer]) -> list[Layer]:
    """The layers whose grid matters to the score and that every path to the score goes through.

    Where there is no such layer, all layers whose grid matters.

    Raises:
        LayerError: no layer has a grid that matters.
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
    """A layer with `matters` and `tokens_read` by `mask`, the elements read; None for nothing."""
    axes = layer.layout.axes
    if mask is None or "T" not in axes:
        return replace(layer, matters=mask is not None)
    others = tuple(i for i, axis in enumerate(axes) if axis != "T")
    tokens = tuple(np.flatnonzero(mask.any(axis=others)).tolist())
    return replace(layer, matters=tokens[-1] >= layer.layout.prefix, tokens_read=tokens)


def is_residual(graph_index: GraphIndex, tensor: str) -> bool:
    """Whether a tensor is the sum of two or more tensors that depend on an input."""
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
    """Residual sums that every path from picture to score goes through, but without a layout.

    They hold tokens or cells whose position in the picture is not known.
    """
    graph_index = model.index
    whole = bottlenecks(model, picture, score)
    return [
        tensor
        for tensor in graph_index.tensors_between(picture, score)
        if tensor in whole
        and tensor not in layouts
        and prod(sorted(shapes.get(tensor, ())[1:])[:-1]) > 1
        and is_residual(graph_index, tensor)
    ]


def bottlenecks(model: Model, picture: str, score: str) -> set[str]:
    """Tensors that every path from the picture to the score goes through.

    Nodes are visited in order, with the set of tensors that a later node reads. Where that set has
    one tensor, all later nodes depend on the picture only through this tensor.
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
