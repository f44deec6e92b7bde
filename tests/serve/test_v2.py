"""The Open Inference Protocol: tensors in, tensors out."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.testing import assert_allclose
from serve.conftest import EXPLAIN_V2, INFER, MODELS, NAME, serving
from tiny import noise, run, tiny

import onnxplain
from onnxplain import Explainer
from onnxplain.methods.registry import make_method
from onnxplain.serve.engine import Engine

X = noise(3, 3, 64, 64)


def tensor(name, array, datatype="FP32", **more):
    data = array.ravel().tolist()
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data, **more}


def target(*classes):
    return tensor("target", np.array(classes), "INT64")


def arrays(answer):
    """The outputs of an answer, by name."""
    assert answer.status == 200, answer.body[:300]
    types = {"FP32": np.float32, "INT64": np.int64}
    return {
        one["name"]: np.array(one["data"], types[one["datatype"]]).reshape(one["shape"])
        for one in answer.json["outputs"]
    }


@pytest.fixture(scope="module")
def expected():
    (output,) = ort.InferenceSession(MODELS / "squeezenet1_1.onnx").run(None, {"data": X})
    return output


def test_the_server_and_the_model_are_described(client):
    server = client.get("/v2").json
    assert server["name"] == "onnxplain"
    assert server["version"] == onnxplain.__version__
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True}
    assert client.get(f"/v2/models/{NAME}/ready").json == {"name": NAME, "ready": True}
    model = client.get(f"/v2/models/{NAME}").json
    assert model["name"] == NAME
    assert model["inputs"] == [{"name": "data", "datatype": "FP32", "shape": [-1, 3, -1, -1]}]
    assert model["outputs"] == [{"name": "prob", "datatype": "FP32", "shape": [-1, 1000]}]
    assert server["extensions"] == ["onnxplain_explain"]
    assert model["onnxplain_explain"]["outputs"] == ["values", "heatmap", "explained"]


def test_without_a_target_the_answer_is_that_of_the_model(client, expected):
    answer = client.post(INFER, {"id": "7", "inputs": [tensor("data", X)]})
    assert answer.json["model_name"] == NAME
    assert answer.json["id"] == "7"
    found = arrays(answer)
    assert list(found) == ["prob"]
    assert_allclose(found["prob"], expected, rtol=1e-4, atol=1e-9)


def test_data_may_be_nested(client, expected):
    content = {**tensor("data", X), "data": X.tolist()}
    assert_allclose(arrays(client.post(INFER, {"inputs": [content]}))["prob"], expected, rtol=1e-4)


def test_with_a_target_there_are_maps_besides(client, expected, explained):
    content = {"inputs": [tensor("data", X), target(3, -1, 281)]}
    found = arrays(client.post(INFER, content))
    assert list(found) == ["prob", "values", "heatmap", "explained"]
    assert_allclose(found["prob"], expected, rtol=1e-4, atol=1e-9)
    assert found["explained"].tolist() == [3, int(expected[1].argmax()), 281]
    assert found["heatmap"].shape == (3, 64, 64)
    for i, class_ in enumerate([3, "top1", 281]):
        alone = explained.explain(X[i : i + 1], "gradcam", class_)
        assert_allclose(found["values"][i], alone.values, atol=1e-5 * abs(alone.values).max())
        assert_allclose(found["heatmap"][i], alone.heatmap, atol=1e-5)


def test_one_target_is_that_of_all_samples_and_outputs_are_chosen(client):
    outputs = [{"name": "explained"}, {"name": "prob"}]
    content = {"inputs": [tensor("data", X), target(5)], "outputs": outputs}
    found = arrays(client.post(INFER, content))
    assert list(found) == ["explained", "prob"]
    assert found["explained"].tolist() == [5, 5, 5]


def test_who_prefers_binary_outputs_gets_json(client, expected):
    content = {"inputs": [tensor("data", X)], "parameters": {"binary_data_output": True}}
    outputs = [{"name": "prob", "parameters": {"binary_data": True}}]
    for more in ({}, {"outputs": outputs}):
        found = arrays(client.post(INFER, {**content, **more}))
        assert_allclose(found["prob"], expected, rtol=1e-4, atol=1e-9)


def test_explain_gives_maps_and_takes_a_target_in_words(client, explained):
    content = {"inputs": [tensor("data", X[:1])], "parameters": {"target": "tripod"}}
    found = arrays(client.post(EXPLAIN_V2, content))
    assert list(found) == ["values", "heatmap", "explained"]
    expected = explained.explain(X[:1], "gradcam", "tripod")
    assert found["explained"].tolist() == [expected.target.index]
    assert_allclose(found["values"][0], expected.values, atol=1e-5 * abs(expected.values).max())


def test_a_sample_without_a_map_refuses_the_request(client):
    x = np.concatenate([X[:1], X[:1]])
    answer = client.post(EXPLAIN_V2, {"inputs": [tensor("data", x), target(1, 1000)]})
    assert answer.status == 400
    assert answer.sentence.startswith("Sample 1: There is no class 1000")


BODY = "c = Conv(x, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) s = Add(f, more) "


@pytest.fixture(scope="module")
def two_inputs():
    """A model with another input, whose value is given when the server starts."""
    body = BODY + "y = Identity(s) n = Div(f, zero)"
    inputs = "float[N,3,8,8] x, float[N,4] more"
    weights = {"w": noise(4, 3, 3, 3), "zero": np.zeros(1, np.float32)}
    proto = tiny(body, inputs, "float[N,4] y, float[N,4] n", **weights)
    more = np.array([1, 2, 3, 4], np.float32)
    explainer = Explainer(proto, provider="cpu", inputs={"more": more})
    with serving(Engine(explainer, make_method("gradcam", {}), 1)) as client:
        yield client, proto, more


def test_other_inputs_are_sent_or_those_of_the_start(two_inputs):
    client, proto, more = two_inputs
    x, own = noise(2, 3, 8, 8), noise(2, 4, seed=3)
    for inputs, value in (
        ([tensor("x", x)], np.stack([more, more])),
        ([tensor("x", x), tensor("more", own)], own),
    ):
        answer = client.post(INFER, {"inputs": inputs, "outputs": [{"name": "y"}]})
        (expected,) = run(proto, {"x": x, "more": value}, ["y"])
        assert_allclose(arrays(answer)["y"], expected, rtol=1e-5, atol=1e-6)
    refused = client.post(EXPLAIN_V2, {"inputs": [tensor("x", x), tensor("more", own)]})
    assert (refused.status, "--input" in refused.sentence) == (400, True)


def test_numbers_that_are_not_finite_become_null(two_inputs):
    client, _, _ = two_inputs
    answer = client.post(INFER, {"inputs": [tensor("x", noise(1, 3, 8, 8))]})
    assert answer.status == 200
    *_, last = answer.json["outputs"]
    assert last["name"] == "n"
    assert last["data"] == [None] * 4


@pytest.mark.parametrize("datatype", ["UINT8", "FP16", "INT64", "FP64"])
def test_element_types(datatype):
    kinds = {"UINT8": "uint8", "FP16": "float16", "INT64": "int64", "FP64": "double"}
    body = "c = Cast <to = 1> (x) m = ReduceMean <axes = [2, 3], keepdims = 0> (c) y = Gemm(m, w)"
    weights = {"w": noise(3, 4)}
    proto = tiny(body, f"{kinds[datatype]}[N,3,8,8] x", "float[N,4] y", **weights)
    onnx.checker.check_model(proto)
    explainer = Explainer(proto, provider="cpu")
    x = np.random.default_rng(0).integers(0, 200, (2, 3, 8, 8))
    with serving(Engine(explainer, make_method("occlusion", {}), 0)) as client:
        good = client.post(INFER, {"inputs": [tensor("x", x, datatype)]})
        wrong = client.post(INFER, {"inputs": [tensor("x", x, "FP32")]})
        above = client.post(INFER, {"inputs": [tensor("x", x * 10**6 + 0.5, datatype)]})
    dtype = {"double": "float64"}.get(kinds[datatype], kinds[datatype])
    (expected,) = run(proto, {"x": x.astype(dtype)})
    assert_allclose(arrays(good)["y"], expected, rtol=1e-5)
    assert (wrong.status, f"must be {datatype}" in wrong.sentence) == (400, True)
    assert above.status == (200 if datatype == "FP64" else 400)
