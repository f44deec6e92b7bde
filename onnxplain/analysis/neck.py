"""Layers of a detector: the last one of each grid before its heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onnx import NodeProto

from onnxplain.analysis.layers import Layer, bottlenecks
from onnxplain.analysis.layout import input_axes
from onnxplain.model.constants import constant_value
from onnxplain.model.graph_index import reads
from onnxplain.model.model import Model
from onnxplain.model.operators import CARRIES, WEIGHTED, standard_form
from onnxplain.model.shapes import Shape


def neck_layers(
    model: Model, layers: Sequence[Layer], picture: str, score: str, shape: Shape
) -> list[Layer]:
    """For each grid that boxes are found on, the last layer that all of its heads read.

    Heads are the operators that compute boxes and class scores. In the usual detectors these layers
    are the outputs of the feature pyramid. The list is in the order of the graph. It is empty if
    there are no such layers. `shape` is the shape of the picture.
    """
    axes = input_axes(model, picture, len(shape))
    size = [shape[axes.index(axis)] for axis in "HW"]
    way = set(model.index.between(picture, score))
    by_tensor = {layer.tensor: layer for layer in layers if _fits(layer, size)}
    ends: dict[tuple[int, ...], set[str]] = {}
    for i in sorted(way):
        node = model.index.nodes[i]
        if _leaves_grids(model, node, way, by_tensor):
            for tensor in set(reads(node)) & by_tensor.keys():
                ends.setdefault(by_tensor[tensor].grid, set()).add(tensor)
    found = []
    for grid, tensors in ends.items():
        shared = set.intersection(*(bottlenecks(model, picture, end) | {end} for end in tensors))
        fitting = [
            layer
            for layer in by_tensor.values()
            if layer.tensor in shared
            and layer.grid == grid
            and _is_before_heads(model, layer, tensors, way)
        ]
        found += [_unmoved(model, layer, by_tensor) for layer in fitting[-1:]]
    return sorted(found, key=lambda layer: model.index.position[layer.tensor])


def _fits(layer: Layer, size: Sequence[int]) -> bool:
    """Whether a layer matters, and its cells are about as high as wide.

    Tensors that hold the numbers of all boxes may look like grids, but of four rows.
    """
    down, across = (side / cells for side, cells in zip(size, layer.grid, strict=True))
    return layer.matters and max(down, across) < _MOST_ELONGATED * min(down, across)


_MOST_ELONGATED = 1.5


def _leaves_grids(model: Model, node: NodeProto, way: set[int], layers: dict[str, Layer]) -> bool:
    """Whether a node reads a layer, and no layer is computed from what it makes."""
    if not layers.keys() & set(reads(node)):
        return False
    after = model.index.descendants(node.output) & way
    made = {*node.output, *(name for i in after for name in model.index.nodes[i].output)}
    return not layers.keys() & made


def _unmoved(model: Model, layer: Layer, layers: Mapping[str, Layer]) -> Layer:
    """The first layer with the same numbers, before they are only put in another order."""
    node = model.index.producer(layer.tensor)
    while node is not None and node.op_type in CARRIES:
        layer = layers.get(node.input[0], layer)
        node = model.index.producer(node.input[0])
    return layer


def _is_before_heads(model: Model, layer: Layer, ends: Iterable[str], way: set[int]) -> bool:
    """Whether heads follow a layer: weights before `ends`, cut regions, or a decoder of queries."""
    index = model.index
    if any(node.op_type in _CUTS_REGIONS for node in index.readers_of(layer.tensor)):
        return True
    after = index.descendants([layer.tensor])
    if any(
        standard_form(index.nodes[i].op_type) in WEIGHTED for i in after & index.ancestors(ends)
    ):
        return True
    return any(_mixes_numbers(model, index.nodes[i]) for i in after & way)


def _mixes_numbers(model: Model, node: NodeProto) -> bool:
    """Whether a node makes several numbers from those of each query, with constant weights.

    The mean of a distribution, as YOLOv8 computes the sides of its boxes, is one number.
    """
    if node.op_type not in ("Gemm", "MatMul"):
        return False
    weights = constant_value(model, node.input[1])
    return weights is not None and weights.ndim > 1 and min(weights.shape[-2:]) > 1


_CUTS_REGIONS = frozenset(["MaxRoiPool", "RoiAlign"])
