"""A model as a function in float64, and its directional derivatives."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnxruntime as ort
from numpy.lib.stride_tricks import sliding_window_view
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    helper,
    numpy_helper,
)
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_pad import Pad_18

from onnxplain.model.model import opset_of
from onnxplain.tensors import Array

Feeds = Mapping[str, Array]
Function = Callable[[Feeds], list[Array]]

_NARROW = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_DTYPE_ATTRIBUTES = frozenset({"to", "dtype", "stash_type", "softmax_precision", "output_dtype"})


def onnxruntime_function(model: ModelProto) -> Function:
    """The model in ONNX Runtime, on one thread, without any optimization."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}

    def run(feeds: Feeds) -> list[Array]:
        # Arithmetic turns 0-d arrays into scalars, which ONNX Runtime refuses.
        arrays = {k: np.asarray(v) if np.isscalar(v) else v for k, v in feeds.items()}
        return list(session.run(None, {k: v for k, v in arrays.items() if k in names}))

    return run


class Pad(Pad_18):
    """Pad as ONNX defines it: a negative number removes elements, which numpy does not support."""

    op_domain = ""

    def _run(
        self,
        data: Array,
        pads: Array,
        constant_value: Array | None = None,
        axes: Array | None = None,
        mode: str | None = None,
    ) -> tuple[Array]:
        kept = [slice(None)] * data.ndim
        chosen = range(data.ndim) if axes is None else axes
        for axis, before, after in zip(chosen, *np.split(np.asarray(pads), 2), strict=True):
            kept[axis] = slice(max(-before, 0), data.shape[axis] + min(after, 0))
        added = np.maximum(pads, 0)
        padded = super()._run(  # type: ignore[no-untyped-call]
            data[tuple(kept)], added, constant_value, axes, mode
        )
        return (padded[0],)


class Erf(OpRun):
    """Erf in the precision of its input: that of onnx rounds to float32."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)


class LRN(OpRun):
    """LRN over all channels: that of onnx 1.23 sums only for as many as there are samples."""

    op_domain = ""

    def _run(self, x: Array, alpha: float, beta: float, bias: float, size: int) -> tuple[Array]:
        before, after = (size - 1) // 2, size // 2
        around = [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)]
        squares = sliding_window_view(np.pad(x**2, around), size, axis=1).sum(axis=-1)
        return (x / (bias + alpha / size * squares) ** beta,)


def float64_function(model: ModelProto) -> Function:
    """The model in onnx's reference implementation with every float turned into float64."""
    # Made at the first call, where the caller handles operators that the reference lacks.
    kernels: list[type[OpRun]] = [Erf, LRN, *([Pad] if opset_of(model) >= 18 else [])]
    evaluator = functools.cache(lambda: ReferenceEvaluator(doubled(model), new_ops=kernels))
    names = {value.name for value in model.graph.input}

    def run(feeds: Feeds) -> list[Array]:
        doubles = {name: _double(value) for name, value in feeds.items() if name in names}
        with np.errstate(all="ignore"):
            return list(evaluator().run(None, doubles))

    return run


def slope(
    function: Function,
    feeds: Feeds,
    wanted: str,
    direction: Array,
    seeds: Sequence[Array | None],
    step: float,
) -> float:
    """Σ seeds · (f(x + step v) - f(x - step v)) / 2 step, along one input."""

    def score(distance: float) -> float:
        x = feeds[wanted]
        moved = function({**feeds, wanted: (x + distance * direction).astype(direction.dtype)})
        pairs = zip(seeds, moved, strict=True)
        return float(sum(np.sum(s * np.float64(y)) for s, y in pairs if s is not None))

    return (score(step) - score(-step)) / (2 * step)


def agrees(function: Function, feeds: Feeds, expected: Sequence[Array]) -> bool:
    """Whether the function can be run and gives these outputs, within their precision."""
    try:
        found = function(feeds)
    except Exception:
        return False  # an operator, or a form of it, that the reference does not have
    return all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, _rtol(b), atol=1e-4, equal_nan=True)
        for a, b in zip(found, expected, strict=True)
    )


def _rtol(value: Array) -> float:
    return 1e-2 if value.dtype == np.float16 else 1e-3


def _double(value: Array) -> Array:
    return value.astype(np.float64) if value.dtype in (np.float16, np.float32) else value


def doubled(model: ModelProto) -> ModelProto:
    """The model with every float in it turned into float64."""
    copy = ModelProto()
    copy.CopyFrom(model)
    _double_graph(copy.graph)
    return copy


def _double_graph(graph: GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        _double_type(value.type)
    for tensor in graph.initializer:
        _double_tensor(tensor)
    for node in graph.node:
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, np.float32))
            node.attribute.append(helper.make_attribute("value", zero))
        for attribute in node.attribute:
            _double_attribute(node, attribute)


def _double_attribute(node: NodeProto, attribute: AttributeProto) -> None:
    if attribute.type == AttributeProto.GRAPH:
        _double_graph(attribute.g)
    elif attribute.type == AttributeProto.TENSOR:
        _double_tensor(attribute.t)
    elif attribute.name in _DTYPE_ATTRIBUTES and attribute.i in _NARROW:
        attribute.i = TensorProto.DOUBLE
    elif node.op_type == "Constant" and attribute.name == "value_float":
        tensor = numpy_helper.from_array(np.array(attribute.f, np.float64))
        attribute.CopyFrom(helper.make_attribute("value", tensor))


def _double_type(kind: TypeProto) -> None:
    if kind.HasField("sequence_type"):
        _double_type(kind.sequence_type.elem_type)
    elif kind.HasField("optional_type"):
        _double_type(kind.optional_type.elem_type)
    elif kind.tensor_type.elem_type in _NARROW:
        kind.tensor_type.elem_type = TensorProto.DOUBLE


def _double_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _NARROW:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
