"""LRP's rules against the papers' formulas, what is conserved, and which nodes form one layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper
from tiny import Array, noise, run, tiny

from onnxplain import Explainer
from onnxplain.errors import GradientError, OptionError, TargetError
from onnxplain.methods.lrp import LRP
from onnxplain.targets import Similarity
from tools.cases.models import CASES as MODELS

# The formulas, for one output neuron at a time: R_i = Σ_j (what i adds to j) / (what j gets) R_j.
Rule = Callable[[Array, Array, Array], Array]
"""`rule(x, w, b)`: of inputs (I,), weights (I, J) and biases (J,) the shares (I, J)."""
LOW, HIGH, GAMMA = -2.0, 3.0, 0.25


def plus(value: Array) -> Array:
    return np.maximum(value, 0)


def minus(value: Array) -> Array:
    return np.minimum(value, 0)


def share(z: Array, total: Array) -> Array:
    """No relevance gives no relevance."""
    return np.divide(z, total, out=np.zeros_like(z), where=total != 0)


def epsilon(x: Array, w: Array, b: Array) -> Array:
    z = x[:, None] * w
    return share(z, z.sum(0) + b)


def zplus(x: Array, w: Array, b: Array) -> Array:
    z = x[:, None] * w
    return share(plus(z), plus(z).sum(0) + plus(b))


def zminus(x: Array, w: Array, b: Array) -> Array:
    z = x[:, None] * w
    return share(minus(z), minus(z).sum(0) + minus(b))


def alpha2beta1(x: Array, w: Array, b: Array) -> Array:
    return 2 * zplus(x, w, b) - zminus(x, w, b)


def gamma(x: Array, w: Array, b: Array) -> Array:
    z = x[:, None] * w
    favored = np.where(z.sum(0) + b > 0, plus(z), minus(z))
    added = np.where(z.sum(0) + b > 0, plus(b), minus(b))
    more, bias = z + GAMMA * favored, b + GAMMA * added
    return share(more, more.sum(0) + bias)


def zbox(x: Array, w: Array, b: Array) -> Array:
    z = x[:, None] * w - LOW * plus(w) - HIGH * minus(w)
    return z / z.sum(0)


def flat(x: Array, w: Array, b: Array) -> Array:
    return np.full(w.shape, 1 / len(x))


X = noise(1, 6, seed=1)
W1, B1, W2, B2 = noise(6, 5, seed=2), noise(5, seed=3), noise(5, 3, seed=4), noise(3, seed=5)
DENSE: dict[str, tuple[Rule, Rule]] = {
    "epsilon": (epsilon, epsilon),
    "zplus": (zplus, zplus),
    "alpha2beta1": (alpha2beta1, alpha2beta1),
    "gamma": (gamma, gamma),
    "zbox": (zbox, epsilon),
    "epsilon_plus": (epsilon, epsilon),
    "epsilon_plus_flat": (flat, epsilon),
    "epsilon_alpha2beta1": (epsilon, epsilon),
    "epsilon_alpha2beta1_flat": (flat, epsilon),
    "epsilon_gamma_box": (zbox, epsilon),
}
GEMM = "a = Gemm(x, W1, B1)  h = Relu(a)  y = Gemm(h, W2, B2)"
POINTWISE = (
    "p = Reshape(x, PICTURE)  a = Conv(p, K1, B1)  h = Relu(a)  c = Conv(h, K2, B2)  y = Flatten(c)"
)
KERNELS = {"K1": W1.T[..., None, None], "K2": W2.T[..., None, None]}
CONVOLUTIONS = DENSE | {
    "epsilon_plus": (zplus, zplus),
    "epsilon_plus_flat": (flat, zplus),
    "epsilon_alpha2beta1": (alpha2beta1, alpha2beta1),
    "epsilon_alpha2beta1_flat": (flat, alpha2beta1),
    "epsilon_gamma_box": (zbox, gamma),
}


def by_formula(first: Rule, second: Rule, target: int) -> Array:
    x, w1, b1, w2, b2 = (value.astype(np.float64) for value in (X[0], W1, B1, W2, B2))
    hidden = plus(x @ w1 + b1)
    score = np.zeros(3)
    score[target] = (hidden @ w2 + b2)[target]
    return first(x, w1, b1) @ (second(hidden, w2, b2) @ score)


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("composite", DENSE)
@pytest.mark.parametrize("form", ["dense", "convolutions"])
def test_the_papers_formulas(form: str, composite: str, target: int) -> None:
    if form == "dense":
        proto = tiny(GEMM, "float[N,6] x", "float[N,3] y", W1=W1, B1=B1, W2=W2, B2=B2)
    else:
        shape = {"PICTURE": np.array([-1, 6, 1, 1])}
        weights = {**KERNELS, **shape, "B1": B1, "B2": B2}
        proto = tiny(POINTWISE, "float[N,6] x", "float[N,3] y", **weights)
    rules = (DENSE if form == "dense" else CONVOLUTIONS)[composite]
    found = Explainer(proto).attribute(
        X, "lrp", target, composite=composite, epsilon=0, gamma=GAMMA, low=LOW, high=HIGH
    )
    np.testing.assert_allclose(found.values[0], by_formula(*rules, target), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", range(5))
def test_epsilon_damps(target: int) -> None:
    proto = tiny("y = MatMul(x, W1)", "float[N,6] x", "float[N,5] y", W1=W1)
    score = float((X @ W1)[0, target])
    found = Explainer(proto).attribute(X, "lrp", target, composite="epsilon", epsilon=0.5)
    damped = X[0] * W1[:, target] * score / (score + 0.5 * np.sign(score))
    np.testing.assert_allclose(found.values[0], damped, rtol=1e-5)
    diagnostics = found.diagnostics["samples"][0]
    assert diagnostics["relevance"] == pytest.approx(damped.sum(), rel=1e-5)
    assert diagnostics["conservation_gap"] == pytest.approx(damped.sum() - score, rel=1e-4)


PICTURE = noise(1, 4, 6, 6, seed=6)
WEIGHTS: dict[str, Array] = {
    "KERNEL": noise(8, 4, 3, 3, seed=3),
    "MORE": noise(8, 8, 3, 3, seed=5) / 4,
    "DEEP": noise(8, 1, 3, 3, seed=7),
    "UP": noise(8, 4, 2, 2, seed=8),
    "SQUARE": noise(8, 8, seed=9),
    "SCALE": np.abs(noise(8, seed=10)),
    "NONE": np.zeros(8, np.float32),
    "ROWS": np.array([0, 8, -1]),
    "TOKEN": np.array([1]),
    "LEVEL": np.float32(0.5),
    "MIDDLE": np.array(128, np.uint8),
    "SIX": np.float32(6),
}
CONV = "a = Conv<pads=[1,1,1,1]>(x, KERNEL)  "
TOKENS = CONV + "f = Reshape(a, ROWS)  t = Transpose<perm=[0,2,1]>(f)  "
POOLED = "  p = GlobalAveragePool(h)  y = Flatten(p)"
CONSERVED = {
    "branches": CONV + "r = Relu(a)  c = Conv<pads=[1,1,1,1]>(r, MORE)  s = Add(c, r)  "
    "h = Concat<axis=1>(s, r)" + POOLED,
    "depthwise": CONV
    + "r = Clip(a, LEVEL, SIX)  h = Conv<group=8,strides=[2,2]>(r, DEEP)"
    + POOLED,
    "pools": CONV + "m = MaxPool<kernel_shape=[3,3],strides=[2,2]>(a)  "
    "h = AveragePool<kernel_shape=[2,2]>(m)" + POOLED,
    "transposed": CONV
    + "r = Relu(a)  u = ConvTranspose<strides=[2,2]>(r, UP)  h = Relu(u)"
    + POOLED,
    "gate": CONV + "g = GlobalAveragePool(a)  s = Sigmoid(g)  h = Mul(a, s)" + POOLED,
    "swish": CONV + "s = Sigmoid(a)  h = Mul(a, s)" + POOLED,
    "scaled": CONV + "b = Mul(a, LEVEL)  h = Div(b, SIX)" + POOLED,
    "quantized": CONV + "q = QuantizeLinear(a, LEVEL, MIDDLE)  "
    "d = DequantizeLinear(q, LEVEL, MIDDLE)  h = Relu(d)" + POOLED,
    "norm": TOKENS + "n = LayerNormalization(t, SCALE, NONE)  q = MatMul(n, SQUARE)  "
    "y = ReduceMean<keepdims=0>(q, TOKEN)",
    "products of tokens": TOKENS + "k = Transpose<perm=[0,2,1]>(t)  l = MatMul(t, k)  "
    "v = MatMul(l, t)  y = ReduceMean<keepdims=0>(v, TOKEN)",
}


def model(nodes: str, size: str = "N,4,6,6") -> ModelProto:
    used = {name: value for name, value in WEIGHTS.items() if name in nodes}
    return tiny(nodes, f"float[{size}] x", "float[N,C] y", opset=18, **used)


@pytest.mark.parametrize("composite", ["epsilon", "zplus", "gamma", "epsilon_plus_flat", "zbox"])
@pytest.mark.parametrize("net", CONSERVED)
def test_without_biases_the_score_is_conserved(net: str, composite: str) -> None:
    proto = model(CONSERVED[net])
    bounds = {"low": -3.0, "high": 3.0}
    found = Explainer(proto).attribute(
        PICTURE, "lrp", 2, composite=composite, epsilon=1e-9, **bounds
    )
    score = float(run(proto, {"x": PICTURE})[0][0, 2])
    assert abs(score) > 1e-2, "the case shows nothing"
    rounding = 1e-5 * float(np.abs(found.values).sum())
    assert found.values.sum(dtype=np.float64) == pytest.approx(score, rel=1e-3, abs=rounding)


@pytest.mark.parametrize("composite", ["zplus", "epsilon_plus_flat"])
@pytest.mark.parametrize("name", ["efficientnet", "squeezenet"])
def test_the_shipped_models_without_their_biases_conserve_the_score(
    name: str, composite: str
) -> None:
    case = MODELS[name]()
    bare = ModelProto()
    bare.CopyFrom(case.model)
    biases = {node.input[2] for node in bare.graph.node if len(node.input) == 3}
    biases -= {node.input[2] for node in bare.graph.node if node.op_type == "Clip"}
    for tensor in bare.graph.initializer:
        if tensor.name in biases:
            nothing = np.zeros(tensor.dims, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(nothing, tensor.name))
    found = Explainer(bare).attribute(case.x, "lrp", case.index, composite=composite)
    diagnostics = found.diagnostics["samples"][0]
    score = diagnostics["relevance"] - diagnostics["conservation_gap"]
    assert abs(score) > 0.1, "the case shows nothing"
    assert diagnostics["relevance"] == pytest.approx(score, rel=2e-2)


MEAN, VARIANCE, SHIFT = noise(8, seed=11), np.abs(noise(8, seed=12)) + 1, noise(8, seed=13)
GAIN = (WEIGHTS["SCALE"] / np.sqrt(VARIANCE + 1e-3)).astype(np.float32)


@pytest.mark.parametrize("layer", ["Conv", "Gemm"])
def test_batch_normalization_is_part_of_the_layer_before_it(layer: str) -> None:
    bias = noise(8, seed=14)
    head = "  h = Relu(n)  p = GlobalAveragePool(h)  y = Flatten(p)" if layer == "Conv" else ""
    body = {
        "Conv": "a = Conv(x, KERNEL, B)  ",
        "Gemm": "f = Flatten(x)  a = Gemm<transB=1>(f, WIDE, B)  ",
    }[layer]
    norm = "n = BatchNormalization<epsilon=0.001>(a, SCALE, SHIFT, MEAN, VARIANCE)"
    weights = {"KERNEL": WEIGHTS["KERNEL"], "WIDE": noise(8, 144, seed=15)}
    name = "KERNEL" if layer == "Conv" else "WIDE"
    w = weights[name]
    statistics = {"SCALE": WEIGHTS["SCALE"], "SHIFT": SHIFT, "MEAN": MEAN, "VARIANCE": VARIANCE}
    head = head or "  y = Relu(n)"
    apart = tiny(
        body + norm + head, "float[N,4,6,6] x", "float[N,8] y", B=bias, **{name: w}, **statistics
    )
    rows = GAIN.reshape(-1, *[1] * (w.ndim - 1))
    one = {name: w * rows, "B": (bias - MEAN) * GAIN + SHIFT}
    whole = tiny(body + "n = Identity(a)" + head, "float[N,4,6,6] x", "float[N,8] y", **one)
    found, expected = (
        Explainer(proto).attribute(PICTURE, "lrp", 1, composite="zplus").values
        for proto in (apart, whole)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_scales_and_shifts_of_the_input_belong_to_it() -> None:
    """Preprocessing inside the model: bounds are computed through it; the mean gets no share."""
    inner = "  a = Conv(s, KERNEL)  h = Relu(a)" + POOLED
    plain = model("s = Identity(x)" + inner)
    scaled = model("c = Sub(x, LEVEL)  d = Mul(c, SIX)  s = Neg(d)" + inner)
    raw = 0.5 - PICTURE / 6
    options = {"composite": "epsilon_gamma_box"}
    expected = Explainer(plain).attribute(PICTURE, "lrp", 1, low=-4.0, high=4.0, **options)
    found = Explainer(scaled).attribute(
        raw.astype(np.float32), "lrp", 1, low=0.5 - 4 / 6, high=0.5 + 4 / 6, **options
    )
    largest = np.abs(expected.values).max()
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4 * largest)


def test_a_gate_takes_nothing() -> None:
    """x₀ x₁ shares in halves; x₀ σ(x₁) gives all to the signal x₀."""
    pair = "a = Slice(x, P0, P1, P1)  b = Slice(x, P1, P2, P1)  "
    places = {f"P{n}": np.array([n]) for n in range(3)}
    x = np.array([[2.0, 3.0]], np.float32)
    for product, expected in (
        ("y = Mul(a, b)", [3.0, 3.0]),
        ("s = Sigmoid(b)  y = Mul(s, a)", [2 / (1 + np.exp(-3.0)), 0]),
    ):
        proto = tiny(pair + product, "float[N,2] x", "float[N,1] y", **places)
        found = Explainer(proto).attribute(x, "lrp", 0).values[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def erf(x: Array) -> Array:
    return np.vectorize(math.erf)(x)


TANH_GELU = (
    "c = Pow(a, THREE)  d = Mul(c, CUBIC)  e = Add(a, d)  f = Mul(e, ROOT)  t = Tanh(f)  "
    "o = Add(t, ONE)  i = Mul(a, HALF)  h = Mul(i, o)"
)
ACTIVATIONS: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "gelu": (
        "d = Div(a, SQRT2)  e = Erf(d)  o = Add(e, ONE)  p = Mul(a, o)  h = Mul(p, HALF)",
        lambda a: a * (1 + erf(a / np.sqrt(2))) / 2,
    ),
    "gelu, halved first": (
        "i = Mul(HALF, a)  d = Mul(a, RATE)  e = Erf(d)  o = Add(ONE, e)  h = Mul(o, i)",
        lambda a: a * (1 + erf(a / np.sqrt(2))) / 2,
    ),
    "gelu by tanh": (
        TANH_GELU,
        lambda a: a / 2 * (1 + np.tanh(0.79788456 * (a + 0.044715 * a**3))),
    ),
    "mish": (
        "s = Softplus(a)  t = Tanh(s)  h = Mul(a, t)",
        lambda a: a * np.tanh(np.log1p(np.exp(a))),
    ),
    "hard swish": (
        "s = Add(a, THREE)  c = Clip(s, NOTHING, SIX)  d = Div(c, SIX)  h = Mul(a, d)",
        lambda a: a * np.clip(a + 3, 0, 6) / 6,
    ),
    "square": ("h = Mul(a, a)", np.square),
}
NUMBERS = {
    "SQRT2": np.sqrt(2), "RATE": np.sqrt(0.5), "ONE": 1, "HALF": 0.5, "THREE": 3,
    "CUBIC": 0.044715, "ROOT": 0.79788456, "NOTHING": 0, "SIX": 6,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_made_of_several_nodes_passes_relevance_on(name: str) -> None:
    """As exporters write them: Φ(x) of x Φ(x) is a gate, for which no bias may absorb a share."""
    nodes, function = ACTIVATIONS[name]
    numbers = {key: np.float32(value) for key, value in NUMBERS.items() if key in nodes}
    proto = tiny(
        f"a = Gemm(x, W1, B1)  {nodes}  y = Gemm(h, W2, B2)",
        "float[N,6] x", "float[N,3] y", W1=W1, B1=B1, W2=W2, B2=B2, **numbers,
    )  # fmt: skip
    found = Explainer(proto).attribute(X, "lrp", 1, composite="epsilon", epsilon=0)
    x, w1, b1, w2 = (value.astype(np.float64) for value in (X[0], W1, B1, W2))
    relevance = function(x @ w1 + b1) * w2[:, 1]
    expected = epsilon(x, w1, b1) @ relevance
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-4, atol=1e-5)


def test_cp_gives_the_weights_of_attention_nothing() -> None:
    """Softmax(x k) v: all of the score goes to the tokens by their values, whatever k is."""
    nodes = (
        "k = MatMul(x, KEYS)  t = Transpose<perm=[0,2,1]>(k)  l = MatMul(x, t)  a = Softmax(l)  "
        "v = MatMul(x, VALUES)  o = MatMul(a, v)  y = ReduceMean<keepdims=0>(o, FIRST)"
    )
    keys, values = noise(4, 4, seed=20), noise(4, 3, seed=21)
    proto = tiny(
        nodes, "float[N,5,4] x", "float[N,3] y", opset=18,
        KEYS=keys, VALUES=values, FIRST=np.array([1]),
    )  # fmt: skip
    x = noise(1, 5, 4, seed=22)
    found = Explainer(proto).attribute(
        x, "lrp", 2, composite="epsilon", epsilon=1e-9, attention="cp"
    )
    tokens = x[0].astype(np.float64)
    logits = tokens @ (tokens @ keys).T
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = tokens * values[:, 2] * weights.mean(axis=0)[:, None]
    np.testing.assert_allclose(found.values[0], expected, atol=1e-5 * np.abs(expected).max())


def test_layer_normalization_is_linear_with_a_constant_divisor() -> None:
    """x times the slope of Σ R/y y, where only the mean is subtracted: x − 2 = (−1, 0, 1)."""
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    weights = {"SCALE": np.ones(3, np.float32), "NONE": np.zeros(3, np.float32)}
    nodes = "y = LayerNormalization<epsilon=0.0>(x, SCALE, NONE)"
    proto = tiny(nodes, "float[N,3] x", "float[N,3] y", **weights)
    rate = 1 / np.sqrt(2 / 3)
    expected = x[0] * rate * np.array([-1 / 3, -1 / 3, 2 / 3])
    found = Explainer(proto).attribute(x, "lrp", 2).values[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_softmax_shares_by_its_slope() -> None:
    """x (R − y Σ R), with R = (0, y₁, 0): the score's own logit gets x₁ y₁ (1 − y₁)."""
    x = np.array([[1.0, 2.0, -1.0]], np.float32)
    proto = tiny("s = Softmax<axis=1>(x)  y = Identity(s)", "float[N,3] x", "float[N,3] y")
    y = np.exp(x[0]) / np.exp(x[0]).sum()
    expected = x[0] * y[1] * (np.array([0, 1, 0]) - y)
    found = Explainer(proto).attribute(x, "lrp", 1, score="probability")
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("error", "match", "options", "nodes"),
    [
        (GradientError, r"LRN .* no rule in lrp: use integrated", {}, "h = LRN<size=3>(a)"),
        (OptionError, r"not negative", {"epsilon": -1.0}, "h = Relu(a)"),
        (
            OptionError,
            r"one of epsilon, gamma.* as composite",
            {"composite": "best"},
            "h = Relu(a)",
        ),
        (OptionError, r"logit", {"attention": "cp", "score": "probability"}, "h = Relu(a)"),
        (TargetError, r"a class, an element", {"target": Similarity(noise(8))}, "h = Relu(a)"),
    ],
)
def test_refusals(error: type[Exception], match: str, options: dict[str, Any], nodes: str) -> None:
    target = options.pop("target", 1)
    with pytest.raises(error, match=match):
        Explainer(model(CONV + nodes + POOLED)).attribute(PICTURE, "lrp", target, **options)


