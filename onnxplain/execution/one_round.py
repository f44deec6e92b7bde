"""A model with everything that a sampled method reads of one sample, as tensors of its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.differentiate import with_gradients
from onnxplain.autodiff.lowering import with_new_opset
from onnxplain.autodiff.rules import STANDARD
from onnxplain.execution.finished import Plan, Tensors
from onnxplain.execution.scoring import (
    parameter,
    parameters,
    seed_tensor,
    with_seeds,
)
from onnxplain.execution.wants import (
    Activation,
    FirstGradient,
    InputGradient,
    LayerGradient,
    SampleScores,
    SampleWeights,
    Want,
)
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.model.model import Model
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended

Dims = tuple[int | None, ...]

SHOWN = "shown"
"""The name of the activation of the layer whose map is made, (N, channels, cells)."""

_MADE = frozenset([SampleWeights, FirstGradient])
"""Wants that do not come from the model."""


@dataclass(frozen=True, eq=False)
class Round:
    """A model that computes what a formula reads of one sample of each picture.

    `found` are the wanted arrays by want, as names and sizes of tensors of `model`. `shown` is the
    same for the activation of the layer whose map is made; None where there is no layer.
    `settled` are the parameters of the target that are ranks: `model` reads them as `given_name`
    and computes the tensors `parameter`, without ranks.
    """

    model: Model
    found: Mapping[type[Want], tuple[str, Dims]]
    shown: tuple[str, Dims] | None
    settled: Sequence[str]


def given_name(name: str) -> str:
    """The name of the input for a parameter that may be a rank."""
    return f"{PREFIX}given/{name}"


def one_round(plan: Plan) -> Round:
    """The model of one round of a sampled method.

    Raises:
        GradientError: an operator that must be differentiated has no gradient, or a method without
            gradients gets a model that has no form in opset 18.
        TargetError: the answer holds no scores of the kind that is read.
    """
    differentiated = any(want.per_target for want in plan.formula.wants)
    model = plan.lowered if differentiated else with_new_opset(plan.model)
    model, settled = _with_settled(model, plan)
    if differentiated:
        model = with_seeds(model, plan.scored, plan.batch)
        at_layer = any(want.at_layer for want in plan.formula.wants)
        by = [plan.layers[0].tensor] if at_layer else [plan.spec.name]
        model = with_gradients(model, plan.answer, by, [seed_tensor(0)], STANDARD)
    return _with_found(model, plan, settled)


def _with_settled(model: Model, plan: Plan) -> tuple[Model, list[str]]:
    """The model that also computes the parameters without ranks, and the names of those."""
    scored, graph = plan.scored, gs.Graph(opset=model.opset)
    g = Builder(graph, PREFIX + "settle/")
    xp = GraphNamespace(g, scored.ranks)
    answer = g.Cast(gs.Variable(plan.answer), to=TensorProto.FLOAT)
    first: int | str = plan.batch or "batch"
    given = {}
    for name, value in scored.target(0).given(*scored.shapes).items():
        own = gs.Variable(given_name(name), value.dtype, [first, *value.shape])
        given[name] = xp.array(own, (None, *value.shape))
    read = scored.reading.read(xp, xp.array(answer, (None, *scored.shape[1:])))
    settled = scored.target(0).settled(xp, read if len(read) > 1 else read[0], given)
    ranked = [name for name, array in settled.items() if array is not given[name]]
    if not ranked:
        return model, []
    for name in ranked:
        _named(graph, settled[name], parameter(0, name))
        graph.inputs.append(given[name].tensor)
    return appended(model, gs.export_onnx(graph, do_type_check=False).graph), ranked


def _with_found(model: Model, plan: Plan, settled: Sequence[str]) -> Round:
    """The model with tensors for all that the formula reads of a sample."""
    graph = gs.Graph(opset=model.opset)
    xp = GraphNamespace(Builder(graph, PREFIX + "found/"), plan.scored.ranks)
    tensors, found, shown = Tensors(plan, xp), dict[type[Want], tuple[str, Dims]](), None
    for want in plan.formula.wants:
        if type(want) in _MADE:
            continue
        array = _score(plan, xp) if want == SampleScores() else tensors.get(want, 0, 0)
        if isinstance(want, InputGradient | LayerGradient | Activation):
            # One sample of each picture: (N, 1, ...).
            array = array.made("Unsqueeze", np.array([1]), dims=(None, 1, *array.dims[1:]))
        name = f"{PREFIX}found/{type(want).__name__}"
        _named(graph, array, name)
        found[type(want)] = name, array.dims
    if plan.layers:
        array = shown_activation(tensors)
        shown = PREFIX + SHOWN, array.dims
        _named(graph, array, shown[0])
    added = gs.export_onnx(graph, do_type_check=False).graph
    return Round(appended(model, added), found, shown, settled)


def shown_activation(tensors: Tensors) -> GraphArray:
    """The activation of the layer whose map is made, (N, channels, cells)."""
    array = tensors.get(Activation(), 0, 0)
    cells = int(np.prod([size for size in array.dims[2:] if size is not None]))
    channels = array.dims[1]
    return array.made("Reshape", np.array([0, 0, cells]), dims=(None, channels, cells))  # type: ignore[no-any-return]


def _score(plan: Plan, xp: GraphNamespace) -> GraphArray:
    """The score of a changed sample, (N, 1, 1)."""
    scored, target = plan.scored, plan.scored.target(0).of_changed
    answer = xp.builder.Cast(gs.Variable(plan.answer), to=TensorProto.FLOAT)
    read = xp.array(answer, (None, *scored.shape[1:]))
    score = scored.reading.score(xp, target, read, **parameters(xp, scored, 0))
    target.check_score(score.dims)
    return score.made("Reshape", np.array([-1, 1, 1]), dims=(None, 1, 1))  # type: ignore[no-any-return]


def _named(graph: gs.Graph, array: GraphArray, name: str) -> None:
    graph.nodes.append(gs.Node("Identity", name, {}, [array.tensor], [gs.Variable(name)]))
