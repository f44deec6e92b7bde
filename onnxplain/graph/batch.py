"""How the tensors of a graph grow with the batch, found without running the model.

The same graph is looked at in several *worlds*: with one sample, with many, and with one sample of
another size where pictures may have any. In each world ONNX's own shape functions give every
tensor its shape, and the small tensors that shapes are computed from get their values. The
dimension that differs between one sample and many is the batch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxplain.tensors import Array

Dims = tuple[int, ...]

MANY = 1009
"""Samples in the world of many: a prime that no model has as a dimension of its own."""

_PICTURE_SIZES = (224, 256)  # stand in for dimensions that the model leaves open
_LARGEST_VALUE = 4096  # elements; what shapes are computed from is far smaller

# Ops whose output has the type and shape of their first input, where no schema says so.
_LIKE_FIRST_INPUT = frozenset(
    [("", "GroupNormalization"), ("", "MeanVarianceNormalization")]
    + [
        ("com.microsoft", name)
        for name in (
            "BiasAdd BiasGelu BiasSoftmax FastGelu Gelu GroupNorm QLinearLeakyRelu QLinearSigmoid "
            "QLinearSoftmax QuickGelu SkipGroupNorm SkipLayerNormalization "
            "SkipSimplifiedLayerNormalization"
        ).split()
    ]
)

# Ops that leave the elements in their order, and only arrange them in other dimensions.
_ORDER_KEEPING = frozenset(["Reshape", "Flatten", "Squeeze", "Unsqueeze"])


class Batch(NamedTuple):
    """Where a tensor carries the batch: for n samples, `dims[axis]` becomes n times as large."""

    dims: Dims
    """The tensor's shape for one sample."""
    axis: int
    outer: int = 1
    """How many blocks of n samples lie behind one another along the axis.

    It is 1 where each sample's part is contiguous, as when windows or heads were merged into the
    batch, and not where the batch was merged into positions.
    """

    @property
    def size(self) -> int:
        """The dimension for one sample: more than 1 where something is merged with the batch."""
        return self.dims[self.axis]

    @property
    def outside(self) -> int:
        """How many elements of one sample there are in all the dimensions outside the batch."""
        return math.prod(self.dims[: self.axis]) * self.outer


def has_fixed_batch(model: ModelProto, input_name: str) -> int | None:
    """The leading dimension of an input where the model fixes it, else None."""
    for value in model.graph.input:
        if value.name == input_name:
            return next(iter(_declared(value.type) or ()), None)
    return None


class World:
    """Shapes of all tensors, and values of the small ones, for one size of batch and picture.

    A tensor about which nothing can be said is absent.
    """

    def __init__(
        self, model: ModelProto, inputs: Collection[str], samples: int, picture: int
    ) -> None:
        self._opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
        self._types: dict[str, TypeProto] = {}
        self._data: dict[str, TensorProto] = {}
        for value in model.graph.input:
            leading = samples if value.name in inputs else None
            self._types[value.name] = _concrete(value.type, leading, picture)
        for tensor in model.graph.initializer:
            self.add_constant(tensor)

    def add_constant(self, tensor: TensorProto) -> None:
        """Learn an initializer; the value of a large or external one is never looked at."""
        self._types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        inline = tensor.data_location != TensorProto.EXTERNAL
        if inline and math.prod(tensor.dims) <= _LARGEST_VALUE:
            self._data[tensor.name] = tensor

    def shape(self, name: str) -> Dims | None:
        """The shape of a tensor if all of it is known."""
        return _shape(self._types.get(name))

    def value(self, name: str) -> Array | None:
        """The value of a small tensor that depends on shapes and constants alone."""
        return numpy_helper.to_array(self._data[name]) if name in self._data else None

    def forget(self, name: str) -> None:
        """From here on nothing is known about a tensor."""
        self._types.pop(name, None)
        self._data.pop(name, None)

    def visit(self, node: NodeProto) -> None:
        """Learn the outputs of a node from what is known of its inputs."""
        types = self._infer(node)
        self._types.update(types)
        for name, value in self._evaluate(node, types).items():
            if value.size <= _LARGEST_VALUE:
                self._data[name] = numpy_helper.from_array(value)

    def shape_of_result(self, node: NodeProto) -> Dims | None:
        """The shape that the first output of a node would have, without learning it."""
        return _shape(self._infer(node).get(node.output[0]))

    def _infer(self, node: NodeProto) -> dict[str, TypeProto]:
        """Types of a node's outputs; none where the node and its inputs do not fit together."""
        inputs = [name for name in node.input if name]
        if any(name not in self._types for name in inputs):
            return {}
        domain = _domain(node.domain)
        if (domain, node.op_type) in _LIKE_FIRST_INPUT:
            return {node.output[0]: self._types[inputs[0]]}
        has_body = any(attribute.HasField("g") for attribute in node.attribute)
        try:
            return onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(node.op_type, self._opsets.get(domain, 1), domain),
                node,
                self._types if has_body else {name: self._types[name] for name in inputs},
                {name: self._data[name] for name in inputs if name in self._data},
                opset_imports=[helper.make_opsetid(*entry) for entry in self._opsets.items()],
            )
        except (
            onnx.defs.SchemaError,
            onnx.shape_inference.InferenceError,
            onnx.checker.ValidationError,
        ):
            return {}

    def _evaluate(self, node: NodeProto, types: dict[str, TypeProto]) -> dict[str, Array]:
        """Values of a node's outputs, where they follow from shapes and constants."""
        if node.op_type in ("Shape", "Size"):
            return self._measure(node)
        inputs = [name for name in node.input if name]
        outputs = [name for name in node.output if name]
        if not (inputs or node.op_type == "Constant") or any(n not in self._data for n in inputs):
            return {}
        if any(math.prod(_shape(type_) or ()) > _LARGEST_VALUE for type_ in types.values()):
            return {}
        graph = helper.make_graph(
            [node],
            "one_node",
            [ValueInfoProto(name=name) for name in inputs],
            [ValueInfoProto(name=name) for name in outputs],
        )
        try:
            evaluator = ReferenceEvaluator(graph, opsets=self._opsets)
            results = evaluator.run(None, {name: self.value(name) for name in inputs})
        except Exception:  # the evaluator raises whatever numpy does: the value stays unknown
            return {}
        return {
            name: np.asarray(result)
            for name, result in zip(outputs, results, strict=True)
            if isinstance(result, np.ndarray | np.generic)
        }

    def _measure(self, node: NodeProto) -> dict[str, Array]:
        dims = self.shape(node.input[0])
        if dims is None:
            return {}
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        value = np.array(dims[bounds.get("start", 0) : bounds.get("end", len(dims))], np.int64)
        return {node.output[0]: value if node.op_type == "Shape" else np.asarray(value.prod())}


