"""A model without draws computes closed forms, in plain ONNX Runtime, and the same in each run."""

import numpy as np
import onnx
import pytest
from tiny import noise, run, tiny

from onnxplain.analysis.randomness import drawing_nodes
from onnxplain.model.load import load
from onnxplain.transforms.fixed_draws import without_draws

X = noise(2, 3, 8, 8)
SIGMOID = 1 / (1 + np.exp(-X.astype(np.float64)))
HALF = {"r": np.float32(0.5), "t": np.array(True)}
STATISTICS = {
    "a": np.array([1, 2, 3], np.float32),
    "b": np.array([4, 5, 6], np.float32),
    "c": np.array([0.1, 0.2, 0.3], np.float32),
    "e": np.array([1, 4, 9], np.float32),
}
A, B, C, E = (value[:, None, None] for value in STATISTICS.values())
LOGITS = {"l": np.array([[0, 1, 4, 2]] * 2, np.float32), "one": np.array([1])}

CASES = {
    "dropout": ("y = Dropout(x, r, t)", X, HALF),
    "dropout and its mask": (
        "d, m = Dropout(x, r, t) f = Cast<to = 1>(m) y = Add(d, f)",
        X + 1,
        HALF,
    ),
    "normal": ("n = RandomNormal<shape = [2, 3, 8, 8], mean = 2.5>() y = Add(x, n)", X + 2.5, {}),
    "normal by default": ("n = RandomNormal<shape = [8]>() y = Add(x, n)", X, {}),
    "one number": ("n = RandomNormal<shape = [1], mean = 1.0>() y = Add(x, n)", X + 1, {}),
    "normal like": ("n = RandomNormalLike<mean = 2.5>(x) y = Add(x, n)", X + 2.5, {}),
    "uniform": (
        "n = RandomUniform<shape = [8], low = 1.0, high = 4.0>() y = Add(x, n)",
        X + 2.5,
        {},
    ),
    "uniform by default": ("n = RandomUniform<shape = [8]>() y = Add(x, n)", X + 0.5, {}),
    "uniform like": ("n = RandomUniformLike<low = -1.0>(x) y = Add(x, n)", X, {}),
    "like, of another type": (
        "n = RandomNormalLike<mean = 2.5, dtype = 11>(x) f = Cast<to = 1>(n) y = Add(x, f)",
        X + 2.5,
        {},
    ),
    "like float16": (
        """h = Cast<to = 10>(x) n = RandomNormalLike<mean = 2.5>(h)
           f = Cast<to = 1>(n) y = Add(x, f)""",
        X + 2.5,
        {},
    ),
    "bernoulli": ("s = Sigmoid(x) n = Bernoulli(s) y = Mul(x, n)", X * SIGMOID, {}),
    "bernoulli as double": (
        "s = Sigmoid(x) n = Bernoulli<dtype = 11>(s) f = Cast<to = 1>(n) y = Mul(x, f)",
        X * SIGMOID,
        {},
    ),
    "bernoulli as bool": (
        "s = Sigmoid(x) n = Bernoulli<dtype = 9>(s) f = Cast<to = 1>(n) y = Mul(x, f)",
        X * (SIGMOID > 0.5),
        {},
    ),
    "multinomial": (
        """n = Multinomial<sample_size = 5>(l) f = Cast<to = 1>(n)
           s = ReduceSum<keepdims = 0>(f, one) k = ReduceMax<keepdims = 0>(s) y = Add(x, k)""",
        X + 10,
        LOGITS,
    ),
    "batch normalization": (
        "y, m, v = BatchNormalization<training_mode = 1, epsilon = 0.5>(x, a, b, c, e)",
        A * (X - C) / np.sqrt(E + 0.5) + B,
        STATISTICS,
    ),
    "statistics that are read": (
        """d, m, v = BatchNormalization<training_mode = 1, epsilon = 0.5>(x, a, b, c, e)
           k = ReduceSum<keepdims = 0>(m) w = ReduceSum<keepdims = 0>(v)
           s = Add(k, w) y = Add(d, s)""",
        A * (X - C) / np.sqrt(E + 0.5) + B + 14.6,
        STATISTICS,
    ),
    "a subgraph": (
        """y = If(t) <then_branch = p () => (float[N,3,8,8] o)
             { n = RandomNormalLike<mean = 2.5>(x) k = Dropout(n, r, t) o = Add(x, k) },
           else_branch = q () => (float[N,3,8,8] z) { z = Identity(x) }>""",
        X + 2.5,
        HALF,
    ),
}


@pytest.mark.parametrize(("body", "expected", "constants"), CASES.values(), ids=CASES)
def test_draws_become_closed_forms(body, expected, constants):
    model = load(tiny(body, outputs="float[N,3,8,8] y", **constants))
    fixed, nodes = without_draws(model)
    assert nodes
    onnx.checker.check_model(fixed.proto)
    (first,), (again,) = (run(fixed.proto, {"x": X}) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.allclose(first, expected, rtol=1e-5, atol=1e-5)
    left = drawing_nodes(fixed, ["y"])
    assert not (left.certain or left.possible or left.of_batch)
    assert fixed.sha256 == model.sha256


def test_a_model_without_draws_is_returned_as_it_is():
    model = load(tiny("y = Relu(x)", outputs="float[N,3,8,8] y"))
    assert without_draws(model) == (model, ())


def test_the_old_form_of_a_draw_like_another_tensor():
    body = "n = RandomNormalLike<mean = 2.5>(x) y = Add(x, n)"
    fixed, _ = without_draws(load(tiny(body, outputs="float[N,3,8,8] y", opset=12)))
    assert np.allclose(run(fixed.proto, {"x": X})[0], X + 2.5)
