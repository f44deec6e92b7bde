"""From a method's plan to the graph of an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnxplain.execution.baselines import BaselineSpec
from onnxplain.execution.finished import Plan, finish, reference_name, value_name
from onnxplain.execution.scoring import parameter
from onnxplain.explainer.planned import Planned
from onnxplain.exporting.picture_heat import heatmap_nodes
from onnxplain.exporting.targets import FileTarget
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.methods.base import SinglePassMethod
from onnxplain.methods.layer_maps import LayerMapsMethod
from onnxplain.model.graph_index import all_graphs
from onnxplain.model.model import Model
from onnxplain.model.shapes import Shape, model_shapes
from onnxplain.targets.rows import CODE
from onnxplain.tensors import TensorSpec
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import extract, with_contents

BATCH = "batch"
"""The name of the batch axis in a file that takes any number of samples."""

NO_SUCH_TARGET = 3
"""The status of a sample whose `target` is none that the model has."""

_TARGET = "target"
_OUTPUTS = "values", "heatmap", "status", "explained"


@dataclass(frozen=True, eq=False)
class Names:
    """The names of the inputs and outputs that a file has beside those of the model."""

    target: str
    values: str
    heatmap: str
    status: str
    explained: str

    @classmethod
    def beside(cls, model: Model) -> Names:
        """Names that the model does not use: with `onnxplain_` before those that it uses."""
        taken = {*model.index.position, *model.index.inputs, *model.index.outputs}
        return cls(*(f"onnxplain_{n}" if n in taken else n for n in (_TARGET, *_OUTPUTS)))


@dataclass(frozen=True, eq=False)
class Assembled:
    """The graph of a file, and the names of what it has beside the model."""

    proto: ModelProto
    names: Names


def assemble(planned: Planned, chosen: FileTarget, model: Model) -> Assembled:
    """The graph that predicts and explains.

    Its inputs are those of the model, and the target; its outputs those of the model, then the
    method's values, the heatmap, the status, and what was explained.

    Raises:
        OnnxplainError: the method has no graph for this model.
    """
    plan = planned.plan
    names = Names.beside(plan.model)
    made = finish(replace(plan, outputs=model.index.outputs))
    before, after = _Before(planned, chosen, names, made.opset), _After(planned, names, made)
    after.explain(chosen, before)
    whole = _joined(made, before.proto(), after.proto())
    own = [value for value in made.proto.graph.input if not value.name.startswith(PREFIX)]
    rows = plan.batch or BATCH
    declared = [_sized(value, planned, model, rows) for value in own]
    if not chosen.is_fixed:
        declared.append(helper.make_tensor_value_info(names.target, TensorProto.INT64, [rows]))
    outputs = [*model.index.outputs, *after.outputs]
    _convert_input(whole, plan.spec, model)
    proto = extract(whole, outputs, declared)
    _share_constants(proto.graph)
    _declare_outputs(proto, planned, model, after.outputs, rows)
    return Assembled(proto, names)


def _joined(made: Model, before: GraphProto, after: GraphProto) -> ModelProto:
    """The nodes of three graphs, in this order."""
    parts = before, made.proto.graph, after
    weights = [tensor for part in parts for tensor in part.initializer]
    nodes = [node for part in parts for node in part.node]
    return with_contents(made, node=nodes, initializer=weights).proto


def _convert_input(whole: ModelProto, spec: TensorSpec, model: Model) -> None:
    """Convert the explained input to the type that the graph computes with, if it is another."""
    (own,) = (one for one in model.inputs if one.name == spec.name)
    if own.dtype == spec.dtype:
        return
    converted = PREFIX + "file/input"
    for graph in all_graphs(whole.graph):
        for node in graph.node:
            node.input[:] = [converted if name == spec.name else name for name in node.input]
    kind = helper.np_dtype_to_tensor_dtype(spec.dtype)
    cast = helper.make_node("Cast", [spec.name], [converted], converted, to=kind)
    whole.graph.node.insert(0, cast)


def _share_constants(graph: GraphProto) -> None:
    """Keep one of each of the constants that were added, so that the file is small."""
    first: dict[tuple[object, ...], str] = {}
    same: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.name.startswith(PREFIX):
            key = tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()
            same[tensor.name] = first.setdefault(key, tensor.name)
    kept = [t for t in graph.initializer if same.get(t.name, t.name) == t.name]
    for part in all_graphs(graph):
        for node in part.node:
            node.input[:] = [same.get(name, name) for name in node.input]
    del graph.initializer[:]
    graph.initializer.extend(kept)


class _Part:
    """Nodes that are added to the method's graph."""

    def __init__(self, planned: Planned, opset: int, prefix: str) -> None:
        self.planned = planned
        self.graph = gs.Graph(opset=opset)
        self.g = Builder(self.graph, prefix)
        self._read: dict[str, gs.Tensor] = {}

    def read(self, name: str) -> gs.Tensor:
        """A tensor that is computed elsewhere; the same object for the same name."""
        return self._read.setdefault(name, gs.Variable(name))

    def name(self, tensor: gs.Tensor, name: str) -> None:
        """Give a tensor a name that is known elsewhere."""
        self.graph.nodes.append(gs.Node("Identity", name, {}, [tensor], [gs.Variable(name)]))

    def proto(self) -> GraphProto:
        """The nodes, with their constants."""
        graph: GraphProto = gs.export_onnx(self.graph, do_type_check=False).graph
        return graph


