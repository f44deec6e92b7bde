"""Removes large weights from a model while its graph is rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx import ModelProto, TensorProto

from onnxplain.model.evaluation import is_small
from onnxplain.model.model import Model
from onnxplain.transforms.extract import with_contents

_DETACHED = "onnxplain detached weight "


def detached(model: Model) -> tuple[Model, list[TensorProto]]:
    """The model with each large weight replaced by an external stub, and the list of the weights.

    So no pass reads or copies the weights, and a model of any size can be serialized.
    """
    tensors = model.proto.graph.initializer
    weights = [tensor for tensor in tensors if not is_small(tensor)]
    numbers = {tensor.name: number for number, tensor in enumerate(weights)}
    kept = [_stub(t, numbers[t.name]) if t.name in numbers else t for t in tensors]
    return with_contents(model, initializer=kept), weights


def attached(model: Model, weights: Sequence[TensorProto]) -> Model:
    """The model with its stubs replaced by the weights; the names of the stubs are kept."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        places = (entry.value for entry in tensor.external_data)
        stub = next((place for place in places if place.startswith(_DETACHED)), None)
        if stub is not None:
            name = tensor.name
            tensor.CopyFrom(weights[int(stub.removeprefix(_DETACHED))])
            tensor.name = name
    return replace(model, proto=proto)


def _stub(tensor: TensorProto, number: int) -> TensorProto:
    stub = TensorProto(
        name=tensor.name,
        dims=tensor.dims,
        data_type=tensor.data_type,
        data_location=TensorProto.EXTERNAL,
    )
    stub.external_data.add(key="location", value=f"{_DETACHED}{number}")
    return stub
