"""Batches give the results of single runs: proved or not, fixed or dynamic, small or large.

The methods used are occlusion over the whole model and Ablation-CAM over a head. Expected values
come from single runs of the unchanged model by plain ONNX Runtime.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from references.layer import ablationcam
from references.perturbation import occlusion
from tiny import Array, noise, run, tiny

from onnxplain import Explainer
from onnxplain.errors import ModelError, OptionError
from onnxplain.execution import runner
from onnxplain.runtime import backend, batching
from onnxplain.runtime.session import OutOfMemoryError, Session
from onnxplain.transforms.extract import head
from tools.cases.onnx_calls import part

X = noise(1, 3, 8, 8)
WINDOW = {"window": 3, "stride": 2, "fill": "zeros", "target": 1}
WINDOWS = 16  # 4 x 4 of them

WEIGHTS = {
    "KERNEL": noise(4, 3, 3, 3),
    "SECOND": noise(4, 4, 3, 3, seed=1),
    "CLASSES": noise(4, 2),
    "WIDE": noise(7, 2),
    "DENSE": noise(8, 2),
    "ONE": np.array([1, -1]),
    "MANY": np.array(1e6, np.float32),
}

CONV = "a = Conv<pads=[1,1,1,1], strides=[2,2]>(x, KERNEL)  b = Relu(a)"
POOL = "p = GlobalAveragePool({})  f = Flatten(p)  y = MatMul(f, CLASSES)"
PLAIN = CONV + POOL.format("b")


def build(nodes: str, inputs: str = "float[N,3,8,8] x", opset: int = 17) -> ModelProto:
    read = set(re.findall(r"[A-Z]{3,}", nodes))
    constants = {name: value for name, value in WEIGHTS.items() if name in read}
    return tiny(nodes, inputs, "float[M,2] y", opset=opset, **constants)


def alone(proto: ModelProto, size: int = 1, **others: Array) -> Callable[[Array], float]:
    """Score of a sample that is run alone, or repeated if the model requires a fixed batch."""
    return lambda x: float(run(proto, {"x": np.repeat(x, size, axis=0), **others})[0][0, 1])


def expected_occlusion(score: Callable[[Array], float], x: Array = X) -> Array:
    channels = x.shape[1]
    window, stride = (channels, 3, 3), (channels, 2, 2)
    return occlusion(x, score, window, stride, np.zeros_like(x))


def explained(proto: ModelProto, x: Array = X, **more: Any) -> tuple[Explainer, Array]:
    explainer = Explainer(proto, provider="cpu", **more)
    return explainer, explainer.attribute(x, "occlusion", **WINDOW).values


def how(explainer: Explainer) -> str:
    return explainer.batching(X)


# name: (nodes, inputs, how it is run)
MODELS = {
    "any batch": (PLAIN, "float[N,3,8,8] x", "in batches"),
    "a batch of 1 that is only declared": (PLAIN, "float[1,3,8,8] x", "rewritten"),
    "a batch of 1 in a constant": (
        CONV + "p = GlobalAveragePool(b)  f = Reshape(p, ONE)  y = MatMul(f, CLASSES)",
        "float[1,3,8,8] x",
        "rewritten",
    ),
    "a batch of 1 that only the constant knows": (
        CONV + "p = GlobalAveragePool(b)  f = Reshape(p, ONE)  y = MatMul(f, CLASSES)",
        "float[N,3,8,8] x",
        "rewritten",
    ),
    "statistics of the batch": (
        CONV + "m = ReduceMean<axes=[0,2,3]>(b)  c = Sub(b, m)  d = Mul(c, c)" + POOL.format("d"),
        "float[N,3,8,8] x",
        "one by one",
    ),
    "no batch at all": (
        CONV + "p = GlobalAveragePool(b)  s = Squeeze(p)  u = MatMul(s, CLASSES)"
        "z = Constant<value_ints=[0]>()  y = Unsqueeze(u, z)",
        "float[N,3,8,8] x",
        "one by one",
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_size", [None, 1, 3, 64])
def test_answers_are_those_of_single_runs(name: str, batch_size: int | None) -> None:
    nodes, inputs, expected = MODELS[name]
    proto = build(nodes, inputs)
    explainer, values = explained(proto, batch_size=batch_size)
    np.testing.assert_allclose(values, expected_occlusion(alone(proto)), atol=1e-5)
    assert expected in how(explainer)


def test_one_scale_for_the_whole_batch_is_no_batch() -> None:
    nodes = (
        CONV
        + "q, s, z = DynamicQuantizeLinear(b)  d = DequantizeLinear(q, s, z)"
        + POOL.format("d")
    )
    explainer, values = explained(build(nodes), batch_size=8)
    assert "one by one: the model quantizes by the range of the whole batch" in how(explainer)
    alike, single = explained(build(nodes), batch_size=1)
    assert how(alike) == how(explainer)
    np.testing.assert_array_equal(values, single)


def test_a_branch_that_the_whole_batch_takes_is_no_batch() -> None:
    """The samples that the batch is tried with may all take the same branch by chance."""
    nodes = (
        CONV
        + "m = ReduceMean<keepdims=0>(b)  t = Greater(m, MANY)"
        + "c = If(t) <then_branch = g1 () => (u) { u = Relu(b) }, "
        + "else_branch = g2 () => (v) { v = Neg(b) }>"
        + POOL.format("c")
    )
    proto = build(nodes)
    explainer, values = explained(proto, batch_size=8)
    assert "one by one: the model takes the same branch for the whole batch" in how(explainer)
    np.testing.assert_allclose(values, expected_occlusion(alone(proto)), atol=1e-5)


@pytest.mark.parametrize("x", [np.zeros_like(X), np.ones_like(X)], ids=["black", "white"])
def test_a_picture_of_one_color_proves_nothing(x: Array) -> None:
    """It is its own mirror image: three copies of a sample give the same however they mix."""
    proto = build(*MODELS["statistics of the batch"][:2])
    explainer = Explainer(proto, provider="cpu")
    explainer.attribute(x, "occlusion", **WINDOW)
    assert "one by one" in how(explainer)
    values = explainer.attribute(X, "occlusion", **WINDOW).values
    np.testing.assert_allclose(values, expected_occlusion(alone(proto)), atol=1e-5)


@pytest.mark.parametrize("size", [2, 4, 32])
@pytest.mark.parametrize("layer", [False, True])
def test_a_fixed_batch_is_filled_up(size: int, layer: bool) -> None:
    proto = build(PLAIN, f"float[{size},3,8,8] x")
    free = build(PLAIN)
    explainer = Explainer(proto, provider="cpu", batch_size=3)
    if layer:
        values = explainer.attribute(X, "ablationcam", layer="b", target=1).values[0]
        expected = expected_ablation(free, "b")
    else:
        values = explainer.attribute(X, "occlusion", **WINDOW).values
        expected = expected_occlusion(alone(free))
    np.testing.assert_allclose(values, expected, atol=1e-4)
    assert how(explainer) == f"the model fixes a batch of {size}"


@pytest.mark.parametrize("inputs", ["float[N,3,H,W] x", "float[1,3,H,W] x", None])
def test_sizes_that_differ_from_picture_to_picture(inputs: str | None) -> None:
    free = build(PLAIN, "float[N,3,H,W] x")
    proto = free if inputs is None else build(PLAIN, inputs)
    if inputs is None:
        proto.graph.input[0].type.tensor_type.ClearField("shape")
    explainer = Explainer(proto, provider="cpu")
    for shape in ((1, 3, 8, 8), (1, 3, 9, 13), (1, 3, 8, 8)):
        x = noise(*shape)
        values = explainer.attribute(x, "occlusion", **WINDOW).values
        np.testing.assert_allclose(values, expected_occlusion(alone(free), x), atol=1e-5)


EXTRA = {
    # name: (nodes; inputs; the other's value; how)
    "a number": (PLAIN.replace("(f,", "(g,").replace("y =", "g = Mul(f, t)  y ="),
                 "float[N,3,8,8] x, float t", np.array(3, np.float32), "in batches"),
    "a vector of one, for all": (
        PLAIN.replace("(f,", "(g,").replace("y =", "g = Mul(f, t)  y ="),
        "float[N,3,8,8] x, float[1] t", np.array([3], np.float32), "in batches"),
    "a row for each sample": (
        PLAIN.replace("(f,", "(g,").replace("CLASSES", "WIDE")
        .replace("y =", "g = Concat<axis=1>(f, t)  y ="),
        "float[N,3,8,8] x, float[N,3] t", noise(1, 3), "in batches"),
    "a row for the only sample": (
        PLAIN.replace("(f,", "(g,").replace("CLASSES", "WIDE")
        .replace("y =", "g = Concat<axis=1>(f, t)  y ="),
        "float[1,3,8,8] x, float[1,3] t", noise(1, 3), "rewritten"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTRA)
@pytest.mark.parametrize("batch_size", [None, 5])
def test_other_inputs(name: str, batch_size: int | None) -> None:
    nodes, inputs, value, expected = EXTRA[name]
    proto = build(nodes, inputs)
    explainer, values = explained(proto, inputs={"t": value}, batch_size=batch_size)
    np.testing.assert_allclose(values, expected_occlusion(alone(proto, t=value)), atol=1e-5)
    assert expected in how(explainer)


def test_an_input_that_was_forgotten() -> None:
    proto = build(EXTRA["a number"][0], EXTRA["a number"][1])
    with pytest.raises(ModelError, match=r"--input t=VALUE"):
        explained(proto)


# name: (nodes; the layer)
HEADS = {
    "a block with a shortcut": (
        CONV + "c = Conv<pads=[1,1,1,1]>(b, SECOND)  d = Add(c, b)" + POOL.format("d"),
        "c",
    ),
    "the beginning of such a block": (
        CONV + "c = Conv<pads=[1,1,1,1]>(b, SECOND)  d = Add(c, a)" + POOL.format("d"),
        "b",
    ),
    "one branch of two": (
        CONV + "c = Conv<pads=[1,1,1,1]>(b, SECOND)  d = Concat<axis=1>(c, b)"
        "p = GlobalAveragePool(d)  f = Flatten(p)  y = MatMul(f, DENSE)",
        "c",
    ),
    "beside the picture itself": (
        CONV + "p = GlobalAveragePool(b)  q = GlobalAveragePool(x)  r = Concat<axis=1>(p, q)"
        "f = Flatten(r)  y = MatMul(f, WIDE)",
        "b",
    ),
    "behind sizes": (
        CONV + "s = Shape(a)  e = Relu(b)  c = Reshape(e, s)" + POOL.format("c"),
        "b",
    ),
}


def expected_ablation(proto: ModelProto, layer: str, x: Array = X) -> Array:
    """With the layer as an additional input, next to the picture."""
    activation = part(proto, "x", layer)(x)[0]
    changed = ModelProto()
    changed.CopyFrom(proto)
    for node in changed.graph.node:
        if node.output[0] == layer:
            node.output[0] = "unused"
    changed.graph.input.add(name=layer).type.CopyFrom(changed.graph.input[0].type)
    changed.graph.input[-1].type.tensor_type.ClearField("shape")

    def score(a: Array) -> float:
        return float(run(changed, {"x": x, layer: a.astype(np.float32)})[0][0, 1])

    return ablationcam(activation, score)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_heads(name: str, batch: str | int, batch_size: int | None) -> None:
    nodes, layer = HEADS[name]
    proto = build(nodes, f"float[{batch},3,8,8] x")
    explainer = Explainer(proto, provider="cpu", batch_size=batch_size)
    values = explainer.attribute(X, "ablationcam", layer=layer, target=1).values
    np.testing.assert_allclose(values[0], expected_ablation(build(nodes), layer), atol=1e-4)


def test_heads_of_pictures_of_many_sizes_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head holds a copy of the weights."""
    cut = []
    monkeypatch.setattr(runner, "head", lambda *given: cut.append(given) or head(*given))
    explainer = Explainer(build(HEADS["one branch of two"][0], "float[N,3,H,W] x"), provider="cpu")
    for size in range(8, 16):
        explainer.attribute(noise(1, 3, size, size), "ablationcam", layer="c", target=1)
    assert len(cut) == 1
    assert explainer.open_sessions <= 8


