"""The number that is explained, for every way in which a classifier ends."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto
from scipy.special import expit, softmax
from tiny import Array, noise, run, tiny

from onnxplain.analysis.score import find_score
from onnxplain.errors import ModelError
from onnxplain.execution.answers import read
from onnxplain.model.load import load
from onnxplain.transforms.extract import with_outputs

LOGITS = np.array([[1.5, -0.5, 0.25], [-2, 0, 3]], np.float32)
QUANTIZED = {
    "scale": np.array(0.025, np.float32),
    "zero": np.array(110, np.uint8),
    "out_scale": np.array(1 / 256, np.float32),
    "out_zero": np.array(0, np.uint8),
}
SHAPES = {
    "s": np.array([0, 3]),
    "s3": np.array([0, 1, 3]),
    "s4": np.array([0, 1, 1, 3]),
    "s5": np.array([0, 3, 1, 1]),
    "axes": np.array([2, 3]),
    "last": np.array([-1]),
}
NINE, THIRTEEN = [9, 11, 12, 13, 17], [13, 17]
QUANTIZE = "q = QuantizeLinear(z, scale, zero)"
BACK = "(q, scale, zero, out_scale, out_zero)  y = DequantizeLinear(a, out_scale, out_zero)"

# name: (nodes from the logits `z` to `y`; the tensor of logits; the activation; opsets)
EXP = "a = Exp(z)  b = ReduceSum<keepdims=1>(a, last)"
SHIFTED = "m = ReduceMax<axes=[1]>(z)  d = Sub(z, m)  a = Exp(d)  b = ReduceSum(a, last)"
ONE = "one = Constant<value_float=1.0>()  a = Neg(z)  b = Exp(a)"
ENDINGS = {
    "softmax written out": (EXP + "y = Div(a, b)", "z", "softmax", THIRTEEN),
    "softmax written out, kept in range": (SHIFTED + "y = Div(a, b)", "z", "softmax", THIRTEEN),
    "log of a softmax": ("a = Softmax(z)  y = Log(a)", "z", "softmax", NINE),
    "log-softmax written out": (EXP + "c = Log(b)  y = Sub(z, c)", "z", "softmax", THIRTEEN),
    "log-softmax in range": (SHIFTED + "c = Log(b)  y = Sub(d, c)", "z", "softmax", THIRTEEN),
    "z less its norm": ("c = ReduceLogSumExp<axes=[1]>(z)  y = Sub(z, c)", "z", "softmax", NINE),
    "sigmoid written out": (ONE + "c = Add(one, b)  y = Div(one, c)", "z", "sigmoid", THIRTEEN),
    "times -1": (
        "one = Constant<value_float=1.0>()  m = Neg(one)  a = Mul(z, m)  b = Exp(a)"
        "c = Add(one, b)  y = Div(one, c)",
        "z",
        "sigmoid",
        THIRTEEN,
    ),
    "e / (1 + e)": (
        "one = Constant<value_float=1.0>()  b = Exp(z)  c = Add(one, b)  y = Div(b, c)",
        "z",
        "sigmoid",
        THIRTEEN,
    ),
    "times the reciprocal": (EXP + "c = Reciprocal(b)  y = Mul(c, a)", "z", "softmax", THIRTEEN),
    "exp of a log-softmax": ("a = LogSoftmax(z)  y = Exp(a)", "z", "softmax", NINE),
    "its reciprocal": (ONE + "c = Add(b, one)  y = Reciprocal(c)", "z", "sigmoid", THIRTEEN),
    "logits": ("y = Identity(z)", "y", "softmax", NINE),
    "logits behind a singleton": ("y = Reshape(z, s4)", "y", "softmax", NINE),
    "logits as 1x1 maps": ("y = Reshape(z, s5)", "y", "softmax", NINE),
    "softmax": ("y = Softmax(z)", "z", "softmax", NINE),
    "log-softmax": ("y = LogSoftmax(z)", "z", "softmax", NINE),
    "sigmoid": ("y = Sigmoid(z)", "z", "sigmoid", NINE),
    # Below opset 13 a Softmax flattens the axes after its axis, which is 1 by default.
    "all behind axis 1": ("q = Reshape(z, s5)  y = Softmax(q)", "q", "softmax", [9, 12]),
    "axis 1 alone": ("q = Reshape(z, s5)  y = Softmax<axis=1>(q)", "q", "softmax", NINE),
    "the last axis": ("q = Reshape(z, s3)  y = Softmax(q)", "q", "softmax", THIRTEEN),
    "reshaped, cast and renamed": (
        "q = Reshape(z, s5)  a = Softmax<axis=1>(q)  b = Flatten(a)  c = Cast<to=11>(b)"
        "d = Cast<to=1>(c)  e = Reshape(d, s)  y = Identity(e)",
        "q",
        "softmax",
        NINE,
    ),
    "squeezed": (
        "q = Reshape(z, s5)  a = Sigmoid(q)  y = Squeeze(a, axes)",
        "q",
        "sigmoid",
        THIRTEEN,
    ),
    "quantized and back": (
        "b = Softmax(z)  a = QuantizeLinear(b, out_scale, out_zero)"
        "y = DequantizeLinear(a, out_scale, out_zero)",
        "z",
        "softmax",
        THIRTEEN,
    ),
    "QLinearSoftmax": (
        QUANTIZE + "a = com.microsoft.QLinearSoftmax<axis = -1, opset = 13>" + BACK,
        "q",
        "softmax",
        THIRTEEN,
    ),
    "QLinearSigmoid": (
        QUANTIZE + "a = com.microsoft.QLinearSigmoid" + BACK,
        "q",
        "sigmoid",
        THIRTEEN,
    ),
}


@pytest.mark.parametrize(("name", "opset"), [(n, o) for n in ENDINGS for o in ENDINGS[n][3]])
def test_logits_and_probabilities(name: str, opset: int) -> None:
    nodes, logit, kind, _ = ENDINGS[name]
    proto = ending(nodes, opset)
    score = find_score(load(proto))
    assert (score.logit, score.probability) == (logit, "y")
    tolerance = 0.013 if "quantize" in nodes.lower() else 1e-5
    probabilities = {"softmax": softmax(LOGITS, 1), "sigmoid": expit(LOGITS)}[kind]
    for asked, expected in (("logit", LOGITS), ("probability", probabilities)):
        found = fetch(proto, read(score, asked, lambda _: None, (1,)).tensor)  # type: ignore[arg-type]
        reading = read(score, asked, lambda _: None, found[:1].shape)  # type: ignore[arg-type]
        got = reading.answers(found).reshape(2, 3)
        np.testing.assert_allclose(got, expected, atol=tolerance)
        assert got.dtype == np.float32


def ending(nodes: str, opset: int = 17, outputs: str = "float y") -> ModelProto:
    read = set(re.findall(r"\w+", nodes))
    constants = {k: v for k, v in (QUANTIZED | SHAPES).items() if k in read}
    return tiny(
        "z = Neg(x)" + nodes,
        "float[N,3] x",
        outputs,
        opset=opset,
        domains=["com.microsoft"],
        **constants,
    )


def fetch(proto: ModelProto, tensor: str) -> Array:
    return run(with_outputs(load(proto), [tensor]).proto, {"x": -LOGITS})[0]


@pytest.mark.parametrize("nodes", ["y = Identity(z)", "y = Sigmoid(z)"])
def test_one_number_is_the_logit_of_a_yes(nodes: str) -> None:
    proto = tiny("z = Neg(x) " + nodes, "float[N,1] x")
    found = read(find_score(load(proto)), "probability", lambda _: None, (1, 1))
    reading = replace(found, known=True)  # a single number may be of any kind until it is known
    x = noise(5, 1)
    got = reading.answers(run(proto, {"x": x}, [reading.tensor])[0])
    np.testing.assert_allclose(got, expit(-x), rtol=1e-5)


def test_scores_not_labels_though_labels_come_first() -> None:
    nodes = "y = Softmax(z)  label = ArgMax<axis=1, keepdims=0>(z)"
    proto = ending(nodes, outputs="int64[N] label, float[N,3] y")
    assert find_score(load(proto)).probability == "y"


def test_the_output_that_was_asked_for() -> None:
    proto = ending("y = Softmax(z)  e = Exp(z)", outputs="float[N,3] e, float[N,3] y")
    assert find_score(load(proto)).probability == "e"
    assert find_score(load(proto), "y").logit == "z"
    with pytest.raises(ModelError, match=r"no output 'Y' \(did you mean y\?\)"):
        find_score(load(proto), "Y")


def test_a_model_that_only_decides() -> None:
    proto = ending("label = ArgMax<axis=1>(z)", outputs="int64 label")
    with pytest.raises(ModelError, match=r"label \(int64\).*no score"):
        find_score(load(proto))


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Exp(z)  b = ReduceSum(z, last)  y = Div(a, b)",
        "a = Exp(z)  n = Neg(z)  e = Exp(n)  b = ReduceSum(e, last)  y = Div(a, b)",
        "n = Neg(z)  c = ReduceLogSumExp<axes=[1]>(n)  y = Sub(z, c)",
        "two = Constant<value_float=2.0>()  a = Neg(z)  b = Exp(a)  c = Add(two, b)"
        "y = Reciprocal(c)",
        "a = Sigmoid(z)  y = Log(a)",
        "a = Exp(z)  n = Neg(z)  e = Exp(n)  b = ReduceSum(e, last)  c = Reciprocal(b)"
        "y = Mul(a, c)",
    ],
)
def test_what_only_looks_like_an_activation(nodes: str) -> None:
    assert find_score(load(ending(nodes))).logit == "y"


def test_a_softmax_inside_the_model_is_not_its_last() -> None:
    assert find_score(load(ending("a = Softmax(z)  y = Exp(a)"))).logit == "y"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["embedding", "logits"], "logits"),
        (["pred_boxes", "class_scores"], "class_scores"),
        (["features", "probability"], "probability"),
        (["underscored", "problem"], "underscored"),
        (["scores", "logits"], "scores"),
    ],
)
def test_an_output_that_is_named_scores_comes_first(names: list[str], expected: str) -> None:
    outputs = ", ".join(f"float[N,C] {name}" for name in names)
    body = " ".join(f"{name} = Flatten(x)" for name in names)
    assert find_score(load(tiny(body, outputs=outputs))).probability == expected
