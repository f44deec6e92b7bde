"""Static shapes of a graph's tensors, without touching the weights."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

Shape = tuple[int, ...]

_SMALL = 256
"""Elements up to which a weight's values may matter for shapes (a Reshape's target, pads, axes)."""


def infer_shapes(proto: ModelProto, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes of all tensors for inputs of the given shapes, as far as they are static.

    A tensor whose shape is not fully known is left out. Weights are replaced by their shapes
    first, so this costs the same for a model of any size.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(_skeleton(proto, inputs), data_prop=True)
    except Exception:
        # Hostile or unusual graphs make inference throw all sorts of things; ONNX Runtime has
        # the last word on a model, and shapes can be read off a run.
        return dict(inputs)
    graph = inferred.graph
    found = {t.name: tuple(t.dims) for t in proto.graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shape = _static(value)
        if shape is not None:
            found[value.name] = shape
    return found


def _skeleton(proto: ModelProto, inputs: Mapping[str, Shape]) -> ModelProto:
    graph = GraphProto(name=proto.graph.name or "graph")
    graph.node.extend(proto.graph.node)
    for value in proto.graph.input:
        shape = inputs.get(value.name)
        graph.input.append(value if shape is None else _with_shape(value, shape))
    for tensor in proto.graph.initializer:
        if _elements(tensor) <= _SMALL and tensor.data_location != TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    for value in proto.graph.output:
        # Declared output shapes may hold the very batch of 1 that is being changed.
        stripped = ValueInfoProto(name=value.name)
        stripped.type.CopyFrom(value.type)
        if stripped.type.HasField("tensor_type"):
            stripped.type.tensor_type.ClearField("shape")
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


def _static(value: ValueInfoProto) -> Shape | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    dims = tensor.shape.dim
    return tuple(d.dim_value for d in dims) if all(d.HasField("dim_value") for d in dims) else None
