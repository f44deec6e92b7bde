"""The model's own answers for models that take batches in different ways."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny import noise, run, tiny

from onnxplain.errors import ModelError
from onnxplain.model.load import load
from onnxplain.runtime.backend import Backend
from onnxplain.serve.predictor import Predictor, without_batch

BODY = "c = Conv(x, w) p = GlobalAveragePool(c) y = Flatten(p)"
WEIGHTS = {"w": noise(4, 3, 3, 3)}


def predictor(body=BODY, inputs="float[N,3,h,w] x", outputs="float[N,4] y", **weights):
    proto = tiny(body, inputs, outputs, **(WEIGHTS | weights))
    model = load(proto)
    return proto, model, Predictor(model, model.inputs[0], Backend(), max_batch=4)


@pytest.mark.parametrize("first", ["N", "1", "2", "4"])
def test_feeds_of_several_requests_keep_their_answers(first):
    """With an open batch, one sample at a time, and a fixed batch that must be filled."""
    proto, _, found = predictor(inputs=f"float[{first},3,8,8] x", outputs=f"float[{first},4] y")
    x = noise(3, 3, 8, 8)
    answers = list(found.outputs([{"x": x[i : i + 1]} for i in range(3)]))
    size = 1 if first == "N" else int(first)
    for i, answer in enumerate(answers):
        (expected,) = run(proto, {"x": np.repeat(x[i : i + 1], size, axis=0)})
        assert_allclose(answer["y"], expected[:1], rtol=1e-5, atol=1e-6)


def test_feeds_of_different_sizes_and_counts():
    proto, _, found = predictor()
    """Many samples run in parallel on a CPU, few in one batch."""
    sizes = (2, 8), (1, 8), (60, 8), (3, 9), (1, 8)
    feeds = [noise(n, 3, rows, 8, seed=i) for i, (n, rows) in enumerate(sizes)]
    for x, answer in zip(feeds, found.outputs([{"x": x} for x in feeds]), strict=True):
        (expected,) = run(proto, {"x": x})
        assert_allclose(answer["y"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_parallel_runs_and_batches_give_the_same(at_once, monkeypatch):
    """With one run at a time, as on a GPU, there are at most four samples in a run."""
    monkeypatch.setattr(Backend, "at_once", at_once)
    proto, _, found = predictor()
    x = noise(11, 3, 8, 8)
    first, second = found.outputs([{"x": x[:9]}, {"x": x[9:]}])
    (expected,) = run(proto, {"x": x})
    assert_allclose(np.concatenate([first["y"], second["y"]]), expected, rtol=1e-5, atol=1e-6)


def test_a_picture_below_the_window_of_a_convolution_fails_alone():
    """ONNX Runtime itself may end the process for it."""
    proto, _, found = predictor()
    good, small = noise(1, 3, 8, 8), noise(1, 3, 2, 2)
    first, error, last = found.outputs([{"x": good}, {"x": small}, {"x": good}])
    assert isinstance(error, ModelError)
    assert "too small" in str(error)
    (expected,) = run(proto, {"x": good})
    for answer in (first, last):
        assert_allclose(answer["y"], expected, rtol=1e-5, atol=1e-6)


def test_an_output_that_is_not_declared_by_sample_keeps_its_first_axis():
    body = f"{BODY} n = NonZero(y) t = Transpose(n) s = ReduceSum(y)"
    outputs = "float[N,4] y, int64[found,2] t, float[?,?] s"
    proto, model, found = predictor(body, outputs=outputs)
    x = noise(1, 3, 8, 8)
    (answer,) = found.outputs([{"x": x}])
    own = without_batch(model, model.inputs[0], answer)
    y, t, s = run(proto, {"x": x})
    assert_allclose(own["y"], y[0], rtol=1e-5)
    assert own["t"].shape == t.shape == (4, 2)
    assert_allclose(own["s"], s[0], rtol=1e-5)
    one = without_batch(model, model.inputs[0], {"t": t[:1]})
    assert one["t"].shape == (1, 2)
