"""Types, shapes and small values of a graph's tensors, found without running it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import onnx
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from onnxplain.errors import ModelError
from onnxplain.model import operators
from onnxplain.model.evaluation import LARGEST_VALUE, evaluate, is_small
from onnxplain.model.graph_index import attributes
from onnxplain.model.model import Model, dims_of, opset_of, spec_of_type
from onnxplain.tensors import Array, TensorSpec

Shape = tuple[int, ...]
Dims = tuple[int | str | None, ...]
"""Dimensions: an int where one is static, its name as str where it has one, else None."""

_OPEN = np.iinfo(np.int64).min
"""An unknown dimension, in a shape of which others are known."""

_PICKS = frozenset(["Gather", "Slice"])
"""Operators whose result may be known where only some dimensions of their first input are."""


def _keys(domain: str, names: str) -> list[tuple[str, str]]:
    return [(domain, op) for op in names.split()]


_SAME_SHAPE = (
    "Attention BiasGelu FastGelu Gelu Inverse MultiHeadAttention QLinearLeakyRelu QLinearSigmoid "
    "QLinearSoftmax QuickGelu SkipLayerNormalization SkipSimplifiedLayerNormalization"
)
_SHAPE_OF_STANDARD_FORM = (
    "FusedConv FusedGemm QGemm QLinearAdd QLinearAveragePool QLinearConcat "
    "QLinearGlobalAveragePool QLinearMul"
)
_STAND_INS: dict[tuple[str, str], operators.Form] = {
    ("", "GreaterOrEqual"): operators.Form("Greater", slice(2)),
    ("", "LessOrEqual"): operators.Form("Less", slice(2)),
    **dict.fromkeys(
        _keys("", "GroupNormalization LayerNormalization MeanVarianceNormalization")
        + _keys(operators.MICROSOFT, _SAME_SHAPE),
        operators.Form("Identity", slice(1)),
    ),
    **{(operators.MICROSOFT, op): operators.Form(op, slice(3)) for op in operators.ROUNDS},
    (operators.MICROSOFT, "DynamicQuantizeLSTM"): operators.Form("LSTM", slice(8)),
    **{key: operators.FORMS[key[1]] for key in _keys(operators.MICROSOFT, _SHAPE_OF_STANDARD_FORM)},
}
"""For operators without a shape function: an operator with the same output shape, its inputs."""

_KNOWN_FROM = {"LayerNormalization": 17}
"""The first ONNX opset that has an operator; ONNX Runtime accepts it in older models too."""


class ShapeEnv:
    """What is known of a graph's tensors: their types, dimensions, and values of small constants.

    It starts from the declared types and added constants. `visit` then infers the outputs of each
    node, in topological order. A tensor of which nothing is known is absent.
    """

    def __init__(self, proto: ModelProto, types: Mapping[str, TypeProto]) -> None:
        """Start with the constants of a model, and the given types of other tensors."""
        self._opsets = {
            operators.standard_domain(entry.domain): entry.version for entry in proto.opset_import
        }
        self._imports = [helper.make_opsetid(*entry) for entry in self._opsets.items()]
        self._types = dict(types)
        self._values: dict[str, TensorProto] = {}
        self._parts: dict[str, Array] = {}
        self._learned: set[str] = set()
        for tensor in proto.graph.initializer:
            self.add_constant(tensor)

    @classmethod
    def of_inputs(cls, proto: ModelProto, shapes: Mapping[str, Shape]) -> ShapeEnv:
        """The constants and inputs of a model; inputs have the given or else declared shapes."""
        types = {value.name: value.type for value in proto.graph.input}
        for name in shapes.keys() & types:
            element = types[name].tensor_type.elem_type
            types[name] = helper.make_tensor_type_proto(element, shapes[name])
        return cls(proto, types)

    @classmethod
    def of_model(cls, proto: ModelProto) -> ShapeEnv:
        """All that ONNX infers of a model whose inputs have their declared shapes.

        For inputs with open dimensions, ONNX's inference over the whole graph is needed: only that
        follows open dimensions through the arithmetic on shapes before a Reshape. Node by node, the
        rank of 3538 of 3631 tensors of a Swin-T is lost, and of 131 of 143 of a ViT. It computes no
        other values, so `visit` infers a node again where more is known of its inputs. For inputs
        of static shape use `of_inputs`: nothing is lost node by node, and a contradiction in one
        part of the graph does not stop inference in the others.

        Raises:
            ModelError: the model contradicts itself, or does not import the domain of an operator.
        """
        graph = _inferred(proto)
        values = (*graph.input, *graph.value_info, *graph.output)
        return cls(proto, {value.name: value.type for value in values})

    def add_constant(self, tensor: TensorProto) -> None:
        """Add a constant; the value of a large or external one is never read."""
        self._types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        if is_small(tensor):
            self._values[tensor.name] = tensor

    def shape(self, name: str) -> Shape | None:
        """The shape of a tensor; None unless all dimensions are static."""
        return _static(dims_of(self._types.get(name)))

    def dtype(self, name: str) -> np.dtype[Any]:
        """The element type of a tensor; `object` where it is not known."""
        known = self._types.get(name)
        return np.dtype(object) if known is None else spec_of_type(name, known).dtype

    def specs(self) -> dict[str, TensorSpec]:
        """Element types and dimensions of all tensors."""
        return {name: spec_of_type(name, type_) for name, type_ in self._types.items()}

    def shapes(self) -> dict[str, Shape]:
        """The shapes of all tensors whose dimensions are all static."""
        found = {name: self.shape(name) for name in self._types}
        return {name: shape for name, shape in found.items() if shape is not None}

    def constant(self, name: str) -> TensorProto | None:
        """A small tensor that depends only on shapes and constants; None for others."""
        return self._values.get(name)

    def value(self, name: str) -> Array | None:
        """The value of a small tensor that depends only on shapes and constants, else None."""
        return numpy_helper.to_array(self._values[name]) if name in self._values else None

    def visit(self, node: NodeProto) -> None:
        """Infer the types, shapes and small values of a node's outputs from its inputs."""
        self.learn_types(node)
        self.learn_values(node)

    def learn_types(self, node: NodeProto) -> None:
        """Infer the types of a node's outputs, unless their shapes are static already."""
        if all(self.shape(name) is not None for name in node.output if name):
            return
        if all(map(self._is_typed, node.output)) and self._learned.isdisjoint(node.input):
            return
        for name, found in self._infer(node).items():
            type_ = _clearest(self._types.get(name), found)
            if type_ != self._types.get(name):
                self._types[name] = type_
                self._learned.add(name)

    def learn_values(self, node: NodeProto) -> None:
        """Compute the small outputs of a node that depend only on shapes and constants."""
        reads_part = not self._parts.keys().isdisjoint(node.input)
        of_shape = reads_part or node.op_type in operators.SIZE_READERS
        for name, value in self._evaluate(node).items():
            if of_shape and (value == _OPEN).any():
                self._parts[name] = value
            elif value.size <= LARGEST_VALUE:
                self.add_constant(numpy_helper.from_array(value, name))
                self._learned.add(name)

    def shape_of_result(self, node: NodeProto) -> Shape | None:
        """The static shape of a node's first output, else None; nothing is stored."""
        return _static(dims_of(self._infer(node).get(node.output[0])))

    def _is_typed(self, name: str) -> bool:
        """Whether the type of a tensor is known; true for "", an omitted output."""
        type_ = self._types.get(name)
        return not name or (type_ is not None and type_.WhichOneof("value") is not None)

    def _infer(self, node: NodeProto) -> dict[str, TypeProto]:
        """Types of a node's outputs; empty where they cannot be inferred."""
        inputs = [name for name in node.input if name]
        if not all(map(self._is_typed, inputs)):
            return {}
        if operators.key_of(node) in _STAND_INS:
            return self._infer_by_stand_in(stand_in(node, self._opsets.get("", 1)))
        has_body = any(attribute.HasField("g") for attribute in node.attribute)
        return self._apply(node, self._types if has_body else {n: self._types[n] for n in inputs})

    def _infer_by_stand_in(self, node: NodeProto) -> dict[str, TypeProto]:
        """The type of a node's first output; its shape is inferred for float inputs."""
        dims = {name: dims_of(self._types[name]) for name in node.input if name}
        if None in dims.values():
            return {}
        types = {n: helper.make_tensor_type_proto(TensorProto.FLOAT, d) for n, d in dims.items()}
        element = self._types[node.input[0]].tensor_type.elem_type
        found = self._apply(node, types)
        for type_ in found.values():
            if type_.tensor_type.elem_type == TensorProto.FLOAT:
                type_.tensor_type.elem_type = element
        return found

    def _apply(self, node: NodeProto, types: dict[str, TypeProto]) -> dict[str, TypeProto]:
        """Types of a node's outputs by the shape function of its operator; empty on errors."""
        domain = operators.standard_domain(node.domain)
        values = {name: self._values[name] for name in node.input if name in self._values}
        try:
            schema = onnx.defs.get_schema(node.op_type, self._opsets.get(domain, 1), domain)
            return onnx.shape_inference.infer_node_outputs(
                schema, node, types, values, opset_imports=self._imports
            )
        except (
            onnx.defs.SchemaError,
            onnx.shape_inference.InferenceError,
            onnx.checker.ValidationError,
            ValueError,  # a Cast to a type that does not exist
        ):
            return {}

    def _evaluate(self, node: NodeProto) -> dict[str, Array]:
        """Values of a node's outputs, as far as they can be computed.

        In a shape of which only some dimensions are known, the others are `_OPEN`.
        """
        if node.op_type in operators.SIZE_READERS:
            return self._measure(node)
        # A dimension that is open may be picked, but it can't say what to pick.
        parts = [n for n in node.input[:1] if n in self._parts and node.op_type in _PICKS]
        inputs, outputs = ([n for n in names if n] for names in (node.input, node.output))
        if any(name not in self._values and name not in parts for name in inputs):
            return {}
        if not inputs and node.op_type != "Constant":
            return {}
        if any(math.prod(self.shape(name) or ()) > LARGEST_VALUE for name in outputs):
            return {}
        arrays = {name: self.value(name) for name in inputs}
        feeds = {n: self._parts[n] if array is None else array for n, array in arrays.items()}
        if node.op_type == "Range":
            return _counted(node, *(feeds[name] for name in node.input))
        results = evaluate([node], feeds, outputs, self._imports) or []
        return {
            name: self._typed(name, result) for name, result in zip(outputs, results, strict=False)
        }

    def _typed(self, name: str, value: Array) -> Array:
        """A value cast to its inferred element type, because the evaluator may change the type."""
        known = name in self._types and self._types[name].tensor_type.elem_type
        return value.astype(helper.tensor_dtype_to_np_dtype(known)) if known else value

    def _measure(self, node: NodeProto) -> dict[str, Array]:
        """The output of Shape, unknown dimensions `_OPEN`, or of Size if all are known."""
        dims = dims_of(self._types.get(node.input[0]))
        if dims is None:
            return {}
        bounds = attributes(node)
        read = dims[bounds.get("start", 0) : bounds.get("end", len(dims))]
        value = np.array([dim if isinstance(dim, int) else _OPEN for dim in read], np.int64)
        if node.op_type == "Shape":
            return {node.output[0]: value}
        return {} if _OPEN in value else {node.output[0]: np.asarray(value.prod())}


