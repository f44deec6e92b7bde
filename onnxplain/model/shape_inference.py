"""Shapes of a graph's tensors, and values of those that shapes are computed from, node by node."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onnxplain.model.graph_index import SIZE_READERS
from onnxplain.tensors import Array

Dims = tuple[int, ...]

_LARGEST_VALUE = 4096  # elements; what shapes are computed from is far smaller

_FIRST, _FIRST_TWO, _FIRST_THREE = slice(1), slice(2), slice(3)
_QUANTIZED_PAIR, _QUANTIZED_LIST = slice(0, 6, 3), slice(2, None, 3)  # each with scale and zero

# Ops that no schema gives a shape to, the op whose shape they have, and the inputs it would have.
_STAND_INS: dict[tuple[str, str], tuple[str, slice]] = {
    ("", "GreaterOrEqual"): ("Greater", _FIRST_TWO),
    ("", "LessOrEqual"): ("Less", _FIRST_TWO),
    ("", "GroupNormalization"): ("Identity", _FIRST),
    ("", "LayerNormalization"): ("Identity", _FIRST),
    ("", "MeanVarianceNormalization"): ("Identity", _FIRST),
    **{
        ("com.microsoft", name): stand_in
        for names, stand_in in (
            (
                "Attention BiasGelu FastGelu Gelu Inverse MultiHeadAttention QLinearLeakyRelu "
                "QLinearSigmoid QLinearSoftmax QuickGelu SkipLayerNormalization "
                "SkipSimplifiedLayerNormalization",
                ("Identity", _FIRST),
            ),
            ("FusedConv", ("Conv", _FIRST_THREE)),
            ("FusedGemm", ("Gemm", _FIRST_THREE)),
            ("QGemm", ("Gemm", _QUANTIZED_PAIR)),
            ("QLinearAdd QLinearMul", ("Add", _QUANTIZED_PAIR)),
            ("QLinearConcat", ("Concat", _QUANTIZED_LIST)),
            ("QLinearAveragePool", ("AveragePool", _FIRST)),
            ("QLinearGlobalAveragePool", ("GlobalAveragePool", _FIRST)),
            ("DequantizeLinear", ("DequantizeLinear", _FIRST_THREE)),
            ("QuantizeLinear", ("QuantizeLinear", _FIRST_THREE)),
        )
        for name in names.split()
    },
}


_KNOWN_FROM = {"LayerNormalization": 17}
"""Opsets from which ONNX itself has an operator; ONNX Runtime has it in older models too."""


def stand_in(node: NodeProto, opset: int) -> NodeProto:
    """A node with a shape function, whose first output has the shape of that of `node`.

    Most often it is `node` itself.
    """
    entry = _STAND_INS.get((_domain(node.domain), node.op_type))
    if entry is None or opset >= _KNOWN_FROM.get(node.op_type, math.inf):
        return node
    op_type, inputs = entry
    schema = onnx.defs.get_schema(op_type, opset)
    other = helper.make_node(op_type, node.input[inputs], node.output[:1])
    other.attribute.extend(a for a in node.attribute if a.name in schema.attributes)
    return other


class World:
    """What is known of a graph's tensors for one size of batch and picture.

    `samples` becomes the first dimension of every input in `inputs`, and `picture` every other
    dimension that the model leaves open. A tensor about which nothing can be said is absent.
    """

    def __init__(
        self, model: ModelProto, inputs: Collection[str], samples: int, picture: int
    ) -> None:
        self._opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
        self._imports = [helper.make_opsetid(*entry) for entry in self._opsets.items()]
        self._types: dict[str, TypeProto] = {}
        self._data: dict[str, TensorProto] = {}
        for value in model.graph.input:
            leading = samples if value.name in inputs else None
            self._types[value.name] = _concrete(value.type, leading, picture)
        for tensor in model.graph.initializer:
            self.add_constant(tensor)

    def add_constant(self, tensor: TensorProto) -> None:
        """Learn a constant; the value of a large or external one is never looked at."""
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

    def visit(self, node: NodeProto) -> None:
        """Learn the outputs of a node from what is known of its inputs."""
        types = self._infer(node)
        self._types.update(types)
        for name, value in self._evaluate(node, types).items():
            self.add_constant(numpy_helper.from_array(value, name))

    def shape_of_result(self, node: NodeProto) -> Dims | None:
        """The shape that the first output of a node would have, without learning it."""
        return _shape(self._infer(node).get(node.output[0]))

    def _infer(self, node: NodeProto) -> dict[str, TypeProto]:
        """Types of a node's outputs; none where the node and its inputs do not fit together."""
        inputs = [name for name in node.input if name]
        if any(name not in self._types for name in inputs):
            return {}
        domain = _domain(node.domain)
        if (domain, node.op_type) in _STAND_INS:
            return self._infer_by_stand_in(stand_in(node, self._opsets.get("", 1)))
        has_body = any(attribute.HasField("g") for attribute in node.attribute)
        types = self._types if has_body else {name: self._types[name] for name in inputs}
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opsets.get(domain, 1), domain)
        except onnx.defs.SchemaError:
            return {}
        return self._apply(schema, node, types)

    def _apply(
        self, schema: onnx.defs.OpSchema, node: NodeProto, types: dict[str, TypeProto]
    ) -> dict[str, TypeProto]:
        """Types of a node's outputs by its op's shape function."""
        try:
            return onnx.shape_inference.infer_node_outputs(
                schema,
                node,
                types,
                {name: self._data[name] for name in node.input if name in self._data},
                opset_imports=self._imports,
            )
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
            return {}

    def _infer_by_stand_in(self, node: NodeProto) -> dict[str, TypeProto]:
        """The type of a node's first output, its shape found by another op on float tensors."""
        schema = onnx.defs.get_schema(node.op_type, self._opsets.get("", 1))
        shapes = {name: self.shape(name) for name in node.input if name}
        types = {
            name: helper.make_tensor_type_proto(TensorProto.FLOAT, dims)
            for name, dims in shapes.items()
            if dims is not None
        }
        if len(types) < len(shapes):
            return {}
        element = self._types[node.input[0]].tensor_type.elem_type
        found = self._apply(schema, node, types)
        for type_ in found.values():
            if type_.tensor_type.elem_type == TensorProto.FLOAT:
                type_.tensor_type.elem_type = element
        return found

    def _evaluate(self, node: NodeProto, types: dict[str, TypeProto]) -> dict[str, Array]:
        """Values of a node's outputs, where they follow from shapes and constants."""
        if node.op_type in SIZE_READERS:
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


def declared_shape(type_: TypeProto | None) -> tuple[int | None, ...] | None:
    """The dimensions of a tensor type if it has a rank, None for those that are left open.

    Some converters write -1 for an open dimension.
    """
    if type_ is None or not type_.tensor_type.HasField("shape"):
        return None
    dims = type_.tensor_type.shape.dim
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None for dim in dims
    )


def _shape(type_: TypeProto | None) -> Dims | None:
    declared = declared_shape(type_)
    known = tuple(dim for dim in declared or () if dim is not None)
    return known if declared is not None and len(known) == len(declared) else None


def _concrete(type_: TypeProto, samples: int | None, picture: int) -> TypeProto:
    """A type with a number for every dimension, if it is a tensor of known rank."""
    declared = declared_shape(type_)
    if declared is None:
        return type_
    dims = [dim or picture for dim in declared]
    if samples is not None and dims:
        dims[0] = samples
    return helper.make_tensor_type_proto(type_.tensor_type.elem_type, dims)


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name
