"""Finished graphs themselves: samples and their targets go in, maps come out.

Every single-pass method has one graph here for a dynamic batch. Plain ONNX Runtime runs it, and it
must give the same as the explainer for each sample alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import ModelProto, helper, numpy_helper
from references.vit import CLASSES, PICTURE, ViT
from tiny import Array, noise, run

from onnxplain import Explainer
from onnxplain.autodiff.lowering import lower
from onnxplain.execution.answers import read
from onnxplain.execution.baselines import Scene, make_baseline
from onnxplain.execution.finished import finish
from onnxplain.execution.model_structure import ModelStructure
from onnxplain.execution.plan import Plan, reference_name, report_name, value_name
from onnxplain.execution.runner import Runner
from onnxplain.execution.scoring import Scored
from onnxplain.methods.base import SinglePassMethod
from onnxplain.methods.registry import METHODS
from onnxplain.runtime.backend import Backend
from onnxplain.targets import Class
from onnxplain.transforms.builder import PREFIX
from onnxplain.transforms.extract import with_outputs
from onnxplain.transforms.fixed_batch import with_batch
from tools.cases import nets

SINGLE_PASS = [kind for kind in METHODS.values() if issubclass(kind, SinglePassMethod)]

CODES = ((2, -2), (-1, 1), (0, -1))
"""Two targets of each sample: classes, and ranks of classes; -1 is the class of highest score."""


@dataclass(frozen=True, eq=False)
class Net:
    """A model, and three samples with different outputs."""

    model: ModelProto
    samples: Array

    @functools.cached_property
    def explainer(self) -> Explainer:
        settings = {"layout": "NCHW", "scale": 1, "mean": (120, 110, 100), "std": (50, 60, 70)}
        return Explainer(self.model, preprocess=settings, provider="cpu")


@functools.cache
def convolutional() -> Net:
    """Net R with centered scores, so that its three samples differ in their first class."""
    model, samples = nets.net_r(), noise(3, 3, 20, 26, seed=4)
    weights = {weight.name: weight for weight in model.graph.initializer}
    for name, values in (("rows", noise(5, 8, seed=13)), ("bias3", np.zeros(5, np.float32))):
        weights[name].CopyFrom(numpy_helper.from_array(values, name))
    (scores,) = run(model, {"x": samples})
    weights["bias3"].CopyFrom(numpy_helper.from_array(-scores.mean(axis=0), "bias3"))
    return Net(model, samples)


@functools.cache
def transformer() -> Net:
    """Its file fixes a batch of 1, so that it is rewritten for the graph."""
    return Net(ViT().onnx(), np.concatenate([noise(*PICTURE.shape, seed=s) for s in (9, 22, 11)]))


def net_for(kind: type[SinglePassMethod]) -> Net:
    return transformer() if any(want.on_tokens for want in kind().wants) else convolutional()


def planned(net: Net, method: SinglePassMethod, batch: int | None) -> Plan:
    """The graph that the explainer would make for this number of samples."""
    explainer, x = net.explainer, net.samples[:1]
    runner = Runner(explainer.model, explainer.input, {}, Backend(), None)
    score = explainer.score_tensor
    batching = runner.batching(x, [score.logit])
    assert batching.exact is None, batching.description
    structure = ModelStructure(runner, x, score, lambda: None, lambda: lower(explainer.model))
    reading = read(score, "logit", structure.class_axis, structure.shapes[score.logit])
    layers = method.layers(structure)
    model = batching.model if batch is None else with_batch(batching.model, "x", batch)
    return Plan(
        model=model,
        lowered=lower(model),
        spec=explainer.input,
        shape=x.shape,
        planes=(0, 1, 2, 3),
        scored=Scored(reading, structure.shapes[score.logit], [Class(code) for code in CODES[0]]),
        formula=method,
        layers=layers,
        batch=batch,
        class_weights=(
            structure.classifier().matrix(layers[0].channels) if method.reads_classifier else None
        ),
    )


def fed(plan: Plan, net: Net, method: SinglePassMethod) -> dict[str, Array]:
    """The samples, their targets, and the expected values."""
    colors = net.explainer.preprocess
    scenes = [Scene(x[None], 1, (2, 3), colors) for x in net.samples]
    references = {
        reference_name(plan, name): np.concatenate([make_baseline(spec, s) for s in scenes])
        for name, spec in method.references.items()
    }
    targets = plan.scored.feeds([[Class(code) for code in own] for own in CODES])
    return {"x": net.samples, **references, **targets}


def meant(answer: Array, code: int) -> int:
    """The class that a code means."""
    return code if code >= 0 else int(np.argsort(-answer, kind="stable")[-1 - code])


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("kind", SINGLE_PASS, ids=lambda kind: kind.name)
def test_one_graph_for_samples_and_their_targets(
    kind: type[SinglePassMethod], batch: int | None
) -> None:
    net, method = net_for(kind), kind()
    plan = planned(net, method, batch)
    graph = finish(plan).proto
    feeds = fed(plan, net, method)
    taken = {value.name for value in graph.graph.input}
    given = {name: value for name, value in feeds.items() if name in taken}
    assert taken == set(given), "the graph asks for something else"
    found = dict(zip(outputs(graph), run(graph, given), strict=True))

    answers, (only, *_) = found[plan.answer], plan.places
    maps = [[found[value_name(only, t)][i] for t in range(2)] for i in range(3)]
    for i, codes in enumerate(CODES):
        for t, code in enumerate(codes):
            index = meant(answers[i], code)
            alone = net.explainer.attribute(net.samples[i : i + 1], method, index)
            expected = alone.values[0].reshape(maps[i][t].shape)
            scale = np.abs(expected).max()
            assert_allclose(maps[i][t], expected, atol=1e-5 * scale, rtol=0)
            assert np.ptp(expected) > 0.05 * scale, "the case shows nothing"
    assert not np.allclose(maps[0][0], maps[1][0], rtol=0.05), "all samples have one map"
    if method.needs_target:
        assert not np.allclose(maps[1][0], maps[1][1], rtol=0.05), "all targets have one map"


@pytest.mark.parametrize("kind", SINGLE_PASS, ids=lambda kind: kind.name)
def test_nothing_but_the_answer_maps_and_reports_leaves_the_graph(
    kind: type[SinglePassMethod],
) -> None:
    net = net_for(kind)
    plan = planned(net, kind(), None)
    graph = finish(plan).proto
    for value in graph.graph.output:  # the checker requires more than ONNX Runtime
        value.type.CopyFrom(helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ()))
    onnx.checker.check_model(graph)  # nodes are in order, and names are unique
    first, *others = outputs(graph)
    maps = {value_name(layer, t) for layer in plan.places for t in range(plan.targets)}
    rest = set(others) - maps
    assert first == plan.answer
    assert maps <= set(others)
    reported = {name.rsplit("/", 1)[1] for name in rest}
    assert rest == {
        report_name(name, layer, t)
        for name in reported
        for layer in plan.places
        for t in range(plan.targets)
    }
    for value in graph.graph.input:
        first_axis = value.type.tensor_type.shape.dim[0]
        assert not first_axis.HasField("dim_value"), f"{value.name} takes one batch only"
        assert value.name == "x" or value.name.startswith(PREFIX)


def test_other_tensors_of_the_model_leave_the_graph_where_the_plan_names_them() -> None:
    net, method = convolutional(), METHODS["gradcam"]()
    assert isinstance(method, SinglePassMethod)
    plan = planned(net, method, None)
    plan = replace(plan, outputs=[plan.layers[0].tensor, plan.answer])
    graph = finish(plan).proto
    assert outputs(graph)[:3] == [plan.answer, plan.layers[0].tensor, value_name(0, 0)]
    found = dict(zip(outputs(graph), run(graph, fed(plan, net, method)), strict=True))
    whole = with_outputs(plan.model, [plan.answer, plan.layers[0].tensor]).proto
    for name, expected in zip(outputs(whole), run(whole, {"x": net.samples}), strict=True):
        assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)


def outputs(graph: ModelProto) -> list[str]:
    return [value.name for value in graph.graph.output]


def test_the_class_is_that_of_the_answer_and_not_of_each_block() -> None:
    """Here the top class of each block differs from that of the model."""
    net = transformer()
    method: Any = METHODS["legrad"]()
    plan = planned(net, method, None)
    vit = ViT()
    own = [
        int(vit.head(np.broadcast_to(z.mean(axis=0), z.shape)).argmax())
        for z in vit.states(net.samples[1:2])[1:]
    ]
    graph = finish(plan).proto
    found = dict(zip(outputs(graph), run(graph, fed(plan, net, method)), strict=True))
    index = meant(found[plan.answer][1], -1)
    assert index not in own, "the case shows nothing"
    expected = net.explainer.attribute(net.samples[1:2], method, index).values[0]
    assert_allclose(found[value_name(0, 0)][1], expected, rtol=1e-5, atol=1e-8)
    assert found[plan.answer].shape == (3, CLASSES)
