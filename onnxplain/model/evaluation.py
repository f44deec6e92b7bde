"""Values of nodes whose inputs are known, computed by ONNX's reference evaluator."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto
from onnx.reference import ReferenceEvaluator

from onnxplain.model.operators import RANDOM
from onnxplain.model.quantization import DequantizeLinear, MicrosoftDequantizeLinear
from onnxplain.tensors import Array

LARGEST_VALUE = 4096
"""Tensors of at most this many elements may be shapes, axes or scales, so values are computed."""

_ADDED = [DequantizeLinear, MicrosoftDequantizeLinear]


def is_small(tensor: TensorProto) -> bool:
    """Whether a weight is stored in the model itself and has at most `LARGEST_VALUE` elements."""
    return tensor.data_location != TensorProto.EXTERNAL and math.prod(tensor.dims) <= LARGEST_VALUE


def evaluate(
    nodes: Sequence[NodeProto],
    feeds: Mapping[str, Array],
    outputs: Iterable[str],
    opsets: Iterable[OperatorSetIdProto],
) -> list[Array] | None:
    """The values of `outputs`, computed by `nodes` from the tensors in `feeds`.

    None where they cannot be computed: a node draws random numbers, the evaluator does not have an
    operator (as for most of ONNX Runtime's own), or a result is not a tensor.
    """
    if any(node.op_type in RANDOM for node in nodes):
        return None
    graph = GraphProto(name="constant", node=nodes)
    graph.input.extend(ValueInfoProto(name=name) for name in feeds)
    graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    proto = ModelProto(ir_version=8, graph=graph, opset_import=opsets)
    try:
        results = ReferenceEvaluator(proto, new_ops=_ADDED).run(None, dict(feeds))
    except Exception:  # numpy's errors of any type come through the evaluator
        return None
    if not all(isinstance(result, np.ndarray | np.generic) for result in results):
        return None
    return [np.asarray(result) for result in results]
