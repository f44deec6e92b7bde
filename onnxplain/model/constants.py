"""Values that do not depend on the inputs: weights, and tensors computed from weights alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import NodeProto, numpy_helper

from onnxplain.model.evaluation import evaluate
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.model.quantization import Quantization, operand
from onnxplain.tensors import Array


def constant_value(model: Model, tensor: str) -> Array | None:
    """The value of a tensor that depends on no input; None if it depends on one.

    A transposed, cast, dequantized or otherwise derived weight is computed node by node. None also
    where that fails, see `evaluate`.
    """
    graph_index = model.index
    if tensor in graph_index.constants:
        return _read(model, tensor)
    if tensor in graph_index.computed:
        return None
    nodes = [graph_index.nodes[i] for i in sorted(graph_index.ancestors([tensor]))]
    names = {name for node in nodes for name in node.input if name}
    constants = names & graph_index.constants.keys()
    if not nodes or not names - constants <= graph_index.position.keys():
        return None
    feeds = {name: _read(model, name) for name in constants}
    found = evaluate(nodes, feeds, [tensor], model.proto.opset_import)
    return None if found is None else found[0]


def constant_values(model: Model, tensors: Iterable[str]) -> list[Array] | None:
    """The values of tensors; None if any of them depends on an input."""
    values = [constant_value(model, tensor) for tensor in tensors]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def quantization(model: Model, tensor: str) -> Quantization | None:
    """Scale and zero point of an integer tensor.

    None for a float tensor, or where no node that reads the tensor states one number for each.
    """
    for node in model.index.readers_of(tensor):
        names = operand(node, tensor)
        if names is None:
            continue
        scale, zero = (constant_value(model, name) if name else np.zeros(1) for name in names)
        if scale is not None and zero is not None and scale.size == zero.size == 1:
            return Quantization(float(scale.item()), float(zero.item()))
    return None


def reduced_axes(model: Model, node: NodeProto, rank: int) -> frozenset[int] | None:
    """The axes, counted from 0, that `node` reduces in an input of `rank` axes.

    None where the axes are computed from an input of the model.

    Axes were an attribute before they became an input (ReduceSum in opset 13, others in 18).
    """
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = constant_value(model, node.input[1])
        if axes is None:
            return None
    chosen = range(rank) if axes is None or not len(axes) else axes
    return frozenset(int(axis) % rank for axis in chosen)


def _read(model: Model, name: str) -> Array:
    return numpy_helper.to_array(model.index.constants[name], base_dir=str(model.folder or ""))
