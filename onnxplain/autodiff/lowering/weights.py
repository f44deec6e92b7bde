"""Keeping large weights out of the way while a graph is rewritten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx import ModelProto, TensorProto

from onnxplain.model.evaluation import is_small
from onnxplain.model.model import Model
from onnxplain.transforms.extract import with_contents

_DETACHED = "onnxplain detached weight "


def detached(model: Model) -> tuple[Model, list[TensorProto]]:
    """The model with a stub for each large weight, declared as external, and those weights.

    So no pass reads or copies them, and a model of any size can be serialised.
    """
    kept: list[TensorProto] = []
    weights: list[TensorProto] = []
    for tensor in model.proto.graph.initializer:
        kept.append(tensor if is_small(tensor) else _stub(tensor, len(weights)))
        weights += [] if is_small(tensor) else [tensor]
    return with_contents(model, initializer=kept), weights


def attached(model: Model, weights: Sequence[TensorProto]) -> Model:
    """The model with its stubs replaced, under their names, by the weights they stand for."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.value.startswith(_DETACHED):
                name = tensor.name
                tensor.CopyFrom(weights[int(entry.value.removeprefix(_DETACHED))])
                tensor.name = name
                break
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
