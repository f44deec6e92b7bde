"""Values that a graph fixes by itself: weights, and what is computed from weights alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, ValueInfoProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxplain.graph.model import Model


def constant_value(model: Model, tensor: str) -> NDArray[Any] | None:
    """The value of a tensor that depends on no input; None if it does depend on one.

    Transposed, cast, dequantised or otherwise derived weights are computed node by node.
    """
    wiring = model.wiring
    if tensor in wiring.constants:
        return _read(model, tensor)
    steps = sorted(wiring.ancestors([tensor]))
    nodes = [wiring.nodes[i] for i in steps]
    if not nodes or any(
        name not in wiring.constants and name not in wiring.position
        for node in nodes
        for name in node.input
        if name
    ):
        return None
    feeds = {
        name: _read(model, name)
        for node in nodes
        for name in node.input
        if name in wiring.constants
    }
    graph = GraphProto(name="constant")
    graph.node.extend(nodes)
    graph.input.extend(ValueInfoProto(name=name) for name in feeds)
    graph.output.append(ValueInfoProto(name=tensor))
    proto = ModelProto(ir_version=8, graph=graph)
    proto.opset_import.extend(model.proto.opset_import)
    try:
        (value,) = ReferenceEvaluator(proto).run(None, feeds)
    except Exception:
        # An operator the evaluator lacks, such as a contrib one: not a constant we can read.
        return None
    return np.asarray(value)


def _read(model: Model, name: str) -> NDArray[Any]:
    return numpy_helper.to_array(model.wiring.constants[name], base_dir=str(model.folder or ""))