class _Before(_Part):
    """What the method's graph reads beside the model's inputs: the target, and references."""

    def __init__(self, planned: Planned, chosen: FileTarget, names: Names, opset: int) -> None:
        super().__init__(planned, opset, PREFIX + "file/before/")
        plan, g = planned.plan, self.g
        samples = g.Shape(self.read(plan.spec.name), start=0, end=1)
        self.known: gs.Tensor | None = None
        if not chosen.is_fixed:
            given = self.read(names.target)
            inside = g.Less(given, np.array(chosen.choices))
            self.known = g.And(g.GreaterOrEqual(given, np.array(-1)), inside)
        for name, value in plan.scored.target(0).given(*plan.scored.shapes).items():
            if self.known is not None and name == CODE:
                tensor = g.Where(self.known, self.read(names.target), np.array(-1))
            else:
                sizes = g.Concat(samples, np.array([1] * value.ndim, np.int64), axis=0)
                tensor = g.Expand(value[None], sizes)
            self.name(tensor, parameter(0, name))
        for name, spec in _references(planned).items():
            baseline = planned.scene.baseline(spec).astype(plan.spec.dtype)
            sizes = g.Concat(samples, np.array([1] * (baseline.ndim - 1)), axis=0)
            self.name(g.Expand(baseline, sizes), reference_name(plan, name))


def _shapes(plan: Plan, made: Model) -> Mapping[str, Shape]:
    """The shapes of the graph's tensors, for the smallest batch that it takes."""
    rows, scored = plan.batch or 1, plan.scored
    given = {
        parameter(0, name): (rows, *value.shape)
        for name, value in scored.target(0).given(*scored.shapes).items()
    }
    paired = {value: plan.shape for value in made.index.inputs if value not in plan.sizes}
    return model_shapes(made, {**paired, **given, **plan.sizes})


def _references(planned: Planned) -> Mapping[str, BaselineSpec]:
    method = planned.method
    return method.references if isinstance(method, SinglePassMethod) else {}