def limited(monkeypatch: pytest.MonkeyPatch, memory: int) -> list[int]:
    """Let runs of more than `memory` samples fail, and record the sizes that were tried."""
    tried = []
    real = Session.run

    def run_in_little_memory(self: Session, feeds: Any, outputs: Any = None) -> list[Array]:
        arrays = [v if isinstance(v, np.ndarray) else v.numpy() for v in feeds.values()]
        size = max(len(array) for array in arrays if array.ndim)
        tried.append(size)
        if size > memory:
            raise OutOfMemoryError("The device has not enough memory.")
        return real(self, feeds, outputs)

    monkeypatch.setattr(Session, "run", run_in_little_memory)
    return tried


@pytest.mark.parametrize("layer", [False, True])
@pytest.mark.parametrize("batch_size", [None, 16])
def test_batches_are_halved_until_they_fit(
    layer: bool, batch_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = HEADS["one branch of two"][0]
    proto = build(nodes)
    tried = limited(monkeypatch, 3)
    explainer = Explainer(proto, provider="cpu", batch_size=batch_size)
    if layer:
        values = explainer.attribute(X, "ablationcam", layer="c", target=1).values[0]
        expected = expected_ablation(proto, "c")
    else:
        values = explainer.attribute(X, "occlusion", **WINDOW).values
        expected = expected_occlusion(alone(proto))
    np.testing.assert_allclose(values, expected, atol=1e-4)
    assert sum(size > 3 for size in tried) <= (1 if batch_size is None else 3)


def test_no_memory_for_even_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 0)
    with pytest.raises(ModelError, match="not enough memory"):
        explained(build(PLAIN))


