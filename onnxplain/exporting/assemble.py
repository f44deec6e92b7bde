"""From a method's plan to the graph of an exported file."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from onnxplain.execution.baselines import BaselineSpec
from onnxplain.execution.finished import finish
from onnxplain.execution.plan import Plan, reference_name, value_name
from onnxplain.execution.rounds import in_rounds
from onnxplain.execution.scoring import parameter
from onnxplain.explainer.planned import Planned
from onnxplain.exporting.frames import Draw, Frame
from onnxplain.exporting.inputs import ask
from onnxplain.exporting.parts import INPUT, Names, Part
from onnxplain.exporting.targets import FileTarget
from onnxplain.exporting.verdict import Verdict
from onnxplain.formulas.graph_namespace import GraphArray
from onnxplain.methods.base import SinglePassMethod
from onnxplain.methods.layer_maps import LayerMapsMethod
from onnxplain.model.graph_index import all_graphs, subgraphs
from onnxplain.model.model import Model
from onnxplain.model.shapes import Dims, Shape, model_shapes
from onnxplain.tensors import Array, TensorSpec
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import extract, with_contents


def assemble(
    planned: Planned, chosen: FileTarget, model: Model, frame: Frame, names: Names
) -> ModelProto:
    """The graph that predicts and explains `model`.

    Its inputs are that of the frame, other inputs of the model, and the target; its outputs those
    of the model, then the method's values, what is drawn, and what was explained.

    Raises:
        OnnxplainError: the method has no graph for this model.
    """
    plan = planned.plan
    whole_plan = replace(plan, outputs=model.index.outputs)
    once = isinstance(planned.method, SinglePassMethod)
    made = finish(whole_plan) if once else in_rounds(whole_plan, planned.scene)
    before = Part(made.opset, "before")
    (entered,) = (spec for spec in made.inputs if spec.name == plan.spec.name)
    shown = frame.enter(before, entered.dtype)
    asked = ask(before, chosen, names, frame, shown.placement)
    _prepare(before, planned, asked.parameters)
    after = _explained(planned, chosen, made, shown.draw, names, frame.rows)
    whole = _joined(before.proto(), _reading(made, plan.spec.name), after.proto())
    declared = [frame.input]
    declared += [
        value
        for value in made.proto.graph.input
        if not (value.name.startswith(PREFIX) or value.name == plan.spec.name)
    ]
    declared += asked.inputs
    added = [name for name in vars(names).values() if name in after.outputs]
    proto = extract(whole, [*model.index.outputs, *added], declared)
    _share_constants(proto.graph)
    _declare_outputs(proto, plan, model, after.outputs, frame)
    return proto


def _prepare(part: Part, planned: Planned, asked: Mapping[str, gs.Tensor]) -> None:
    """Add what the method's graph reads beside the model's inputs: the target, and references.

    `asked` are the parameters of the target that inputs of the file decide.
    """
    plan, g = planned.plan, part.g
    samples = g.Shape(part.read(INPUT), start=0, end=1)
    for name, value in plan.scored.target(0).given(*plan.scored.shapes).items():
        tensor = asked[name] if name in asked else _for_each(part, samples, value[None])
        part.name(tensor, parameter(0, name))
    for name, spec in _references(planned).items():
        part.name(_baseline(part, planned, spec), reference_name(plan, name))


def _baseline(part: Part, planned: Planned, spec: BaselineSpec) -> gs.Tensor:
    """A baseline for each of the samples, in the shape of the graph's input."""
    g, scene, own = part.g, planned.scene, planned.plan.spec
    floats = g.Cast(part.read(INPUT), to=TensorProto.FLOAT)
    x = part.xp.array(g.Unsqueeze(floats, np.array([1])), (None, 1, *scene.shape[1:]))
    found = replace(scene, x=x, xp=part.xp).baseline(spec)
    sizes = np.array([-1, *found.dims[1 - len(scene.shape) :]])
    full = g.Expand(g.Reshape(found.tensor, sizes), g.Shape(part.read(INPUT)))
    return g.Cast(full, to=own.dtype.type)


