"""Sampled methods as one graph with a Loop: plain ONNX Runtime gives what the explainer gives."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.testing import assert_allclose
from onnx import ModelProto, numpy_helper
from square_detector import SIDE, detector, picture
from tiny import Array, noise, run, tiny

from onnxplain import Explainer
from onnxplain.analysis.score import ScoreTensor
from onnxplain.autodiff.lowering import lower
from onnxplain.autodiff.lowering.float_input import with_float_input
from onnxplain.errors import LayerError, OptionError
from onnxplain.execution.answers import Reading, read
from onnxplain.execution.baselines import Scene
from onnxplain.execution.model_structure import ModelStructure
from onnxplain.execution.plan import Plan, value_name
from onnxplain.execution.rounds import in_rounds, settled_name
from onnxplain.execution.runner import Runner
from onnxplain.execution.samples import Samples
from onnxplain.execution.scoring import Scored, parameter
from onnxplain.images.preprocess import Preprocess
from onnxplain.methods.base import SampledMethod
from onnxplain.methods.options import options_of
from onnxplain.methods.registry import METHODS, make_method
from onnxplain.model.external import weights
from onnxplain.model.graph_index import all_graphs
from onnxplain.runtime.backend import Backend
from onnxplain.targets import Class, Target
from onnxplain.transforms.extract import answering, with_outputs
from onnxplain.transforms.fixed_batch import with_batch
from onnxplain.transforms.joined import JOINED, with_joined
from tools.cases import nets

TOP = Class(-1)

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


def planned(
    net: Net,
    method: SampledMethod,
    outputs: Sequence[str] = (),
    target: Target = TOP,
    batch: int | None = None,
) -> tuple[Plan, Scene]:
    """The plan that an export of the method would make, and the scene."""
    explainer, x = net.explainer, net.samples[:1]
    samples = Samples(explainer.model, explainer.input, lambda: explainer.preprocess)
    whole, score = explainer.model, explainer.score_tensor
    if target.reads:
        assert explainer.detector is not None
        whole = answering(with_joined(explainer.detector.runner.model, target.reads), JOINED)
        score = ScoreTensor(JOINED, JOINED, "none")
    runner = Runner(whole, explainer.input, {}, Backend(), None)
    batching = runner.batching(x, [score.probability])
    assert batching.exact is None, batching.description
    model = batching.model if batch is None else with_batch(batching.model, runner.spec.name, batch)
    structure = ModelStructure(runner, x, score, lambda: None, lambda: lower(whole))
    if target.reads:
        joined = tuple((name, structure.shapes[name][1:]) for name in target.reads)
        reading = Reading(JOINED, "logit", "none", joined=joined)
    else:
        shape = structure.shapes[score.probability]
        reading = read(score, method.score, structure.class_axis, shape)
    (values,) = runner.forward(x, [reading.tensor])
    scene = samples.scene(x)
    method.check(scene)
    lowered = with_float_input(lower(model), runner.spec.name)
    plan = Plan(
        model=model,
        lowered=lowered,
        spec=lowered.inputs[0],
        shape=x.shape,
        planes=scene.planes,
        scored=Scored(reading.settled(values), values.shape, [target]),
        formula=method,
        layers=method.layers(structure),
        batch=batch,
        outputs=outputs,
    )
    return plan, scene


def outputs_of(graph: ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    names = [value.name for value in graph.graph.output]
    return dict(zip(names, run(graph, feeds), strict=True))


def checked(plan: Plan, scene: Scene) -> ModelProto:
    """The graph, which passes every check of the onnx package."""
    graph = in_rounds(plan, scene).proto
    onnx.checker.check_model(graph, full_check=True)
    onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True, data_prop=True)
    return graph


def made(name: str, options: Mapping[str, Any]) -> SampledMethod:
    method = make_method(name, options)
    assert isinstance(method, SampledMethod)
    return method


def compared(
    net: Net,
    name: str,
    options: Mapping[str, Any],
    codes: Sequence[int],
    tolerance: float = 1e-5,
    batch: int | None = None,
) -> tuple[ModelProto, dict[str, Array]]:
    """The graph and its outputs, after a comparison with the explainer, picture by picture."""
    method = made(name, options)
    plan, scene = planned(net, method, target=Class(min(*codes, -1)), batch=batch)
    graph, x = checked(plan, scene), net.samples[: len(codes)]
    x = x.astype(plan.lowered.inputs[0].dtype) if method.needs_gradient else x
    feeds = {plan.spec.name: x, parameter(0, "code"): np.array(codes, np.int64)}
    found = outputs_of(graph, feeds)
    plain = with_outputs(plan.model, [plan.answer]).proto
    answers = outputs_of(plain, {plan.spec.name: net.samples[: len(codes)]})
    assert_allclose(found[plan.answer], answers[plan.answer], rtol=1e-4, atol=1e-5)
    for i, code in enumerate(codes):
        order = np.argsort(-found[plan.answer][i].ravel(), kind="stable")
        index = int(order[-1 - code]) if code < 0 else code
        assert found[settled_name("code")][i] == index
        expected = net.explainer.attribute(net.samples[i : i + 1], method, index).values[0]
        values = found[value_name(0, 0)][i]
        assert values.shape == expected.shape
        scale = np.abs(expected).max()
        far = np.abs(values - expected) > tolerance * scale
        assert far.mean() <= (0 if tolerance < 1e-4 else 1e-3)
        assert np.ptp(expected) > 0.02 * scale, "the case shows nothing"
    return graph, found


FILL = noise(1, 3, 20, 26, seed=8)
FEW: dict[str, list[dict[str, Any]]] = {
    "smoothgrad": [{"samples": 4}],
    "smoothgrad_squared": [{"samples": 4, "seed": 3, "noise": 0.3}],
    "vargrad": [{"samples": 4}],
    "smooth_gradcam++": [{"samples": 4}, {"samples": 3, "only_channels": (0, 1, 2, 3)}],
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
    "sobol": [{"samples": 4, "grid": 3}, {"samples": 3, "grid": 2, "seed": 2, "baseline": "mean"}],
    "hsic": [{"samples": 24, "grid": 3}, {"samples": 15, "seed": 2, "score": "logit"}],
    "scorecam": [{}, {"baseline": "mean", "score": "logit"}, {"layer": "conv2"}],
    "ablationcam": [{}, {"layer": "conv2", "score": "probability"}],
    "reciprocam": [{}, {"score": "probability"}],
}
CASES = [(name, options) for name, several in FEW.items() for options in several]


every_case = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{name} {i}" for i, (name, _) in enumerate(CASES)]
)


def test_every_sampled_method_is_here() -> None:
    assert {name for name, _ in CASES} | {"drise", "vit_reciprocam"} == set(SAMPLED)


@every_case
def test_many_pictures_with_their_targets_give_what_the_explainer_gives(
    name: str, options: dict[str, Any]
) -> None:
    graph, found = compared(convolutional(), name, options, (2, -1, 0))
    values = found[value_name(0, 0)]
    assert not np.allclose(values[0], values[1], rtol=0.05), "all pictures have one map"
    kinds = {value.name: value.type.tensor_type for value in graph.graph.output}
    for output, value in found.items():
        declared = [d.dim_value or None for d in kinds[output].shape.dim]
        assert declared == [None, *value.shape[1:]], output


@every_case
def test_one_picture(name: str, options: dict[str, Any]) -> None:
    compared(convolutional(), name, options, (-2,))


@every_case
def test_the_model_stands_once_in_the_file(name: str, options: dict[str, Any]) -> None:
    net, method = convolutional(), made(name, options)
    plan, scene = planned(net, method)
    graph = checked(plan, scene).graph
    own = {one.name: one for one in plan.lowered.proto.graph.initializer}
    stored = list(weights(ModelProto(graph=graph)))
    contents = [one.raw_data for one in stored if numpy_helper.to_array(one).size > 40]
    assert len(set(contents)) == len(contents), "an array is stored twice"
    for weight in ("kernel1", "kernel2", "rows"):
        assert sum(one.name == weight for one in stored) == 1
    (loop,) = (node for node in graph.node if node.op_type == "Loop")
    body = loop.attribute[0].g
    inside = {one.name for one in body.initializer} & own.keys()
    outside = {one.name for one in graph.initializer} & own.keys()
    if not method.changes_layer:
        assert inside.issuperset(["kernel1", "kernel2"])
        assert not outside
    else:
        assert outside >= {"kernel1"}
        assert inside >= {"rows"}
    convs = [node for part in all_graphs(graph) for node in part.node if node.op_type == "Conv"]
    assert len(convs) == 2 or method.needs_gradient  # gradients are convolutions too


def test_other_tensors_of_the_model_leave_the_graph_where_the_plan_names_them() -> None:
    net, names = convolutional(), ["y", "conv1", "pooled"]
    for name in ("occlusion", "ablationcam"):
        plan, scene = planned(net, made(name, {}), names)
        graph = checked(plan, scene)
        assert [value.name for value in graph.graph.output][:4] == [*names, value_name(0, 0)]
        feeds = {"x": net.samples, parameter(0, "code"): np.array([0, 1, 2])}
        found = outputs_of(graph, feeds)
        own = outputs_of(with_outputs(plan.model, names).proto, {"x": net.samples})
        for tensor in names:
            assert_allclose(found[tensor], own[tensor], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["occlusion", "scorecam", "smoothgrad", "ablationcam"])
def test_a_graph_of_one_batch_size(name: str) -> None:
    graph, _ = compared(convolutional(), name, FEW[name][0], (2, -1, 0), batch=3)
    for value in graph.graph.input:
        assert value.type.tensor_type.shape.dim[0].dim_value == 3


def test_ranks_are_those_of_the_picture_itself_in_all_rounds() -> None:
    """The class of the highest score of a changed picture is often another one."""
    net = convolutional()
    method = made("occlusion", {"window": 19, "stride": 10, "fill": "white"})
    plan, scene = planned(net, method, target=Class(-2))
    feeds = {"x": net.samples, parameter(0, "code"): np.array([-1, -2, -1])}
    found = outputs_of(checked(plan, scene), feeds)
    order = np.argsort(-found["y"], axis=1)
    ranked = [order[0, 0], order[1, 1], order[2, 0]]
    assert found[settled_name("code")].tolist() == ranked
    filled = net.explainer.preprocess.color(255, 255, 255)[:, None, None]
    covered = np.broadcast_to(filled, net.samples.shape).astype(np.float32)
    assert (run(net.model, {"x": covered})[0].argmax(axis=1) != order[:, 0]).any()


def alive(channels: Sequence[int]) -> Net:
    """Of its 6 channels only the first `channels[i]` vary in picture i; the model is a scale."""
    picture = noise(len(channels), 6, 5, 7, seed=2)
    for one, count in zip(picture, channels, strict=True):
        one[count:] = one[count:, :1, :1] * (np.arange(6 - count)[:, None, None] % 2)
    body = (
        "a = Mul(x, one) b = Identity(a) p = GlobalAveragePool(b) f = Flatten(p) t = Tanh(f)"
        "  y = MatMul(t, w)"
    )
    model = tiny(body, "float[N,6,5,7] x", "float[N,3] y", one=np.float32(1), w=noise(6, 3))
    return Net(model, picture, {})


@pytest.mark.parametrize("channels", [(3,), (1, 4, 3), (6, 2), (0, 2)])
def test_constant_channels_cost_no_round(channels: Sequence[int], tmp_path: Path) -> None:
    net = alive(channels)
    for name, options, least in (("scorecam", {"baseline": "zeros"}, 2), ("ablationcam", {}, 1)):
        method = made(name, {**options, "layer": "b"})
        plan, scene = planned(net, method)
        graph = checked(plan, scene)
        feeds = {"x": net.samples, parameter(0, "code"): np.arange(len(channels)) % 3}
        found = outputs_of(graph, feeds)[value_name(0, 0)]
        for i in range(len(channels)):
            expected = net.explainer.attribute(net.samples[i : i + 1], method, i % 3).values[0]
            assert_allclose(found[i], expected, atol=1e-5 * np.abs(expected).max())
        varied = [np.ptp(one, axis=(1, 2)) > 0 for one in net.samples]
        if name == "ablationcam":
            varied = [one.any(axis=(1, 2)) for one in net.samples]
        assert runs_of("Tanh", graph, feeds, tmp_path) == least + max(v.sum() for v in varied)


def runs_of(op: str, graph: ModelProto, feeds: Mapping[str, Array], folder: Path) -> int:
    """How often ONNX Runtime runs the nodes of an operator."""
    options = ort.SessionOptions()
    options.enable_profiling, options.log_severity_level = True, 4
    options.profile_file_prefix = str(folder / "profile")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    session.run(None, dict(feeds))
    events = json.loads(Path(session.end_profiling()).read_text())
    return sum(
        one.get("args", {}).get("op_name") == op and one["name"].endswith("_kernel_time")
        for one in events
    )


ODD: dict[str, tuple[Net, str, dict[str, Any]]] = {
    "a signal": (
        Net(
            tiny(
                "a = Conv<pads=[1,1]>(x, k) b = Tanh(a) p = GlobalAveragePool(b) f = Flatten(p)"
                "  y = MatMul(f, w)",
                "float[N,2,17] x",
                "float[N,3] y",
                k=noise(4, 2, 3),
                w=noise(4, 3),
            ),
            noise(2, 2, 17, seed=3),
            {},
        ),
        "occlusion rise sobol hsic blur_ig smoothgrad reciprocam integrated_gradients",
        {"fill": "zeros", "baseline": "blur"},
    ),
    "a row of features": (
        Net(
            tiny(
                "a = MatMul(x, k) b = Tanh(a) y = MatMul(b, w)",
                "float[N,9] x",
                "float[N,3] y",
                k=noise(9, 5),
                w=noise(5, 3),
            ),
            noise(2, 9, seed=3),
            {},
        ),
        "occlusion rise sobol hsic smoothgrad integrated_gradients",
        {"fill": "mean", "baseline": "zeros"},
    ),
    "channels last": (
        Net(
            tiny(
                "t = Transpose<perm=[0,3,1,2]>(x) a = Conv<pads=[1,1,1,1]>(t, k) b = Tanh(a)"
                "  p = GlobalAveragePool(b) f = Flatten(p) y = MatMul(f, w)",
                "float[N,9,8,3] x",
                "float[N,3] y",
                k=noise(4, 3, 3, 3),
                w=noise(4, 3),
            ),
            noise(2, 9, 8, 3, seed=3),
            {"preprocess": {"layout": "NHWC", "scale": 1, "mean": 0, "std": 1}},
        ),
        "occlusion rise blur_ig smoothgrad scorecam ablationcam integrated_gradients",
        {"fill": "blur", "baseline": "mean", "layer": "b"},
    ),
    "integers": (
        Net(
            tiny(
                "h = Cast<to=1>(x) a = Conv<pads=[1,1,1,1]>(h, k) b = Sigmoid(a)"
                "  p = GlobalAveragePool(b) f = Flatten(p) y = MatMul(f, w)",
                "uint8[N,3,9,8] x",
                "float[N,3] y",
                k=noise(4, 3, 3, 3) / 100,
                w=noise(4, 3),
            ),
            np.random.default_rng(0).integers(0, 256, (2, 3, 9, 8), np.uint8),
            {"preprocess": {"layout": "NCHW", "scale": 1, "mean": 0, "std": 1}},
        ),
        "occlusion rise smoothgrad scorecam reciprocam integrated_gradients",
        {"fill": "gray", "baseline": "mean", "layer": "b"},
    ),
    "a layer of one channel": (
        Net(
            tiny(
                "a = Conv<pads=[1,1,1,1]>(x, k) b = Tanh(a)  f = Flatten(b) y = MatMul(f, w)",
                "float[N,3,4,5] x",
                "float[N,3] y",
                k=noise(1, 3, 3, 3),
                w=noise(20, 3),
            ),
            noise(2, 3, 4, 5, seed=3),
            {"preprocess": {"layout": "NCHW", "scale": 1, "mean": 0, "std": 1}},
        ),
        "scorecam reciprocam",
        {"baseline": "zeros", "layer": "b"},
    ),
    "half floats": (
        Net(
            tiny(
                "h = Cast<to=1>(x) a = Conv<pads=[1,1,1,1]>(h, k) b = Tanh(a)"
                "  p = GlobalAveragePool(b) f = Flatten(p) z = MatMul(f, w) y = Cast<to=10>(z)",
                "float16[N,3,9,8] x",
                "float16[N,3] y",
                k=noise(4, 3, 3, 3),
                w=noise(4, 3),
            ),
            noise(2, 3, 9, 8, seed=3).astype(np.float16),
            {"preprocess": {"layout": "NCHW", "scale": 1, "mean": 0, "std": 1}},
        ),
        "occlusion scorecam ablationcam",
        {"fill": "mean", "baseline": "zeros", "layer": "b"},
    ),
    "an old opset": (
        Net(
            tiny(
                "a = Conv<pads=[1,1,1,1]>(x, k) b = Tanh(a) s = ReduceMean<axes=[2,3]>(b)"
                "  f = Squeeze<axes=[2,3]>(s) z = MatMul(f, w) y = Softmax(z)",
                "float[N,3,9,8] x",
                "float[N,3] y",
                opset=9,
                ir=4,
                k=noise(4, 3, 3, 3),
                w=noise(4, 3),
            ),
            noise(2, 3, 9, 8, seed=3),
            {"preprocess": {"layout": "NCHW", "scale": 1, "mean": 0, "std": 1}},
        ),
        "occlusion scorecam ablationcam integrated_gradients rise",
        {"fill": "mean", "baseline": "zeros", "layer": "b"},
    ),
    "a layer of integers": (
        Net(
            tiny(
                "a = Conv(x, k)  q = QuantizeLinear(a, step, zero)"
                "m = MaxPool<kernel_shape=[1,1]>(q)  d = DequantizeLinear(m, step, zero)"
                "p = GlobalAveragePool(d)  f = Flatten(p)  y = MatMul(f, w)",
                k=noise(4, 3, 3, 3),
                w=noise(4, 2),
                step=np.array(0.05, np.float32),
                zero=np.array(110, np.uint8),
            ),
            noise(2, 3, 8, 8),
            {},
        ),
        "ablationcam reciprocam scorecam",
        {"layer": "m", "baseline": "zeros"},
    ),
    "a way around the layer, and a subgraph": (
        Net(
            tiny(
                """h = Conv<pads=[1,1,1,1]>(x, k) a = Tanh(h) c = Add(a, h)
                s = ReduceSum<keepdims=0>(k)
                big = Greater(s, zero)
                d = If (big) <then_branch = yes () => (float[N,C,H,W] u) { u = Mul(c, two) },
                             else_branch = no () => (float[N,C,H,W] v) { v = Sub(c, h) }>
                p = GlobalAveragePool(d) f = Flatten(p) y = MatMul(f, w)""",
                k=noise(4, 3, 3, 3),
                w=noise(4, 2),
                zero=np.float32(0),
                two=np.float32(2),
            ),
            noise(2, 3, 8, 8),
            {},
        ),
        "ablationcam reciprocam scorecam occlusion integrated_gradients",
        {"layer": "a", "baseline": "zeros", "fill": "zeros"},
    ),
}
SHORT: dict[str, dict[str, Any]] = {
    "rise": {"samples": 7},
    "smoothgrad": {"samples": 3},
    "blur_ig": {"steps": 4, "max_sigma": 2.0},
    "integrated_gradients": {"steps": 3},
    "occlusion": {},
}


@pytest.mark.parametrize(
    ("what", "name"),
    [(what, name) for what, (_, names, _) in ODD.items() for name in names.split()],
)
def test_other_inputs_and_layers(what: str, name: str) -> None:
    net, _, known = ODD[what]
    kind = METHODS[name]
    own = {key: value for key, value in known.items() if key in options_of(kind)}
    codes = (1, -1)
    compared(net, name, {**own, **SHORT.get(name, {})}, codes)


AS_IT_IS = Preprocess(size=(SIDE, SIDE), scale=1 / 255, fit="stretch")


@pytest.mark.parametrize("name", ["drise", "occlusion", "integrated_gradients"])
def test_boxes_of_a_detector(name: str) -> None:
    """Changed pictures are scored by the best box; gradients follow the row of the box."""
    options = {
        "drise": {"samples": 12, "grid": 4},
        "occlusion": {"window": 24, "stride": 12},
        "integrated_gradients": {"steps": 4},
    }[name]
    x = np.moveaxis(picture(), -1, 0)[None].astype(np.float32) / 255
    samples = np.concatenate([x, x[..., ::-1, :], x])
    net = Net(detector(metadata=True), samples, {"preprocess": AS_IT_IS})
    pictures = (255 * np.moveaxis(samples, 1, -1)).astype(np.uint8)
    boxes = [net.explainer.detections(np.ascontiguousarray(one)) for one in pictures]
    targets = [boxes[0][0], boxes[1][1], boxes[2][2]]
    method = made(name, options)
    plan, scene = planned(net, method, target=targets[0])
    feeds = {"x": net.samples, **plan.scored.feeds([[one] for one in targets])}
    found = outputs_of(checked(plan, scene), feeds)[value_name(0, 0)]
    for i, target in enumerate(targets):
        expected = net.explainer.attribute(net.samples[i : i + 1], method, target).values[0]
        assert_allclose(found[i], expected, atol=1e-5 * np.abs(expected).max())
        assert np.ptp(expected) > 0.05 * np.abs(expected).max()


MODELS = Path(__file__).parents[2] / "models"
SHIPPED: list[tuple[str, str, dict[str, Any], float]] = [
    ("squeezenet1_1", "scorecam", {"layer": "fire8/squeeze1x1/relu"}, 1e-5),
    ("squeezenet1_1", "occlusion", {"window": 80, "stride": 60}, 1e-5),
    ("squeezenet1_1", "rise", {"samples": 12}, 1e-5),
    ("squeezenet1_1", "integrated_gradients", {"steps": 3}, 3e-3),
    ("squeezenet1_1", "smoothgrad", {"samples": 3}, 3e-3),
    ("squeezenet1_1", "ablationcam", {}, 1e-5),
    ("squeezenet1_1", "reciprocam", {}, 1e-5),
    ("digit_vit", "occlusion", {}, 1e-5),
    ("digit_vit", "rise", {"samples": 12}, 1e-5),
    ("digit_vit", "integrated_gradients", {"steps": 3}, 1e-5),
    ("digit_vit", "blur_ig", {"steps": 3, "max_sigma": 3.0}, 1e-5),
    ("digit_vit", "smoothgrad", {"samples": 3}, 1e-5),
    ("digit_vit", "vargrad", {"samples": 3}, 1e-5),
    ("digit_vit", "ablationcam", {}, 1e-5),
    ("digit_vit", "vit_reciprocam", {}, 1e-5),
]
"""SqueezeNet has rectifiers and pools with kinks, where its gradients depend on the last bit."""

PICTURES = {
    "squeezenet1_1": ["pictures/chelsea.png", "pictures/coffee.png", "pictures/camera.png"],
    "digit_vit": sorted((MODELS / "scenes").glob("*.png"))[:3],
}


@functools.cache
def shipped(name: str) -> Net:
    """A shipped model, on shipped pictures."""
    explainer = Explainer(MODELS / f"{name}.onnx", provider="cpu")
    samples = explainer.samples([MODELS / path for path in PICTURES[name]])
    return Net(MODELS / f"{name}.onnx", np.concatenate(samples), {})


@pytest.mark.parametrize(("model", "name", "options", "tolerance"), SHIPPED)
def test_shipped_models(model: str, name: str, options: dict[str, Any], tolerance: float) -> None:
    compared(shipped(model), name, options, (-1, 3, 7), tolerance)


@pytest.mark.parametrize(
    ("name", "options", "kind", "sentence"),
    [
        (
            "integrated_gradients",
            {"tolerance": 0.01},
            OptionError,
            "integrated_gradients with a tolerance takes more steps",
        ),
        (
            "scorecam",
            {"layer": "conv1,conv2"},
            LayerError,
            "A graph of scorecam holds the map of one layer, and 2 were chosen",
        ),
        ("smooth_gradcam++", {"layer": "all"}, LayerError, "name one layer"),
    ],
)
def test_what_no_graph_can_hold_is_refused(
    name: str, options: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        in_rounds(*planned(convolutional(), made(name, options)))