@pytest.mark.parametrize(("batch_size", "batches"), [(1, 16), (3, 6), (16, 1), (64, 1)])
def test_runs(batch_size: int, batches: int) -> None:
    explainer, _ = explained(build(PLAIN), batch_size=batch_size)
    # One for the score; four to prove that batches are right: three single runs and one batch.
    assert explainer.session_runs == 1 + 4 + batches
    explainer.attribute(X, "occlusion", **WINDOW)
    assert explainer.session_runs == 1 + 4 + batches + 1 + batches


def test_a_model_that_takes_no_batches_is_run_once_per_sample() -> None:
    explainer, _ = explained(build(*MODELS["no batch at all"][:2]), batch_size=8)
    assert explainer.session_runs >= 1 + 3 + WINDOWS
    before = explainer.session_runs
    explainer.attribute(X, "occlusion", **WINDOW)
    assert explainer.session_runs == before + 1 + WINDOWS


def test_the_batch_size_found_is_kept_for_the_next_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(backend, "cores", lambda: 1)
    monkeypatch.setattr(batching.time, "perf_counter", lambda: next(clock))  # equal times
    explainer, _ = explained(build(PLAIN))
    before = explainer.session_runs
    explainer.attribute(X, "occlusion", **WINDOW)
    assert explainer.session_runs - before <= 1 + 2


