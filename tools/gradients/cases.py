"""ONNX's node tests: the models, their inputs, and which of the inputs are parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from onnxplain.autodiff.lowering.rewrite import all_nodes

_NEWEST_IR, _NEWEST_OPSET = 13, 26
"""What ONNX Runtime loads. A newer model is declared older if this changes no operator."""

_FIXED = frozenset({("Upsample", "scales"), ("RoiAlign", "rois"), ("MaxRoiPool", "rois")})
"""Inputs without a gradient: ONNX has no mark for old operators; RoiAlign is as in torchvision."""


@dataclass(frozen=True)
class Case:
    """A test of one operator, or of the operators that it expands to."""

    name: str
    operator: str
    model: ModelProto
    feeds: Mapping[str, Any]


def cases(pattern: str = "") -> Iterator[Case]:
    """Those whose name matches and whose inputs and outputs both have floats among them."""
    from onnx.backend.test.loader import load_model_tests

    models: dict[str, Any] = {case.name: case for case in load_model_tests(kind="node")}
    for name, case in models.items():
        if not re.search(pattern, name) or not _floats_both_ways(case.model):
            continue
        whole = models.get(name.split("_expanded")[0], case)
        names = [value.name for value in case.model.graph.input]
        feeds = dict(zip(names, map(_array, case.data_sets[0][0]), strict=False))
        yield Case(name, whole.model.graph.node[0].op_type, older(case.model), feeds)


def _floats_both_ways(model: ModelProto) -> bool:
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    sides = (model.graph.input, model.graph.output)
    return all(any(v.type.tensor_type.elem_type in floats for v in side) for side in sides)


def older(model: ModelProto) -> ModelProto:
    """The model as ONNX Runtime loads it, if it has no operator of a newer opset."""
    lowered = ModelProto()
    lowered.CopyFrom(model)
    lowered.ir_version = min(model.ir_version, _NEWEST_IR)
    for imported in lowered.opset_import:
        if imported.domain == "" and imported.version > _NEWEST_OPSET:
            schemas = [
                onnx.defs.get_schema(node.op_type, imported.version)
                for node in all_nodes(model.graph)
                if node.domain == ""
            ]
            if all(schema.since_version <= _NEWEST_OPSET for schema in schemas):
                imported.version = _NEWEST_OPSET
    return lowered


def _array(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def parameters(model: ModelProto) -> frozenset[str]:
    """Inputs that ONNX marks as not differentiable, such as the scales of a Resize."""
    opsets = {one.domain: one.version for one in model.opset_import}
    fixed = onnx.defs.OpSchema.DifferentiationCategory.NonDifferentiable
    return frozenset(
        name
        for node in model.graph.node
        if node.domain == ""
        for name, formal in zip(
            node.input, onnx.defs.get_schema(node.op_type, opsets[""]).inputs, strict=False
        )
        if formal.differentiation_category == fixed or (node.op_type, formal.name) in _FIXED
    )