class Growth:
    """What is known about every tensor of a graph while its nodes are visited in order.

    `one`, `many` and `resized` are the worlds: one sample, many samples, one sample of another
    size.
    """

    def __init__(self, model: ModelProto, inputs: Sequence[str]) -> None:
        size, other_size = _PICTURE_SIZES
        self.one = World(model, inputs, 1, size)
        self.many = World(model, inputs, MANY, size)
        self.resized = World(model, inputs, 1, other_size)
        if all(self.one.shape(v.name) == self.resized.shape(v.name) for v in model.graph.input):
            self.resized = self.one
        self._worlds = tuple(dict.fromkeys([self.one, self.many, self.resized]))
        self._depends_on_data = set(inputs)
        self._batches = {
            name: Batch(dims, axis=0) for name in inputs if (dims := self.one.shape(name))
        }

    def add_constant(self, tensor: TensorProto) -> None:
        """Learn a new initializer."""
        for world in self._worlds:
            world.add_constant(tensor)

    def visit(self, node: NodeProto) -> None:
        """Learn the outputs of a node."""
        for world in self._worlds:
            world.visit(node)
        measures = node.op_type in ("Shape", "Size")
        reads_data = not measures and not self._depends_on_data.isdisjoint(node.input)
        for name in filter(None, node.output):
            batch = self._locate(node, name)
            if batch is not None:
                self._batches[name] = batch
            elif reads_data:
                # No result can be the same for all samples: this one has lost the batch.
                self.many.forget(name)
            if reads_data:
                self._depends_on_data.add(name)

    def batch(self, name: str) -> Batch | None:
        """Where a tensor carries the batch; None where it does not, or where it is not known."""
        return self._batches.get(name)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is known to be the same for every sample, and not to hold the batch."""
        return (
            name not in self._depends_on_data
            and name not in self._batches
            and self.many.shape(name) is not None
        )

    def fixed_value(self, name: str) -> Array | None:
        """The value of a small tensor if it is the same in all worlds."""
        first, *others = (world.value(name) for world in self._worlds)
        if first is None or any(o is None or not np.array_equal(first, o) for o in others):
            return None
        return first

    def _locate(self, node: NodeProto, name: str) -> Batch | None:
        dims = self.one.shape(name)
        axis = batch_axis(dims, self.many.shape(name))
        if dims is None or axis is None:
            return None
        for batch in (self._batches[source] for source in node.input if source in self._batches):
            if node.op_type in _ORDER_KEEPING:
                outer, rest = divmod(batch.outside, math.prod(dims[:axis]))
                return Batch(dims, axis, outer) if outer and not rest else None
            if batch.size == dims[axis]:
                return Batch(dims, axis, batch.outer)
        return Batch(dims, axis)


def batch_axis(one: Dims | None, many: Dims | None) -> int | None:
    """The only dimension that differs between one sample and many, if it grows in proportion."""
    if one is None or many is None or len(one) != len(many) or 0 in one:
        return None
    changed = [axis for axis, (a, b) in enumerate(zip(one, many, strict=True)) if a != b]
    in_proportion = [axis for axis in changed if many[axis] == one[axis] * MANY]
    return changed[0] if len(changed) == len(in_proportion) == 1 else None


def _declared(type_: TypeProto | None) -> tuple[int | None, ...] | None:
    if type_ is None or not type_.tensor_type.HasField("shape"):
        return None
    dims = type_.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def _shape(type_: TypeProto | None) -> Dims | None:
    declared = _declared(type_)
    known = tuple(dim for dim in declared or () if dim is not None)
    return known if declared is not None and len(known) == len(declared) else None


def _concrete(type_: TypeProto, samples: int | None, picture: int) -> TypeProto:
    """A type with a number for every dimension, if it is a tensor of known rank."""
    declared = _declared(type_)
    if declared is None:
        return type_
    dims = [picture if dim is None else dim for dim in declared]
    if samples is not None and dims:
        dims[0] = samples
    return helper.make_tensor_type_proto(type_.tensor_type.elem_type, dims)


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name
