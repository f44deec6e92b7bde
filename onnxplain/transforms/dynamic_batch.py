"""Let a model that was exported for one sample take any number of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from copy import deepcopy

from onnx import GraphProto, ModelProto, ValueInfoProto

from onnxplain.analysis.batch_axis import Batch, Growth
from onnxplain.model.graph_index import all_graphs
from onnxplain.transforms.dynamic_batch_editor import Editor
from onnxplain.transforms.dynamic_batch_rules import rewrite


def make_batch_dynamic(model: ModelProto, inputs: Sequence[str]) -> ModelProto:
    """A copy of `model` that takes any number of samples, as far as it is understood how.

    `inputs` names the inputs whose first dimension is the batch, whether the model fixes it at 1
    or only behaves as if it were. That dimension is renamed, stale shapes are dropped, and nodes
    that assume a batch of 1 are rewritten. What is not understood is left as it is, so the result
    may still fail, or mix samples up: compare a batch of different samples with single runs before
    relying on it.

    Weights, references to external data, and the names of nodes, tensors, inputs and outputs stay
    as they are; nodes may be added and constant shapes replaced. Nothing is run.
    """
    rebatched = deepcopy(model)
    for body in list(all_graphs(rebatched.graph))[1:]:
        _drop_shapes(body)
    editor = Editor(rebatched, inputs)
    for node in rebatched.graph.node:
        rewrite(editor, node)
        editor.keep(node)
    editor.finish()
    _declare_shapes(rebatched.graph, editor, inputs)
    return rebatched


def _drop_shapes(body: GraphProto) -> None:
    """Forget the shapes inside an If, Loop or Scan: it may read what carries the batch."""
    del body.value_info[:]
    for value in itertools.chain(body.input, body.output):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")


def _declare_shapes(graph: GraphProto, growth: Growth, inputs: Sequence[str]) -> None:
    """Name the batch wherever it is declared, and drop the shapes that may no longer hold."""
    name = _batch_name(graph, inputs)
    for value in itertools.chain(graph.input, graph.value_info, graph.output):
        if value.type.HasField("tensor_type") and not growth.is_constant(value.name):
            _declare(value, growth.batch(value.name), name)


def _declare(value: ValueInfoProto, batch: Batch | None, name: str) -> None:
    tensor = value.type.tensor_type
    if batch is None or len(tensor.shape.dim) != len(batch.dims):
        tensor.ClearField("shape")
    elif batch.size == 1:
        tensor.shape.dim[batch.axis].dim_param = name
    else:
        tensor.shape.dim[batch.axis].Clear()


def _batch_name(graph: GraphProto, inputs: Sequence[str]) -> str:
    """The name that the model gives the batch, or one that it gives to nothing else."""
    dims = {value.name: value.type.tensor_type.shape.dim for value in graph.input}
    given = (dims[name][0].dim_param for name in inputs if dims.get(name))
    taken = {dim.dim_param for own in dims.values() for dim in own[1:]}
    candidates = itertools.chain(given, ["batch"], (f"batch_{i}" for i in itertools.count()))
    return next(str(name) for name in candidates if name and name not in taken)