@pytest.mark.parametrize(
    ("samples", "held", "cores", "batch_size", "expected"),
    [
        (8, 0, 4, None, 4),
        (7, 0, 4, None, 1),  # too few for all cores
        (8, 0, 4, 8, 1),
        (99, 2**31, 4, None, 2),
        (99, 2**40, 4, None, 1),
        (99, 0, 1, None, 1),
        (999, 0, 200, None, 16),
    ],
)
def test_how_many_runs_go_on_at_once(
    samples: int,
    held: int,
    cores: int,
    batch_size: int | None,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "cores", lambda: cores)
    explainer = Explainer(build(PLAIN), provider="cpu", batch_size=batch_size)
    assert explainer._runner.at_once(samples, held) == expected


FASTEST = "in batches of the fastest size"


@pytest.mark.parametrize(
    ("method", "batch", "batch_size", "cores", "way"),
    [
        ("occlusion", "N", None, 1, FASTEST),
        ("occlusion", "N", None, 2, f"{FASTEST}, up to 2 runs at the same time"),
        ("occlusion", "N", 3, 2, "in batches of 3"),
        ("occlusion", "N", 1, 2, "one sample in each run"),
        ("occlusion", 4, None, 1, "in batches of 4 (the model fixes this size)"),
        ("occlusion", 1, 8, 1, "in batches of 8 (the fixed batch of 1 rewritten)"),
        ("smoothgrad", "N", None, 2, "one sample in each run, up to 2 runs at the same time"),
        ("smoothgrad", "N", 3, 2, "in batches of 3"),
        ("guided_ig", "N", None, 2, "one sample in each run"),
        ("gradient", "N", None, 2, ""),
    ],
)
def test_a_manifest_says_how_samples_were_run(
    method: str,
    batch: str | int,
    batch_size: int | None,
    cores: int,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "cores", lambda: cores)
    proto = build(PLAIN, f"float[{batch},3,8,8] x")
    explainer = Explainer(proto, provider="cpu", batch_size=batch_size)
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    options = {"occlusion": WINDOW, "smoothgrad": {"samples": 16}, "guided_ig": {"steps": 4}}
    found = explainer.explain(picture, method, **options.get(method, {}))
    assert found.provenance.batching == way


def test_a_manifest_says_that_a_model_takes_no_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "cores", lambda: 2)
    explainer = Explainer(build(*MODELS["no batch at all"][:2]), provider="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    found = explainer.explain(picture, "occlusion", **WINDOW)
    assert found.provenance.batching == (
        "one sample in each run, up to 2 runs at the same time (the model does not take batches)"
    )


def test_a_score_without_a_batch_axis() -> None:
    proto = tiny("y = ReduceSum<keepdims=0>(x)", outputs="float y")
    with pytest.raises(ModelError, match="'y' holds one number for all samples"):
        explained(proto)


def test_a_batch_size_that_is_none() -> None:
    with pytest.raises(OptionError, match="at least 1"):
        Explainer(build(PLAIN), provider="cpu", batch_size=0)
