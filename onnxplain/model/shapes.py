"""Static shapes of a graph's tensors, without touching the weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from onnxplain.errors import ModelError
from onnxplain.model.model import opset_of, spec_of
from onnxplain.model.shape_inference import World, stand_in
from onnxplain.tensors import TensorSpec

Shape = tuple[int, ...]
Dims = tuple[int | str | None, ...]
"""Dimensions: an int where it is static, a str where it is only named, None where unknown."""

_SMALL = 256
"""Elements up to which a weight's values may matter for shapes (a Reshape's target, pads, axes)."""


def infer_shapes(proto: ModelProto, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes of all tensors for inputs of the given shapes, as far as they can be told.

    Node by node, with the values of the small tensors that shapes are computed from. A tensor
    whose shape is not fully known is left out. Large weights are not read, so this costs the same
    for a model of any size.
    """
    fed = [_with_shape(v, inputs[v.name]) for v in proto.graph.input if v.name in inputs]
    world = World(
        ModelProto(opset_import=proto.opset_import, graph=GraphProto(input=fed)), (), 1, 1
    )
    for tensor in proto.graph.initializer:
        world.add_constant(tensor)
    for node in proto.graph.node:
        world.visit(node)
    made = (name for node in proto.graph.node for name in node.output)
    names = [*(t.name for t in proto.graph.initializer), *inputs, *made]
    return {name: shape for name in names if (shape := world.shape(name)) is not None}


def infer_specs(proto: ModelProto) -> dict[str, TensorSpec]:
    """Element types and dimensions of all tensors, as far as they can be inferred.

    Inputs are taken as they are declared. Equal names of dimensions stand for equal sizes; a
    tensor of unknown type has the dtype `object`.

    Raises:
        ModelError: the model contradicts itself, or does not import the domain of an operator.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(_skeleton(proto), data_prop=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"The types of the model's tensors cannot be told: {' '.join(str(error).split())}; "
            "export the model again, or repair what onnx.checker reports."
        ) from error
    found = {
        t.name: TensorSpec(
            t.name, np.dtype(helper.tensor_dtype_to_np_dtype(t.data_type)), tuple(t.dims)
        )
        for t in proto.graph.initializer
    }
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        found.setdefault(value.name, spec_of(value))
    return found


def _skeleton(proto: ModelProto) -> ModelProto:
    graph = GraphProto(name=proto.graph.name or "graph")
    opset = opset_of(proto)
    graph.node.extend(stand_in(node, opset) for node in proto.graph.node)
    graph.input.extend(proto.graph.input)
    for tensor in proto.graph.initializer:
        if _elements(tensor) <= _SMALL and tensor.data_location != TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    for value in proto.graph.output:
        # Declared output shapes may hold the very batch of 1 that is being changed: keep the rank.
        stripped = ValueInfoProto(name=value.name)
        stripped.type.CopyFrom(value.type)
        for dim in stripped.type.tensor_type.shape.dim:
            dim.Clear()
        graph.output.append(stripped)
    skeleton = ModelProto(ir_version=max(proto.ir_version, 4), graph=graph)
    skeleton.opset_import.extend(proto.opset_import)
    return skeleton


def _with_shape(value: ValueInfoProto, shape: Shape) -> ValueInfoProto:
    return helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, list(shape))


def _elements(tensor: TensorProto) -> int:
    count = 1
    for dim in tensor.dims:
        count *= dim
    return count
