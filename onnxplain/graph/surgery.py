"""Cutting and joining graphs: exposing inner tensors, and the part of a model behind a layer.

Editing goes through onnx-graphsurgeon, which carries neither metadata nor documentation nor the
training and quantisation annotations of a model: `rebuilt` puts them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import onnx_graphsurgeon as gs
from onnx import ModelProto

from onnxplain.graph.model import Model
from onnxplain.graph.wiring import reads
from onnxplain.tensors import TensorSpec


def rebuilt(model: ModelProto, edit: Callable[[gs.Graph], None]) -> ModelProto:
    """A copy of `model` with `edit` applied to its graph, and dead nodes removed.

    Weights are shared or copied as they are, external references included.
    """
    graph = gs.import_onnx(model)
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Variable) and tensor.inputs:
            # A stale type or shape on an inner tensor makes ONNX Runtime refuse the model.
            tensor.dtype, tensor.shape = None, None
    edit(graph)
    graph.cleanup(remove_unused_graph_inputs=True)
    edited: ModelProto = gs.export_onnx(graph, do_type_check=False)
    edited.ir_version = model.ir_version
    edited.producer_name = model.producer_name
    edited.producer_version = model.producer_version
    edited.domain = model.domain
    edited.model_version = model.model_version
    edited.doc_string = model.doc_string
    edited.metadata_props.extend(model.metadata_props)
    names = {name for node in edited.graph.node for name in (*node.input, *node.output)}
    edited.graph.quantization_annotation.extend(
        note for note in model.graph.quantization_annotation if note.tensor_name in names
    )
    return edited


def with_outputs(model: Model, tensors: Iterable[str]) -> Model:
    """The part of the model that computes `tensors`, which become its outputs, in that order."""

    def edit(graph: gs.Graph) -> None:
        known = graph.tensors()
        graph.outputs = [known[name] for name in dict.fromkeys(tensors)]

    return replace(model, proto=rebuilt(model.proto, edit))


def side_inputs(model: Model, layer: str, scores: Iterable[str]) -> list[str]:
    """Tensors, other than `layer` and constants, that the part behind the layer reads."""
    wiring = model.wiring
    behind = wiring.descendants([layer]) & wiring.ancestors(scores)
    made = {name for i in behind for name in wiring.nodes[i].output}
    depends_on_input = {
        name for i in wiring.descendants(wiring.inputs) for name in wiring.nodes[i].output
    } | set(wiring.inputs)
    read = (name for i in sorted(behind) for name in reads(wiring.nodes[i]))
    return [
        name
        for name in dict.fromkeys(read)
        if name != layer and name not in made and name in depends_on_input
    ]


def head(model: Model, specs: Mapping[str, TensorSpec], scores: Iterable[str]) -> Model:
    """The part of the model that computes `scores` from the tensors in `specs`.

    `specs` gives the element type and rank of the layer and of every side input, which become the
    inputs of the new model in that order; their first dimension is the batch.
    """

    def edit(graph: gs.Graph) -> None:
        known = graph.tensors()
        inputs = [known[name] for name in specs]
        for tensor in inputs:
            spec = specs[tensor.name]
            tensor.inputs.clear()
            tensor.dtype = spec.dtype
            tensor.shape = None if spec.shape is None else list(spec.shape)
        graph.inputs = inputs
        graph.outputs = [known[name] for name in dict.fromkeys(scores)]

    return replace(model, proto=rebuilt(model.proto, edit))