def infer_shapes(proto: ModelProto, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes of all tensors for inputs of the given shapes, as far as they can be inferred.

    A tensor whose shape is not fully known is left out. Large weights are not read, so this costs
    the same for a model of any size.
    """
    env = ShapeEnv.of_inputs(proto, inputs)
    for node in proto.graph.node:
        env.visit(node)
    return env.shapes()


def model_shapes(model: Model, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """`infer_shapes` of a model, cached for inputs of these shapes."""
    key = "shapes", frozenset(inputs.items())
    return model.once(key, lambda: infer_shapes(model.proto, inputs))


def infer_specs(proto: ModelProto) -> dict[str, TensorSpec]:
    """Element types and dimensions of all tensors, as far as they can be inferred.

    Inputs have their declared types. Dimensions with equal names have equal sizes. A tensor of
    unknown type has the dtype `object`.

    Raises:
        ModelError: the model contradicts itself, or does not import the domain of an operator.
    """
    return ShapeEnv.of_model(proto).specs()


def stand_in(node: NodeProto, opset: int) -> NodeProto:
    """A node that has a shape function and whose first output has the same shape as that of `node`.

    It is `node` itself, except for the few operators without a shape function.
    """
    entry = _STAND_INS.get(operators.key_of(node))
    if entry is None or opset >= _KNOWN_FROM.get(node.op_type, math.inf):
        return node
    op_type, inputs = entry
    schema = onnx.defs.get_schema(op_type, opset)
    other = helper.make_node(op_type, node.input[inputs], node.output[:1])
    other.attribute.extend(a for a in node.attribute if a.name in schema.attributes)
    return other


def _inferred(proto: ModelProto) -> GraphProto:
    """The graph with the types that ONNX infers; large weights become inputs, see `stand_in`."""
    opset = opset_of(proto)
    graph = GraphProto(name=proto.graph.name or "graph", input=proto.graph.input)
    graph.node.extend(stand_in(node, opset) for node in proto.graph.node)
    for tensor in proto.graph.initializer:
        if is_small(tensor):
            graph.initializer.append(tensor)
        else:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    for value in proto.graph.output:
        # A declared output shape may contain the batch of 1 that is being changed: keep the rank.
        stripped = ValueInfoProto(name=value.name, type=value.type)
        for dim in stripped.type.tensor_type.shape.dim:
            dim.Clear()
        graph.output.append(stripped)
    version = max(proto.ir_version, 4)
    skeleton = ModelProto(ir_version=version, graph=graph, opset_import=proto.opset_import)
    try:
        return onnx.shape_inference.infer_shapes(skeleton, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise ModelError(
            f"The types of the model's tensors cannot be inferred: {' '.join(str(error).split())}; "
            "export the model again, or repair what onnx.checker reports."
        ) from error


def _counted(node: NodeProto, *bounds: Array) -> dict[str, Array]:
    """The value of a Range; empty where it is too long, or a bound has several elements.

    Bounds may be vectors of one element, as in the function body of AffineGrid. ONNX Runtime
    accepts such bounds only where it does not know their shapes when it loads the model.
    """
    if any(bound.size != 1 for bound in bounds):
        return {}
    start, limit, delta = (bound.reshape(()) for bound in bounds)
    if not delta or (count := (limit - start) / delta) > LARGEST_VALUE:
        return {}
    steps = np.arange(max(math.ceil(count), 0))
    return {node.output[0]: np.asarray(start + delta * steps, start.dtype)}


def _clearest(known: TypeProto | None, found: TypeProto) -> TypeProto:
    """A type with the dimensions that either of two sources knows."""
    if known is None or not known.tensor_type.HasField("shape"):
        return found
    dims, others = known.tensor_type.shape.dim, found.tensor_type.shape.dim
    if len(dims) != len(others):
        return found if found.tensor_type.HasField("shape") else known
    clearest = deepcopy(known)
    for dim, other in zip(clearest.tensor_type.shape.dim, others, strict=True):
        if other.HasField("dim_value"):
            dim.CopyFrom(other)
    return clearest


def _static(dims: Dims | None) -> Shape | None:
    """Dimensions if all of them are static, else None."""
    known = tuple(dim for dim in dims or () if isinstance(dim, int))
    return known if dims is not None and len(known) == len(dims) else None