def _for_each(part: Part, samples: gs.Tensor, value: Array) -> gs.Tensor:
    """A value (1, ...) repeated for each of the samples."""
    # OpenCV does not read a Concat with an empty array.
    rest = [np.ones(value.ndim - 1, np.int64)] if value.ndim > 1 else []
    return part.g.Expand(value, part.g.Concat(samples, *rest, axis=0))


def _explained(
    planned: Planned,
    chosen: FileTarget,
    made: Model,
    draw: Draw,
    names: Names,
    rows: int | str,
) -> Part:
    """From the maps of the method's graph to the outputs of the file."""
    part, method = Part(made.opset, "after"), planned.method
    spatial = planned.scene.spatial
    values = method.filtered(part.xp, _values(part, planned, made), spatial)
    part.output(names.values, values.tensor, (rows, *values.dims[1:]), np.float32)
    heat = method.heats(part.xp, values, spatial)
    verdict = Verdict(part, planned, chosen)
    draw(part, heat, verdict.status, names)
    if not chosen.is_fixed:
        part.output(names.explained, verdict.explained, (rows,), np.int64)
    return part


def _values(part: Part, planned: Planned, made: Model) -> GraphArray:
    """The method's values, from the maps of its layers."""
    plan, method, shapes = planned.plan, planned.method, _shapes(planned.plan, made)
    names = (value_name(place, 0) for place in plan.places)
    maps = [part.xp.array(part.read(name), (None, *shapes[name][1:])) for name in names]
    if len(maps) == 1:
        return maps[0]
    assert isinstance(method, LayerMapsMethod), "only these read several layers"
    return method.stacked(part.xp, maps)  # type: ignore[no-any-return]


def _reading(made: Model, name: str) -> Model:
    """The method's graph, with `INPUT` read in place of its input of that name."""
    nodes = [deepcopy(node) for node in made.proto.graph.node]
    for node in nodes:
        inner = [one for sub in subgraphs(node) for part in all_graphs(sub) for one in part.node]
        for one in (node, *inner):
            one.input[:] = [INPUT if read == name else read for read in one.input]
    return with_contents(made, node=nodes)


def _joined(before: GraphProto, made: Model, after: GraphProto) -> ModelProto:
    """The nodes of three graphs, in this order."""
    parts = before, made.proto.graph, after
    weights = [tensor for part in parts for tensor in part.initializer]
    nodes = [node for part in parts for node in part.node]
    return with_contents(made, node=nodes, initializer=weights).proto


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


def _declare_outputs(
    proto: ModelProto, plan: Plan, model: Model, added: Mapping[str, TensorSpec], frame: Frame
) -> None:
    """Declare types and sizes of outputs, which ONNX requires."""
    own = {spec.name: spec for spec in model.outputs}
    varying = model.index.dependent([plan.spec.name])
    for output in proto.graph.output:
        spec = added.get(output.name)
        if spec is None:
            spec = own[output.name]
            known = plan.shapes.get(output.name)
            if output.name in varying and spec.shape is not None:
                spec = replace(spec, shape=_sizes(spec.shape, known, model, plan, frame))
        kind = helper.np_dtype_to_tensor_dtype(spec.dtype)
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind, spec.shape))


def _sizes(declared: Dims, known: Shape | None, model: Model, plan: Plan, frame: Frame) -> Dims:
    """The sizes of an output of the model in the file: those that the model leaves open are known.

    The first axis is that of the samples if it has the size, or the name, that it has in the input.
    """
    if known is not None and len(known) != len(declared):
        declared = (None,) * len(known)  # ONNX Runtime runs a model that declares another rank
    (entered,) = (spec for spec in model.inputs if spec.name == plan.spec.name)
    batch = (entered.shape or (None,))[0]
    if not declared or declared[0] not in (batch, None):
        return tuple(dim if isinstance(dim, int) else None for dim in declared)
    open_sizes = known[1:] if known is not None else (None,) * (len(declared) - 1)
    rest = zip(declared[1:], open_sizes, strict=True)
    return (frame.rows, *(dim if isinstance(dim, int) else size for dim, size in rest))
