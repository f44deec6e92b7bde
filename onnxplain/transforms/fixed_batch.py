"""A model for a fixed batch size."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from onnxplain.model.model import Model


def with_batch(model: Model, input_name: str, size: int) -> Model:
    """The model with the batch size fixed to `size`: ONNX Runtime optimizes it better.

    `input_name` is the input whose first axis is the batch. If that axis has a name, all input axes
    of the same name are fixed too.
    """
    proto = deepcopy(model.proto)
    shapes = {value.name: value.type.tensor_type.shape for value in proto.graph.input}
    if not shapes[input_name].dim:
        return model
    first = shapes[input_name].dim[0]
    batch = first.dim_param
    for dim in (dim for shape in shapes.values() for dim in shape.dim):
        if dim is first or (batch and dim.dim_param == batch):
            dim.dim_value = size
    return replace(model, proto=proto)
