"""Sampled methods as one graph with a Loop: plain ONNX Runtime gives what the explainer gives."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_allclose
from onnx import ModelProto, numpy_helper
from tiny import Array, noise, run

from onnxplain import Explainer
from onnxplain.autodiff.lowering import lower
from onnxplain.execution.answers import read
from onnxplain.execution.finished import Plan, value_name
from onnxplain.execution.model_structure import ModelStructure
from onnxplain.execution.rounds import in_rounds, settled_name
from onnxplain.execution.runner import Runner
from onnxplain.execution.samples import Samples
from onnxplain.execution.scoring import Scored, parameter
from onnxplain.methods.base import SampledMethod
from onnxplain.methods.registry import METHODS, make_method
from onnxplain.targets import Class
from onnxplain.transforms.builder import PREFIX
from tools.cases import nets

SAMPLED = [name for name, kind in METHODS.items() if issubclass(kind, SampledMethod)]


@dataclass(frozen=True, eq=False)
class Net:
    """A model, and samples with different outputs."""

    model: Any
    samples: Array
    settings: Mapping[str, Any]

    @functools.cached_property
    def explainer(self) -> Explainer:
        return Explainer(self.model, provider="cpu", **self.settings)


@functools.cache
def convolutional() -> Net:
    model, samples = nets.net_r(), noise(3, 3, 20, 26, seed=4)
    weights = {weight.name: weight for weight in model.graph.initializer}
    for name, values in (("rows", noise(5, 8, seed=13)), ("bias3", np.zeros(5, np.float32))):
        weights[name].CopyFrom(numpy_helper.from_array(values, name))
    (scores,) = run(model, {"x": samples})
    weights["bias3"].CopyFrom(numpy_helper.from_array(-scores.mean(axis=0), "bias3"))
    settings = {"layout": "NCHW", "scale": 1, "mean": (120, 110, 100), "std": (50, 60, 70)}
    return Net(model, samples, {"preprocess": settings})


def planned(net: Net, method: SampledMethod, outputs: Sequence[str] = ()) -> tuple[Plan, Any]:
    """The plan that an export of the method would make, and the scene."""
    explainer, x = net.explainer, net.samples[:1]
    samples = Samples(explainer.model, explainer.input, lambda: explainer.preprocess)
    runner = Runner(explainer.model, explainer.input, {}, "cpu", None)
    score = explainer.score_tensor
    batching = runner.batching(x, [score.probability])
    assert batching.exact is None, batching.description
    structure = ModelStructure(runner, x, score, lambda: None, lambda: lower(explainer.model))
    kind = method.score
    reading = read(score, kind, structure.class_axis, structure.shapes[score.probability])
    (values,) = runner.forward(x, [reading.tensor])
    reading = reading.settled(values)
    scene = samples.scene(x)
    method.check(scene)
    return Plan(
        model=batching.model,
        lowered=lower(batching.model),
        spec=explainer.input,
        shape=x.shape,
        planes=scene.planes,
        scored=Scored(reading, values.shape, [Class(-1)]),
        formula=method,
        layers=method.layers(structure),
        outputs=outputs,
    ), scene


def outputs_of(graph: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    names = [value.name for value in graph.graph.output]
    return dict(zip(names, run(graph, feeds), strict=True))


def explained(
    net: Net, method: SampledMethod, codes: Sequence[int], samples: Array | None = None
) -> dict[str, Array]:
    plan, scene = planned(net, method)
    graph = in_rounds(plan, scene).proto
    onnx.checker.check_model(graph, full_check=True)
    onnx.shape_inference.infer_shapes(graph, strict_mode=True)
    x = net.samples if samples is None else samples
    feeds = {plan.spec.name: x, parameter(0, "code"): np.array(codes, np.int64)}
    return outputs_of(graph, feeds)


FILL = noise(1, 3, 20, 26, seed=8)
FEW: dict[str, list[dict[str, Any]]] = {
    "smoothgrad": [{"samples": 4}],
    "smoothgrad_squared": [{"samples": 4, "seed": 3, "noise": 0.3}],
    "vargrad": [{"samples": 4}],
    "smooth_gradcam++": [{"samples": 4}, {"samples": 3, "only_channels": (0, 2, 5)}],
    "integrated_gradients": [
        {"steps": 5},
        {"steps": 4, "rule": "riemann-trapezoid", "baseline": "mean"},
        {"steps": 3, "baseline": "blur"},
        {"steps": 3, "baseline": "uniform", "trials": 3, "seed": 4},
        {"steps": 3, "baseline": FILL},
    ],
    "blur_ig": [{"steps": 5, "max_sigma": 4.0}],
    "expected_gradients": [{"samples": 5, "baselines": noise(3, 3, 20, 26, seed=7)}],
    "occlusion": [{"window": 7, "stride": 5}, {"window": (5, 9), "fill": "mean"}, {"fill": FILL}],
    "rise": [{"samples": 20, "grid": 3}, {"samples": 9, "seed": 2, "baseline": "blur"}],
    "scorecam": [{}, {"baseline": "mean", "score": "logit"}, {"layer": "conv2"}],
    "ablationcam": [{}, {"layer": "conv2", "score": "probability"}],
    "reciprocam": [{}, {"score": "probability"}],
}
CASES = [(name, options) for name, several in FEW.items() for options in several]


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value)[:40])
def test_each_picture_and_target_gives_what_the_explainer_gives(
    name: str, options: dict[str, Any]
) -> None:
    net, method = convolutional(), make_method(name, options)
    assert isinstance(method, SampledMethod)
    codes = (2, -1, 0)
    found = explained(net, method, codes)
    plan, _ = planned(net, method)
    for i, code in enumerate(codes):
        x = net.samples[i : i + 1]
        index = int(found[plan.answer][i].argmax()) if code < 0 else code
        assert found[settled_name("code")][i] == index
        expected = net.explainer.attribute(x, method, index).values[0]
        values = found[value_name(0, 0)][i]
        assert values.shape == expected.shape
        scale = np.abs(expected).max()
        assert_allclose(values, expected, atol=1e-5 * scale, rtol=0)
        assert np.ptp(expected) > 0.02 * scale, "the case shows nothing"
    assert PREFIX
