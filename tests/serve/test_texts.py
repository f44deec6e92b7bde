"""JSON and metrics as they are written."""

import json

import numpy as np
import pytest

from onnxplain.serve import json_text
from onnxplain.serve.metrics import Metrics


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32),
        np.float32([1e-45, 3.4e38, -0.0, 1 / 3, 16777217]),
        np.random.default_rng(0).normal(size=7),
        np.float16([0.1, 65504]),
        np.arange(6, dtype=np.int64).reshape(3, 2) - 2**62,
        np.array([True, False]),
        np.array(["é", '"'], dtype=object),
        np.zeros((2, 0), np.float32),
        np.zeros((0, 2), np.float32),
        np.float32(5).reshape(()),
    ],
)
def test_an_array_keeps_its_values(array):
    read = json.loads(json_text.write({"a": array, "b": [array]}))
    assert read["a"] == read["b"][0]
    again = np.array(read["a"], array.dtype)
    np.testing.assert_array_equal(again.reshape(array.shape), array)
    if array.size:
        assert again.shape == array.shape


def test_numbers_that_are_not_finite_are_null():
    value = {"a": np.float32([1, np.nan, np.inf]), "b": float("nan"), "c": (1, -np.inf)}
    text = json_text.write(value)
    assert json.loads(text) == {"a": [1, None, None], "b": None, "c": [1, None]}


def test_heat_has_four_decimals_and_both_ends():
    heatmap = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    heatmap[0, :2] = 0, 1
    read = np.array(json.loads(json_text.heat(heatmap)))
    assert read.shape == heatmap.shape
    np.testing.assert_allclose(read, heatmap, atol=5.1e-5)
    assert read[0, :2].tolist() == [0, 1]


def test_metrics_count_as_prometheus_expects():
    metrics = Metrics()
    for seconds in (0.004, 0.3, 100.0):
        metrics.note_request('a"b', "GET", 200, seconds)
    metrics.note_request('a"b', "GET", 404, 0.3)
    metrics.note_batch("explain", 3)
    metrics.waiting = lambda: 5
    lines = metrics.text().splitlines()
    own = r'route="a\"b",method="GET"'
    assert f'onnxplain_requests_total{{{own},status="200"}} 3' in lines
    assert f'onnxplain_requests_total{{{own},status="404"}} 1' in lines
    name = "onnxplain_request_duration_seconds"
    for upper, count in (("0.005", 1), ("0.25", 1), ("0.5", 3), ("60", 3), ("+Inf", 4)):
        assert f'{name}_bucket{{{own},le="{upper}"}} {count}' in lines
    assert f"{name}_count{{{own}}} 4" in lines
    assert f"{name}_sum{{{own}}} 100.604" in lines
    assert 'onnxplain_batch_size_bucket{call="explain",le="2"} 0' in lines
    assert 'onnxplain_batch_size_bucket{call="explain",le="4"} 1' in lines
    assert "onnxplain_queue_length 5" in lines
    types = [line.split()[2:] for line in lines if line.startswith("# TYPE")]
    assert ["onnxplain_requests_total", "counter"] in types
    assert [name, "histogram"] in types
    assert ["onnxplain_queue_length", "gauge"] in types
