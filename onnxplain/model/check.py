"""What is wrong with the file of a model, said before anything else reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from math import prod

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    numpy_helper,
)
from onnx.defs import OpSchema, SchemaError, get_schema, has
from onnx.external_data_helper import uses_external_data
from onnx.helper import get_all_tensor_dtypes, tensor_dtype_to_field, tensor_dtype_to_np_dtype

from onnxplain.errors import ModelError
from onnxplain.model.external import weights
from onnxplain.model.graph_index import all_graphs, subgraphs
from onnxplain.model.model import opset_of
from onnxplain.model.operators import MICROSOFT, REDUCTIONS, STANDARD_DOMAINS

_LARGEST_VERSION = 2**31 - 1
"""Of an operator set: ONNX and ONNX Runtime keep it in 32 bits."""

_LARGEST_INPUT = 2**32
"""Elements of one input, of all its samples: 16 GiB of float32."""

_AGAIN = "export the model again"


def check(proto: ModelProto) -> None:
    """Check names, operator sets, types, sizes and nodes, which the other modules rely on.

    Raises:
        ModelError: the file is damaged, or an input is no tensor.
    """
    _check_names(proto)
    _check_operator_sets(proto)
    for value in proto.graph.input:
        _check_input(value)
    for value in proto.graph.output:
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type:
            _check_element_type(value.type.tensor_type.elem_type, f"The output {value.name!r}")
    made = _check_definitions(proto.graph)
    made.update(weight.values.name for weight in proto.graph.sparse_initializer)
    for value in proto.graph.output:
        if value.name not in made:
            raise ModelError(f"The output {value.name!r} is computed by no node: {_AGAIN}.")
    opset = opset_of(proto)
    for graph in all_graphs(proto.graph):
        _check_definitions(graph)
        _check_axes(graph)
        for node in graph.node:
            _check_node(node, opset)
            _check_attributes_of_functions(node)
    for function in proto.functions:
        for node in _nodes_of(function):
            _check_node(node, opset_of(function))


def _check_names(proto: ModelProto) -> None:
    try:
        wrong = next((text for text in _texts(proto) if isinstance(text, bytes)), None)
    except UnicodeDecodeError as error:  # of protobuf, depending on its version and the field
        wrong = error.object
    if wrong is not None:
        shown = wrong.decode("utf-8", "replace")
        raise ModelError(f"The model holds {shown!r}, a name that is not UTF-8: {_AGAIN}.")


def _texts(proto: ModelProto) -> Iterator[str | bytes]:
    """The texts that are read from a model; one that is not UTF-8 is bytes, or a failure."""
    yield from (proto.producer_name, proto.producer_version, proto.domain, proto.doc_string)
    for entry in proto.metadata_props:
        yield from (entry.key, entry.value)
    for opset in proto.opset_import:
        yield opset.domain
    for function in proto.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
    for tensor in weights(proto):
        for place in tensor.external_data:
            yield from (place.key, place.value)
    for graph in _graphs(proto):
        yield from (graph.name, graph.doc_string)
        yield from (tensor.name for tensor in graph.initializer)
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for node in _nodes(proto):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name, attribute.t.name)


def _graphs(proto: ModelProto) -> Iterator[GraphProto]:
    yield from all_graphs(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from chain.from_iterable(map(all_graphs, subgraphs(node)))


def _nodes(proto: ModelProto) -> Iterator[NodeProto]:
    for part in (*_graphs(proto), *proto.functions):
        yield from part.node


def _nodes_of(function: FunctionProto) -> Iterator[NodeProto]:
    """The nodes of a function, also in subgraphs."""
    for node in function.node:
        yield node
        for graph in chain.from_iterable(map(all_graphs, subgraphs(node))):
            yield from graph.node


def _check_operator_sets(proto: ModelProto) -> None:
    for part in (proto, *proto.functions):
        for entry in part.opset_import:
            least = 1 if entry.domain in STANDARD_DOMAINS else 0
            if not least <= entry.version <= _LARGEST_VERSION:
                raise ModelError(
                    f"The model imports version {entry.version} of the operators of "
                    f"{entry.domain or 'ai.onnx'}, which cannot exist: {_AGAIN}."
                )
    imported = {entry.domain for entry in proto.opset_import}
    if imported.isdisjoint(STANDARD_DOMAINS) and any(
        node.domain in STANDARD_DOMAINS for graph in all_graphs(proto.graph) for node in graph.node
    ):
        raise ModelError(
            f"The model does not say which version of the operators of ai.onnx it uses: {_AGAIN}."
        )


_OTHER_TYPES: Mapping[str | None, str] = {
    None: "no type",
    "sequence_type": "a sequence of tensors",
    "optional_type": "an optional value",
    "sparse_tensor_type": "a sparse tensor",
    "map_type": "a map",
}


def _check_input(value: ValueInfoProto) -> None:
    kind, what = value.type.WhichOneof("value"), f"The input {value.name!r}"
    if kind != "tensor_type":
        raise ModelError(
            f"{what} is {_OTHER_TYPES.get(kind, kind)}, and only tensors can be given to a model "
            "here: export the model with tensors as inputs."
        )
    _check_element_type(value.type.tensor_type.elem_type, what)
    sizes = [max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim]
    if prod(sizes) > _LARGEST_INPUT:
        raise ModelError(
            f"{what} has the sizes {' x '.join(map(str, sizes))}, more than fits in memory: export "
            "the model with smaller sizes, or with open ones."
        )


def _check_element_type(number: int, what: str) -> None:
    if number not in get_all_tensor_dtypes():
        raise ModelError(
            f"{what} has the element type {number}, which the installed onnx does not know: update "
            f"onnx, or {_AGAIN}."
        )


def check_weights(proto: ModelProto) -> None:
    """Check that weights in the file hold what their types and sizes say.

    Raises:
        ModelError: the file is damaged.
    """
    for tensor in weights(proto):
        _check_weight(tensor)


def _check_weight(tensor: TensorProto) -> None:
    what, kind = f"The weight {tensor.name!r}", tensor.data_type
    _check_element_type(kind, what)
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"{what} has a negative size, {min(tensor.dims)}: {_AGAIN}.")
    if uses_external_data(tensor) or (kind not in _BITS and kind != TensorProto.STRING):
        return
    held, expected, unit = _amounts(tensor, prod(tensor.dims))
    if held != expected:
        raise ModelError(
            f"{what} of shape {tuple(tensor.dims)} needs {expected:,} {unit} and has {held:,}: the "
            f"file is damaged; copy it or {_AGAIN}."
        )


def _check_definitions(graph: GraphProto) -> set[str]:
    """Check that a tensor has one source; return the names of those that have one."""
    known = {value.name for value in (*graph.input, *graph.initializer)}
    for node in graph.node:
        for name in filter(None, node.output):
            if name in known:
                raise ModelError(
                    f"The tensor {name!r} has several sources: an output of the node {node.name!r} "
                    f"({node.op_type}), and another node, an input or a weight: {_AGAIN}."
                )
            known.add(name)
    return known


def _check_axes(graph: GraphProto) -> None:
    """Check that no axis is reduced twice: ONNX does not say what that means."""
    weights_of_axes = {
        tensor.name: numpy_helper.to_array(tensor).tolist()
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.INT64
        and 1 < prod(tensor.dims) <= _MOST_AXES
        and len(tensor.raw_data) == 8 * prod(tensor.dims)
    }
    for node in graph.node:
        if node.op_type not in REDUCTIONS:
            continue
        written = [list(a.ints) for a in node.attribute if a.name == "axes"]
        given = [weights_of_axes[name] for name in node.input[1:2] if name in weights_of_axes]
        for axes in (*written, *given):
            if len(set(axes)) < len(axes):
                raise ModelError(
                    f"The node {node.name!r} ({node.op_type}) has an axis twice, {axes}: {_AGAIN}."
                )


_MOST_AXES = 64
"""A longer list of numbers is no list of axes."""


def _check_node(node: NodeProto, opset: int) -> None:
    """Check what a node has against the definition of its operator, where that is known."""
    what = f"The node {node.name!r} ({node.op_type})"
    if node.domain == MICROSOFT and not any(node.input[:1]):
        raise ModelError(f"{what} lacks its first input: {_AGAIN}.")
    if node.domain not in STANDARD_DOMAINS or not has(node.op_type):
        return
    try:
        schema = get_schema(node.op_type, opset)
    except SchemaError:
        return
    counts = (
        ("inputs", len(node.input), schema.min_input, schema.max_input),
        ("outputs", len(node.output), schema.min_output, schema.max_output),
    )
    for words, count, least, most in counts:
        if not least <= count <= most:
            raise ModelError(f"{what} has {count} {words}, which its operator refuses: {_AGAIN}.")
    for name, formal in zip(node.input, schema.inputs, strict=False):
        if not name and formal.option == OpSchema.FormalParameterOption.Single:
            raise ModelError(f"{what} lacks its input {formal.name!r}: {_AGAIN}.")
    for attribute in node.attribute:
        known = schema.attributes.get(attribute.name)
        written = AttributeProto.AttributeType.Name(attribute.type)
        if known is not None and str(known.type).rpartition(".")[2] != written:
            raise ModelError(
                f"{what} has a wrong type of value for its attribute {attribute.name!r}: {_AGAIN}."
            )
    given = {attribute.name for attribute in node.attribute}
    for name, known in schema.attributes.items():
        if (known.required or name in _ALSO_REQUIRED) and name not in given:
            raise ModelError(f"{what} lacks its attribute {name!r}: {_AGAIN}.")


_ALSO_REQUIRED = frozenset({"hidden_size"})
"""Attributes of recurrent layers, which ONNX Runtime needs, though ONNX does not."""


def _check_attributes_of_functions(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            raise ModelError(
                f"The node {node.name!r} ({node.op_type}) takes its attribute {attribute.name!r} "
                f"from a function, and is in none: {_AGAIN}."
            )


_PACKED = {"INT2": 2, "UINT2": 2, "INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4}
"""Bits of the element types of which a byte holds several."""

_BYTES = (
    "FLOAT UINT8 INT8 UINT16 INT16 INT32 INT64 BOOL FLOAT16 DOUBLE UINT32 UINT64 COMPLEX64 "
    "COMPLEX128 BFLOAT16 FLOAT8E4M3FN FLOAT8E4M3FNUZ FLOAT8E5M2 FLOAT8E5M2FNUZ"
).split()


def _bits() -> Mapping[int, int]:
    """The bits of an element of each type of known size; an older onnx lacks some types."""
    numbers = {name: number for name, number in TensorProto.DataType.items() if number}
    whole = {name: 8 * tensor_dtype_to_np_dtype(numbers[name]).itemsize for name in _BYTES}
    return {numbers[name]: size for name, size in (whole | _PACKED).items() if name in numbers}


_BITS = _bits()

_PARTS: Mapping[int, int] = {TensorProto.COMPLEX64: 2, TensorProto.COMPLEX128: 2}
"""Numbers that are stored for each element; 1 for other types."""


def _amounts(tensor: TensorProto, elements: int) -> tuple[int, int, str]:
    """What a weight holds, what so many elements need, and the unit of both."""
    kind = tensor.data_type
    bits = _BITS.get(kind, 8)
    whole_bytes = -(-bits * elements // 8)
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data), whole_bytes, "bytes"
    held = len(getattr(tensor, tensor_dtype_to_field(kind)))
    return held, whole_bytes if bits < 8 else elements * _PARTS.get(kind, 1), "numbers"
