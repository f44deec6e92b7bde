"""Layers of a model whose output is a map, such as a segmentation model."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from onnx import NodeProto

from onnxplain.analysis.layers import Layer, mattering_layers
from onnxplain.errors import LayerError
from onnxplain.model.constants import constant_value
from onnxplain.model.graph_index import attributes, reads
from onnxplain.model.model import Model
from onnxplain.model.operators import POOLS, WEIGHTED, standard_form

_CONTEXT = 4
"""A pool that shrinks a grid by more than this factor only adds context; backbones shrink by 2."""


def before_classifier(model: Model, layers: Sequence[Layer], score: str) -> list[Layer]:
    """The layers before the classifier, without those that hold the map of scores.

    The classifier is the last operator with weights on each path to the score. A transposed
    convolution that keeps the number of channels only enlarges the map and does not count.

    Raises:
        LayerError: all of `layers` hold the map of scores.
    """

    def is_classifier(node: NodeProto) -> bool:
        return standard_form(node.op_type) in WEIGHTED and not _enlarges(model, node)

    after = model.index.ancestors([score], without=is_classifier)
    answer = {score, *(name for i in after for name in reads(model.index.nodes[i]))}
    before = [layer for layer in layers if layer.tensor not in answer]
    if layers and not before:
        raise LayerError(
            "Every layer with a grid holds the map of scores already: choose a method that needs "
            f"no layer, such as occlusion or integrated_gradients, or name {layers[-1].tensor!r}."
        )
    return before


def coarsest_layer(model: Model, layers: list[Layer]) -> Layer:
    """The last layer of the coarsest grid: the end of a backbone, the bottleneck of a U-Net.

    Grids of pools that only add context, as in pyramid pooling, do not count.

    Raises:
        LayerError: there is no layer with a grid.
    """
    found = mattering_layers(model, layers)
    first = {layer.grid: layer for layer in reversed(found)}
    grids = {layer.tensor: layer.grid for layer in found}
    plain = [layer for layer in found if not _is_context(model, first[layer.grid], grids)] or found
    return min(reversed(plain), key=lambda layer: prod(layer.grid))


def _enlarges(model: Model, node: NodeProto) -> bool:
    weights = constant_value(model, node.input[1]) if node.op_type == "ConvTranspose" else None
    if weights is None:
        return False
    return bool(weights.shape[0] == weights.shape[1] * attributes(node).get("group", 1))


def _is_context(model: Model, layer: Layer, grids: dict[str, tuple[int, ...]]) -> bool:
    """Whether a layer, the first of its grid, is a pool that shrinks by more than `_CONTEXT`."""
    node = model.index.nodes[model.index.position[layer.tensor]]
    before = grids.get(node.input[0]) if standard_form(node.op_type) in POOLS else None
    return before is not None and before[0] > _CONTEXT * layer.grid[0]