@pytest.mark.parametrize("composite", ["epsilon_plus_flat", "epsilon"])
def test_the_flat_rule_at_a_dense_layer_tells_nothing_and_says_so(composite: str) -> None:
    net = tiny("y = MatMul(x, W)", "float[N,7] x", "float[N,2] y", W=noise(7, 2))
    found = Explainer(net).attribute(noise(1, 7), "lrp", 0, composite=composite)
    flat = composite.endswith("flat")
    assert (np.ptp(found.values) < 1e-6) == flat
    said = " ".join(found.diagnostics["samples"][0].get("warnings", []))
    assert ("choose a composite without flat" in said) == flat


@pytest.mark.parametrize(
    ("composite", "other"),
    [("epsilon", "epsilon_plus_flat"), ("epsilon_plus_flat", "zplus"), ("zplus", "epsilon_plus_")],
)
def test_what_gets_lost_is_blamed_on_another_composite_than_the_one_that_runs(
    composite: str, other: str
) -> None:
    leaky = np.arange(6.0).reshape(1, 6)
    diagnostics = LRP(composite=composite).diagnostics_of(leaky, 1.0, {})  # type: ignore[arg-type]
    (sentence,) = diagnostics["warnings"]
    assert (
        f"add up to 15, and the score is 1: choose another composite, such as {other}" in sentence
    )
