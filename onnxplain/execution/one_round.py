"""A model with everything that a sampled method reads of one sample, as tensors of its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from onnxplain.autodiff.differentiate import with_gradients
from onnxplain.autodiff.lowering import with_new_opset
from onnxplain.autodiff.rules import STANDARD
from onnxplain.execution.plan import Plan
from onnxplain.execution.scoring import (
    BATCH,
    Scored,
    parameter,
    parameters,
    seed_tensor,
    with_seeds,
)
from onnxplain.execution.wanted_tensors import Tensors
from onnxplain.execution.wants import (
    Activation,
    FirstGradient,
    InputGradient,
    LayerGradient,
    SampleIndices,
    SampleScores,
    SampleWeights,
    Want,
)
from onnxplain.formulas.graph_namespace import GraphArray, GraphNamespace
from onnxplain.model.model import Model
from onnxplain.tensors import Array
from onnxplain.transforms.builder import PREFIX, Builder
from onnxplain.transforms.extract import appended
from onnxplain.transforms.regions import Regions

Dims = tuple[int | None, ...]

SHOWN = "shown"
"""The name of the activation of the layer whose map is made, (N, channels, cells)."""

_MADE = frozenset([SampleWeights, SampleIndices, FirstGradient])
"""Wants that do not come from the model."""


@dataclass(frozen=True, eq=False)
class Round:
    """A model that computes what a formula reads of one sample of each picture.

    `found` are the wanted arrays by want, as names and sizes of tensors of `model`. `shown` is the
    same for the activation of the layer whose map is made; None where there is no layer.
    `scored` has the target of changed samples. Its parameters are tensors of `model`; `kept` are
    those that depend on the answer, with their types and shapes, (1, ...). In the first round, see
    `FIRST`, they are computed from `asked_name`, the parameters that were asked for, and later they
    are those of the last round, `last_name`.
    """

    model: Model
    found: Mapping[type[Want], tuple[str, Dims]]
    shown: tuple[str, Dims] | None
    scored: Scored
    asked: Sequence[str]
    kept: Mapping[str, Array]

    @property
    def sources(self) -> list[str]:
        """The inputs of `model` that differ from round to round, beside the sample."""
        return [FIRST, *map(asked_name, self.asked), *map(last_name, self.kept)]


FIRST = PREFIX + "first"
"""The input that says whether the round is the first one, bool ()."""


def asked_name(name: str) -> str:
    """The name of the input for a parameter of the target that was asked for."""
    return f"{PREFIX}asked/{name}"


def last_name(name: str) -> str:
    """The name of the input for a kept parameter of the round before."""
    return f"{PREFIX}of_last/{name}"


def one_round(plan: Plan, shows_layer: bool) -> Round:
    """The model of one round of a sampled method.

    With `shows_layer`, a method without gradients reads the activation of the plan's layer.

    Raises:
        GradientError: an operator that must be differentiated has no gradient, or a method without
            gradients gets a model that has no form in opset 18.
        TargetError: the answer holds no scores of the kind that is read.
    """
    differentiated = any(want.per_target for want in plan.formula.wants)
    model = plan.lowered if differentiated else with_new_opset(plan.model)
    model, scored, kept = _with_parameters(model, plan)
    if differentiated:
        model = with_seeds(model, scored, plan.batch)
        at_layer = any(want.at_layer for want in plan.formula.wants)
        by = [plan.layers[0].tensor] if at_layer else [plan.spec.name]
        model = with_gradients(model, plan.answer, by, [seed_tensor(0)], STANDARD)
    known = replace(plan, scored=scored)
    model, found, shown = _with_found(model, known, shows_layer and not differentiated)
    asked = plan.scored.target(0).given(*plan.scored.shapes)
    return Round(model, found, shown, scored, list(asked), kept)


def _with_parameters(model: Model, plan: Plan) -> tuple[Model, Scored, dict[str, Array]]:
    """The model with the parameters of the target of changed samples, see `Round`."""
    scored, target = plan.scored, plan.scored.target(0)
    g = Regions(model.opset, PREFIX + "settle/")
    xp, first = GraphNamespace(g, scored.ranks), plan.batch or BATCH
    answer = xp.array(
        g.Cast(gs.Variable(plan.answer), to=TensorProto.FLOAT), (None, *scored.shape[1:])
    )
    given = {
        name: xp.array(
            gs.Variable(asked_name(name), value.dtype, [first, *value.shape]), (None, *value.shape)
        )
        for name, value in target.given(*scored.shapes).items()
    }
    read = scored.reading.of_target(xp, target, answer)
    anchor, settled = target.anchored(xp, read if len(read) > 1 else read[0], given)
    known = Scored(scored.reading, scored.shape, [anchor])
    forms = anchor.given(*scored.shapes)
    kept = {name: forms[name] for name in settled if settled[name] is not given.get(name)}
    last = [
        gs.Variable(last_name(name), value.dtype, [first, *value.shape])
        for name, value in kept.items()
    ]
    start = gs.Variable(FIRST, np.dtype(bool), [])
    now = dict(settled)
    if kept:
        own = g.either(start, lambda: [settled[name].tensor for name in kept], lambda: last)
        now |= {name: xp.array(one, ()) for name, one in zip(kept, own, strict=True)}
    for name, array in now.items():
        _named(g.outermost, array, parameter(0, name))
    g.outermost.inputs = [start, *(one.tensor for one in given.values()), *last]
    added = gs.export_onnx(g.outermost, do_type_check=False).graph
    return appended(model, added), known, kept


def _with_found(
    model: Model, plan: Plan, shows_layer: bool
) -> tuple[Model, dict[type[Want], tuple[str, Dims]], tuple[str, Dims] | None]:
    """The model with tensors for all that the formula reads of a sample, and for the activation."""
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
    if shows_layer:
        array = shown_activation(tensors)
        shown = PREFIX + SHOWN, array.dims
        _named(graph, array, shown[0])
    added = gs.export_onnx(graph, do_type_check=False).graph
    return appended(model, added), found, shown


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
