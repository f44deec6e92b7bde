"""An input of pixels, or of half precision, taken in float32: so it can change by any amount."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
from onnx import NodeProto, TensorProto, helper

from onnxplain.model.constants import constant_values
from onnxplain.model.graph_index import attributes, reads, reads_sizes
from onnxplain.model.model import Model, spec_of
from onnxplain.model.operators import KEEPS_ORDER
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import with_contents

_LARGEST = 2
"""Bytes of the largest integers that float32 holds exactly."""

_MOVES_FIRST = KEEPS_ORDER | frozenset(
    "DepthToSpace Expand Gather GatherND Identity Slice SpaceToDepth Split Tile Transpose".split()
)
"""They move the elements of input 0, of whatever type; the other inputs are sizes or indices."""


def with_float_input(model: Model, name: str) -> Model:
    """A lowered model with its input `name` in float32, where nodes convert it to float32.

    The derivative with respect to pixels in uint8 is that with respect to the floats after their
    Cast. Points near a sample need these floats too: uint8 has no number between two pixel values.

    The model itself is returned if the input is in float32 already, if nothing converts it, or if
    a node computes with it in its own type.
    """
    inputs = [deepcopy(value) for value in model.proto.graph.input]
    own = next(value for value in inputs if value.name == name)
    dtype = spec_of(own).dtype
    if dtype == np.float32 or (dtype.kind in "iu" and dtype.itemsize > _LARGEST):
        return model
    converting = _converting(model, name)
    if not converting:
        return model
    own.type.tensor_type.elem_type = TensorProto.FLOAT
    nodes = [
        made
        for node in model.index.nodes
        for made in (_dequantize(node) if node.output[0] in converting else [node])
    ]
    return with_contents(model, input=inputs, node=nodes)


def _converting(model: Model, name: str) -> set[str]:
    """The floats that nodes convert the input to; empty if another node computes with the input."""
    same, converted = {name}, set()
    for node in model.index.nodes:
        if same.isdisjoint(reads(node)) or reads_sizes(node):
            continue
        if _converts(model, node):
            converted.add(node.output[0])
        elif node.op_type in _MOVES_FIRST and same.isdisjoint(node.input[1:]):
            same.update(node.output)
        else:
            return set()
    return set() if same & set(model.index.outputs) else converted


def _converts(model: Model, node: NodeProto) -> bool:
    """Whether a node makes float32 from numbers of another type."""
    if node.op_type == "Cast":
        return bool(attributes(node)["to"] == TensorProto.FLOAT)
    if node.op_type != "DequantizeLinear":
        return False
    values = constant_values(model, filter(None, node.input[1:]))
    return values is not None and all(value.size == 1 for value in values)


def _dequantize(node: NodeProto) -> Iterator[NodeProto]:
    """The nodes that make the floats of `node` from the same numbers in float32."""
    if node.op_type == "Cast":
        yield node
        return
    x, scale, zero = [*node.input, ""][:3]
    (y,) = node.output
    shifted, floats = f"{PREFIX}shifted/{y}", f"{PREFIX}zero/{y}"
    if zero:
        yield helper.make_node("Cast", [zero], [floats], floats, to=TensorProto.FLOAT)
        yield helper.make_node("Sub", [x, floats], [shifted], shifted)
    yield helper.make_node("Mul", [shifted if zero else x, scale], [y], node.name)
