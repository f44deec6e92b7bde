"""Folding: what follows from shapes and small constants, computed once.

Exports are full of arithmetic on shapes, most of which does not depend on the size of an input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxplain.autodiff.lowering.weights import is_small
from onnxplain.model.graph_index import attributes, reads, subgraphs
from onnxplain.model.model import Model, spec_of
from onnxplain.model.shapes import Dims, infer_specs
from onnxplain.tensors import Array
from onnxplain.transforms.extract import fields

_LARGEST = 4096
"""Elements of the largest result that is kept."""

_KEPT = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike "
    "DequantizeLinear QuantizeLinear".split()
)
"""Operators that draw random numbers, and quantised weights, a form that runtimes look for."""


def _gathered(dims: Array, indices: Array) -> Array:
    picked: Array = np.asarray(dims[indices])
    return picked


def _sliced(
    dims: Array, start: Array, end: Array, _: Array | None = None, step: Array | None = None
) -> Array:
    return dims[start.item() : end.item() : 1 if step is None else step.item()]


_PICKS: dict[str, Callable[..., Array]] = {"Gather": _gathered, "Slice": _sliced}
"""Dimensions out of a shape."""


def fold_constants(model: Model) -> Model:
    """The model with small tensors that no input's value can change turned into initializers.

    A dimension that is static is a constant, whatever the others are. Large weights stay as they
    are, and so does everything that is computed from them.
    """
    changed = model
    while (folded := _folded_once(changed)) is not None:
        changed = folded
    return model if changed is model else _without_dead_nodes(changed)


def _folded_once(model: Model) -> Model | None:
    """None where nothing is left to fold.

    What is folded may tell the shapes of other tensors, so that more can be folded afterwards.
    """
    graph = model.proto.graph
    values = _Values(model)
    kept = [node for node in graph.node if not values.learn(node)]
    if len(kept) == len(graph.node):
        return None
    read = {name for node in kept for name in reads(node)} | {v.name for v in graph.output}
    folded = GraphProto(**fields(graph, without=["node", "initializer"]))
    folded.node.extend(kept)
    folded.initializer.extend(tensor for tensor in graph.initializer if tensor.name in read)
    folded.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in values.new.items() if name in read
    )
    proto = ModelProto(**fields(model.proto, without=["graph"]), graph=folded)
    return replace(model, proto=proto)


def _without_dead_nodes(model: Model) -> Model:
    """Nothing but what leads to an output: nobody reads a shape out of which all was folded."""
    alive = model.wiring.ancestors(model.wiring.outputs)
    graph = GraphProto(**fields(model.proto.graph, without=["node"]))
    graph.node.extend(model.wiring.nodes[i] for i in sorted(alive))
    return replace(model, proto=ModelProto(**fields(model.proto, without=["graph"]), graph=graph))


class _Values:
    """The values of a graph's small constants, learned by visiting its nodes in order."""

    def __init__(self, model: Model) -> None:
        self.new: dict[str, Array] = {}
        self._specs = infer_specs(model.proto)
        self._opsets = {entry.domain: entry.version for entry in model.proto.opset_import}
        self._shapes: dict[str, Dims] = {}
        self._clearer: set[str] = set()
        self._known = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in model.proto.graph.initializer
            if is_small(tensor)
        }

    def learn(self, node: NodeProto) -> bool:
        """Whether the outputs of a node are constant and small."""
        if node.domain not in ("", "ai.onnx") or node.op_type in _KEPT or any(subgraphs(node)):
            return False
        if not self._clearer.isdisjoint(node.input):
            self._infer(node)
        measured = self._measure(node)
        values = self._evaluate(node) if measured is None else {node.output[0]: measured}
        self.new.update(values)
        self._known.update(values)
        self._clearer.update(values)
        return bool(values)

    def _infer(self, node: NodeProto) -> None:
        """Learn more about the shapes that a node makes, now that more of what it reads is known.

        Without it a model would be visited as often as it has blocks that reshape to a shape found
        in the block before.
        """
        if all(_static(self._dims(name)) is not None for name in node.output if name):
            return
        names = {name for name in node.input if name}
        specs = [self._specs[name] for name in names if name in self._specs]
        types = {
            spec.name: helper.make_tensor_type_proto(
                helper.np_dtype_to_tensor_dtype(spec.dtype), spec.shape
            )
            for spec in specs
            if spec.dtype.kind != "O"
        }
        values = {
            name: numpy_helper.from_array(self._known[name], name)
            for name in names
            if name in self._known
        }
        if len(types) < len(names):
            return
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opsets.get("", 1))
            found = onnx.shape_inference.infer_node_outputs(schema, node, types, values)
        except (onnx.defs.SchemaError, onnx.shape_inference.InferenceError):
            return
        for name, kind in found.items():
            spec = spec_of(ValueInfoProto(name=name, type=kind))
            dims = _clearest(self._dims(name), spec.shape)
            if dims != self._dims(name):
                self._specs[name] = replace(spec, shape=dims)
                self._clearer.add(name)

    def _measure(self, node: NodeProto) -> Array | None:
        """The result of a node that asks for dimensions or counts, if what it needs is known."""
        if node.op_type in ("Shape", "Size"):
            return self._dimensions(node)
        if node.op_type == "Range":
            return _counted([self._known.get(name) for name in node.input])
        if node.op_type in _PICKS and node.input[0] in self._shapes:
            chosen = [self._known.get(name) for name in node.input[1:]]
            if not any(value is None for value in chosen):
                dims = np.array(self._shapes[node.input[0]], object)
                return _static(_PICKS[node.op_type](dims, *chosen))
        return None

    def _dimensions(self, node: NodeProto) -> Array | None:
        dims = self._dims(node.input[0])
        if dims is None:
            return None
        bounds = attributes(node)
        dims = dims[bounds.get("start", 0) : bounds.get("end", len(dims))]
        if node.op_type == "Shape":
            self._shapes[node.output[0]] = dims
            return _static(dims)
        shape = _static(dims)
        return None if shape is None else np.asarray(shape.prod())

    def _evaluate(self, node: NodeProto) -> dict[str, Array]:
        """The results of a node all of whose inputs are known; none where that is not so."""
        feeds = {name: self._known[name] for name in node.input if name in self._known}
        outputs = [name for name in node.output if name]
        if not feeds or any(name not in feeds for name in node.input if name):
            return {}
        if not all(self._is_small(name) for name in outputs):
            return {}
        try:
            results = ReferenceEvaluator(node, opsets=self._opsets).run(None, feeds)
        except Exception:  # the evaluator raises whatever numpy does: the node stays
            return {}
        return {
            name: np.asarray(result, self._specs[name].dtype)
            for name, result in zip(outputs, results, strict=True)
        }

    def _dims(self, name: str) -> Dims | None:
        spec = self._specs.get(name)
        return None if spec is None else spec.shape

    def _is_small(self, name: str) -> bool:
        shape = _static(self._dims(name))
        return shape is not None and math.prod(shape) <= _LARGEST


def _counted(bounds: Sequence[Array | None]) -> Array | None:
    """A range, also of bounds that are vectors of one element, as in the body of AffineGrid.

    ONNX Runtime takes those only where it does not know their shapes beforehand.
    """
    known = [bound.reshape(()) for bound in bounds if bound is not None and bound.size == 1]
    if len(known) < len(bounds):
        return None
    start, limit, delta = known
    count = max(math.ceil((limit - start) / delta), 0)
    return np.asarray(start + delta * np.arange(count), start.dtype) if count <= _LARGEST else None


def _clearest(one: Dims | None, other: Dims | None) -> Dims | None:
    """What is known of dimensions from two sources."""
    if one is None or other is None:
        return other if one is None else one
    return tuple(b if isinstance(b, int) else a for a, b in zip(one, other, strict=True))


def _static(dims: Array | Dims | None) -> Array | None:
    """Dimensions as int64 if every one of them is static."""
    if dims is None or not all(isinstance(dim, int) for dim in np.array(dims, object).flat):
        return None
    return np.asarray(dims, np.int64)
