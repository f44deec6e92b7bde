"""Extract and extend graphs: inner tensors as outputs, and the part of a model after a layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from onnxplain.errors import ModelError
from onnxplain.model.graph_index import GraphIndex, all_names, reads
from onnxplain.model.model import Model
from onnxplain.model.shapes import infer_specs
from onnxplain.suggestions import closest
from onnxplain.tensors import TensorSpec
from onnxplain.transforms.builder import PREFIX

_CONTENTS = frozenset(
    "node initializer sparse_initializer input output value_info quantization_annotation".split()
)


def extract(
    model: ModelProto,
    outputs: Iterable[str],
    inputs: Iterable[ValueInfoProto],
    before: GraphProto | None = None,
) -> ModelProto:
    """The part of `model` that computes `outputs` from `inputs`.

    `inputs` may be inner tensors: the nodes before them are removed. Inputs that are not read are
    left out. The nodes of `before` come first; nodes of the model read its tensors by name.

    Weights are copied as they are, with references to external data, and so are metadata,
    documentation and quantization annotations. Declared types and shapes of inner tensors and
    outputs are not copied: ONNX Runtime does not load a model with a wrong one.

    Raises:
        ModelError: `before` has a tensor or node with a name that the model has already.
    """
    inputs, outputs = list(inputs), list(dict.fromkeys(outputs))
    before = GraphProto() if before is None else before
    _check_names(model.graph, before, replaced=_names(model.graph.input) - _names(inputs))
    return assembled(model, [*before.node, *model.graph.node], before.initializer, inputs, outputs)


def assembled(
    model: ModelProto,
    nodes: Iterable[NodeProto],
    constants: Iterable[TensorProto],
    inputs: Iterable[ValueInfoProto],
    outputs: Iterable[str],
) -> ModelProto:
    """A model that computes `outputs` with other `nodes` and more `constants`, as in `extract`.

    `nodes` are in topological order; those that are not needed are left out.
    """
    inputs, outputs = list(inputs), list(outputs)
    graph_index = GraphIndex(ModelProto(graph=GraphProto(node=nodes)))
    kept = graph_index.ancestors(outputs, stop=_names(inputs))
    needed = [graph_index.nodes[i] for i in sorted(kept)]
    read = {name for node in needed for name in reads(node)}.union(outputs)

    part = ModelProto(**fields(model, without=("graph", "training_info")))
    graph = part.graph
    graph.MergeFrom(GraphProto(**fields(model.graph, without=_CONTENTS)))
    graph.node.extend(needed)
    graph.input.extend(value for value in inputs if value.name in read)
    graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    graph.initializer.extend(t for t in (*constants, *model.graph.initializer) if t.name in read)
    graph.sparse_initializer.extend(
        t for t in model.graph.sparse_initializer if t.values.name in read
    )
    graph.quantization_annotation.extend(
        note for note in model.graph.quantization_annotation if note.tensor_name in read
    )
    return part


def appended(model: Model, added: GraphProto) -> Model:
    """The model with the nodes, inputs and initializers of `added` after its own."""
    proto = deepcopy(model.proto)
    proto.graph.node.extend(added.node)
    proto.graph.initializer.extend(added.initializer)
    proto.graph.input.extend(added.input)
    return replace(model, proto=proto)


def computed_name(tensor: str) -> str:
    """The name of a computed tensor after `fed` has replaced it by an input of its name."""
    return f"{PREFIX}computed/{tensor}"


def fed(model: Model, *specs: TensorSpec) -> Model:
    """The model in which the inner tensors `specs` are additional inputs.

    Their nodes stay in the graph; the computed tensors have the name `computed_name`.
    """
    proto = deepcopy(model.proto)
    own = {spec.name: computed_name(spec.name) for spec in specs}
    for node in proto.graph.node:
        node.output[:] = [own.get(name, name) for name in node.output]
    proto.graph.input.extend(map(_input, specs))
    return replace(model, proto=proto)


def renamed(node: NodeProto, names: Mapping[str, str], prefix: str = "") -> NodeProto:
    """A copy of a node with its tensors renamed by `names`, and `prefix` before its own name."""
    copy = deepcopy(node)
    copy.name = node.name and prefix + node.name  # names of nodes must be unique
    for tensors in (copy.input, copy.output):
        tensors[:] = [names.get(name, name) for name in tensors]
    return copy


def with_contents(model: Model, **contents: Any) -> Model:
    """The model with some fields of its graph replaced, such as `node`."""
    graph = GraphProto(**fields(model.proto.graph, without=contents), **contents)
    return replace(model, proto=ModelProto(**fields(model.proto, without=["graph"]), graph=graph))


def with_outputs(model: Model, tensors: Iterable[str]) -> Model:
    """The part of the model that computes `tensors`, which become its outputs, in that order."""
    return replace(model, proto=extract(model.proto, tensors, model.proto.graph.input))


def answering(model: Model, tensor: str) -> Model:
    """The model itself if `tensor` is one of its outputs, else its part with that only output.

    Raises:
        ModelError: there is no such tensor; the message lists similar names.
    """
    if tensor in model.index.outputs:
        return model
    if tensor not in model.index.position:
        close = closest(tensor, [*model.index.outputs, *model.index.tensors()])
        raise ModelError(f"The model has no output or inner tensor {tensor!r}{close}.")
    return ending_in(model, [tensor])


def ending_in(model: Model, tensors: Iterable[str]) -> Model:
    """As `with_outputs`, with the types and shapes of the outputs where they can be inferred."""
    part = with_outputs(model, tensors)
    specs = infer_specs(part.proto)
    for output in part.proto.graph.output:
        spec = specs[output.name]
        if spec.dtype != object:
            kind = helper.np_dtype_to_tensor_dtype(spec.dtype)
            output.CopyFrom(helper.make_tensor_value_info(spec.name, kind, spec.shape))
    return part


def side_inputs(model: Model, layer: str, scores: Iterable[str]) -> list[str]:
    """Tensors that the nodes from `layer` to `scores` read, without `layer` and constants."""
    graph_index = model.index
    after = graph_index.descendants([layer]) & graph_index.ancestors(scores)
    own = {layer, *(name for i in after for name in graph_index.nodes[i].output)}
    others = graph_index.computed.union(graph_index.inputs) - own
    read = (name for i in sorted(after) for name in reads(graph_index.nodes[i]))
    return [name for name in dict.fromkeys(read) if name in others]


def head(model: Model, specs: Mapping[str, TensorSpec], scores: Iterable[str]) -> Model:
    """The part of the model that computes `scores` from the tensors in `specs`.

    `specs` gives the element type and shape of the layer and of every side input, which become the
    inputs of the new model in that order; their first dimension is the batch.
    """
    inputs = [_input(replace(spec, name=name)) for name, spec in specs.items()]
    return replace(model, proto=extract(model.proto, scores, inputs))


def from_tensor(model: Model, spec: TensorSpec) -> Model:
    """The model in which the inner tensor `spec` is the first input, in place of its nodes.

    Inputs that only those nodes read are left out; outputs keep their declared types.
    """
    graph = model.proto.graph
    names = [value.name for value in graph.output]
    proto = extract(model.proto, names, [_input(spec), *graph.input])
    for output, declared in zip(proto.graph.output, graph.output, strict=True):
        output.CopyFrom(declared)
    return replace(model, proto=proto)


def _input(spec: TensorSpec) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(spec.dtype)
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)


def _check_names(graph: GraphProto, added: GraphProto, replaced: frozenset[str]) -> None:
    clash = (all_names(added) & all_names(graph)) - replaced
    if clash:
        raise ModelError(
            f"The model has a tensor or node called {min(clash)!r}, a name that onnxplain needs "
            "for itself: rename it."
        )


def _names(values: Iterable[ValueInfoProto]) -> frozenset[str]:
    return frozenset(value.name for value in values)


def fields(message: Message, without: Collection[str]) -> Mapping[str, Any]:
    """The fields of a protobuf message that are set, by name, except those in `without`."""
    return {f.name: value for f, value in message.ListFields() if f.name not in without}