class _After(_Part):
    """From the maps of the method's graph to the outputs of the file."""

    def __init__(self, planned: Planned, names: Names, made: Model) -> None:
        super().__init__(planned, made.opset, PREFIX + "file/after/")
        self.shapes = _shapes(planned.plan, made)
        self.xp = GraphNamespace(self.g)
        self.names = names
        self.outputs: dict[str, TensorSpec] = {}

    def explain(self, chosen: FileTarget, before: _Before) -> None:
        """Add the outputs of the file."""
        planned, g, names = self.planned, self.g, self.names
        values = self._values()
        self._output(names.values, values, np.float32)
        heat = planned.method.heats(self.xp, values, planned.scene.spatial)
        planes = self._as_planes(heat)
        places = planned.scene.places
        size = places if len(places) == 2 else (1, *places)
        has_zero = not planned.method.values_are_scores
        heatmap, status = heatmap_nodes(g, planes, (size[0], size[1]), has_zero)
        if before.known is not None:
            known = self.read(before.known.name)
            status = g.Where(known, status, np.array(NO_SUCH_TARGET))
            heatmap = g.Where(g.Unsqueeze(known, np.array([1, 2])), heatmap, np.float32(0))
        if len(places) == 1:
            heatmap = g.Squeeze(heatmap, np.array([1]))
        self._output(names.heatmap, self.xp.array(heatmap, (None, *places)), np.float32)
        self._output(names.status, self.xp.array(status, (None,)), np.int64)
        if not chosen.is_fixed:
            self._output(names.explained, self._explained(), np.int64)

    def _values(self) -> GraphArray:
        """The method's values, from the maps of its layers."""
        planned = self.planned
        plan, method = planned.plan, planned.method
        maps = [
            self.xp.array(self.read(name), (None, *self.shapes[name][1:]))
            for name in (value_name(place, 0) for place in plan.places)
        ]
        if len(maps) == 1:
            return maps[0]
        assert isinstance(method, LayerMapsMethod), "only these read several layers"
        return method.stacked(self.xp, maps)  # type: ignore[no-any-return]

    def _as_planes(self, heat: GraphArray) -> GraphArray:
        """Maps with rows and columns; a signal is one row."""
        if len(heat.dims) == 3:
            return heat
        row = self.g.Unsqueeze(heat.tensor, np.array([1]))
        return self.xp.array(row, (None, 1, *heat.dims[1:]))

    def _explained(self) -> GraphArray:
        """The number of what was explained: that of `target`, or what −1 means."""
        scored = self.planned.plan.scored
        floats = self.g.Cast(self.read(self.planned.plan.answer), to=TensorProto.FLOAT)
        answer = self.xp.array(floats, (None, *scored.shape[1:]))
        read = scored.reading.read(self.xp, answer)
        given = {CODE: self.xp.array(self.read(parameter(0, CODE)), (None,))}
        settled = scored.target(0).settled(self.xp, read if len(read) > 1 else read[0], given)
        return settled[CODE]  # type: ignore[no-any-return]

    def _output(self, name: str, array: GraphArray, dtype: type) -> None:
        self.name(array.tensor, name)
        self.outputs[name] = TensorSpec(name, np.dtype(dtype), array.dims)


def _sized(
    value: ValueInfoProto, planned: Planned, model: Model, rows: int | str
) -> ValueInfoProto:
    """The declaration of an input of the model, with the sizes that the file takes."""
    plan = planned.plan
    if value.name != plan.spec.name:
        return value
    (own,) = (spec for spec in model.inputs if spec.name == value.name)
    kind = helper.np_dtype_to_tensor_dtype(own.dtype)
    return helper.make_tensor_value_info(value.name, kind, [rows, *plan.shape[1:]])


def _declare_outputs(
    proto: ModelProto,
    planned: Planned,
    model: Model,
    added: Mapping[str, TensorSpec],
    rows: int | str,
) -> None:
    """Declare types and sizes of outputs, which ONNX requires."""
    known = planned.plan.shapes
    own = {spec.name: spec for spec in model.outputs}
    for output in proto.graph.output:
        spec = added.get(output.name) or own[output.name]
        shape = spec.shape
        if output.name in own and (sizes := known.get(output.name)):
            shape = tuple(
                size if isinstance(dim, int) else dim
                for dim, size in zip(shape or [None] * len(sizes), sizes, strict=True)
            )
        if shape:
            shape = (rows, *shape[1:])
        kind = helper.np_dtype_to_tensor_dtype(spec.dtype)
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind, shape))
