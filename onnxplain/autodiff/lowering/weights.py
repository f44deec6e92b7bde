"""Removes large weights from a model while its graph is rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onnx import ModelProto, TensorProto

from onnxplain.model.evaluation import is_small
from onnxplain.model.model import Model
from onnxplain.transforms.extract import with_contents

_DETACHED = "onnxplain detached weight "


def detached(model: Model) -> tuple[Model, dict[str, TensorProto]]:
    """The model with each large weight replaced by an external stub, and the weights by name.

    So no pass reads or copies the weights, and a model of any size can be serialized.
    """
    tensors = model.proto.graph.initializer
    weights = {tensor.name: tensor for tensor in tensors if not is_small(tensor)}
    kept = [_stub(tensor) if tensor.name in weights else tensor for tensor in tensors]
    return with_contents(model, initializer=kept), weights


def attached(model: Model, weights: Mapping[str, TensorProto]) -> Model:
    """The model with its stubs replaced by the weights; the names of the stubs are kept."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        location = next((entry.value for entry in tensor.external_data), "")
        if location.startswith(_DETACHED):
            name = tensor.name
            tensor.CopyFrom(weights[location.removeprefix(_DETACHED)])
            tensor.name = name
    return replace(model, proto=proto)


def _stub(tensor: TensorProto) -> TensorProto:
    stub = TensorProto(
        name=tensor.name,
        dims=tensor.dims,
        data_type=tensor.data_type,
        data_location=TensorProto.EXTERNAL,
    )
    stub.external_data.add(key="location", value=f"{_DETACHED}{tensor.name}")
    return stub
