# mypy: disable-error-code="misc, no-untyped-call"
"""Models in float64, where rounding moves no activation across a kink.

ONNX Runtime has no float64 kernels for convolutions and pools. onnx's reference implementation
runs any type. Its kernels for single operators can be replaced: here by those of torch, if its own
are slow or compute in float32 inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import torch
from onnx import NodeProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxplain.model.constants import constant_value
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model
from onnxplain.tensors import Array, FloatArray
from onnxplain.transforms.extract import with_outputs
from tools.gradcheck.reference import doubled
from tools.gradients.kernels import KERNELS, maxima
from tools.gradients.ours import run

Side = Callable[[Array], Array]


def run_in_float64(model: Model, feeds: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Outputs by name, of the model with all float32 tensors and weights turned into float64."""
    light = onnx.ModelProto(ir_version=model.proto.ir_version, graph=onnx.GraphProto(name="light"))
    light.opset_import.extend(model.proto.opset_import)
    for field in ("node", "input", "output"):
        getattr(light.graph, field).extend(getattr(model.proto.graph, field))
    base = str(model.folder or "")
    weights = {t.name: numpy_helper.to_array(t, base) for t in model.proto.graph.initializer}
    light.graph.input.extend(onnx.ValueInfoProto(name=name) for name in weights)
    evaluator = ReferenceEvaluator(doubled(light), new_ops=KERNELS)
    names = [value.name for value in light.graph.output]
    with np.errstate(all="ignore"), torch.no_grad():
        answers = evaluator.run(None, {k: _double(v) for k, v in {**weights, **feeds}.items()})
    return dict(zip(names, answers, strict=True))


def flips(model: Model, feeds: Mapping[str, FloatArray]) -> int:
    """How many activations are on another side of a kink in float32 than in float64."""
    nodes = [node for node in model.index.nodes if node.op_type in _SIDES]
    read = with_outputs(model, list(dict.fromkeys(node.input[0] for node in nodes)))
    rounded, exact = run(read, dict(feeds)), run_in_float64(read, feeds)
    count = 0
    for node in nodes:
        side = _SIDES[node.op_type](model, node)
        count += int(np.sum(side(rounded[node.input[0]]) != side(exact[node.input[0]])))
    return count


def _above(*kinks: float) -> Side:
    """The number of kinks that each element is above."""
    return lambda x: np.sum([x > kink for kink in kinks], axis=0)


def _of_bounds(model: Model, node: NodeProto) -> Side:
    bounds = [constant_value(model, name) for name in node.input[1:]]
    return _above(*(float(bound) for bound in bounds if bound is not None))


def _in_window(_: Model, node: NodeProto) -> Side:
    form = attributes(node)
    return lambda x: maxima(x, form)[1]


_SIDES: Mapping[str, Callable[[Model, NodeProto], Side]] = {
    "Relu": lambda *_: _above(0),
    "Clip": _of_bounds,
    "HardSigmoid": lambda *_: _above(-3, 3),  # with torch's slope
    "HardSwish": lambda *_: _above(-3, 3),
    "MaxPool": _in_window,
}
"""By operator: on which side of its kinks each element is, or which element a window takes."""


def _double(x: Array) -> Array:
    return x.astype(np.float64) if x.dtype == np.float32 else x
