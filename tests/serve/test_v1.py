"""KServe's V1 protocol: what it answers is what `Explainer.explain` and ONNX Runtime give."""

import base64
import io

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from serve.conftest import (
    EXPLAIN,
    MODELS,
    NAME,
    PICTURES,
    PREDICT,
    engine_of,
    picture,
    serving,
)

from onnxplain import Explainer
from onnxplain.errors import MapError

HALF_A_STEP = 5.1e-5
"""Heat is written with four decimals."""

COFFEE = PICTURES / "coffee.png"


def assert_is(entry, expected):
    """An entry of an answer is the expected explanation."""
    assert entry["target"] == expected.target.name
    assert entry["index"] == expected.target.index
    assert entry["label"] == expected.target.label
    assert_allclose(entry["score"], expected.score, rtol=1e-5)
    assert entry["score_kind"] == expected.score_kind
    assert tuple(entry["layers"]) == expected.layers
    scale = abs(expected.values).max()
    assert_allclose(entry["values"], expected.values, atol=1e-5 * scale)
    assert_allclose(entry["heatmap"], expected.heatmap, atol=HALF_A_STEP + 1e-5)
    assert_allclose(entry["heatmap_range"], expected.heatmap_range, atol=1e-5 * scale)


def test_models_are_listed_and_ready(client):
    assert client.get("/v1/models").json == {"models": [NAME]}
    assert client.get(f"/v1/models/{NAME}").json == {"name": NAME, "ready": True}


@pytest.mark.parametrize("name", ["coffee.png", "rocket.jpg"])
def test_a_picture_is_explained_as_by_the_library(client, explained, name):
    answer = client.post(EXPLAIN, {"instances": [picture(name)]}).json
    assert answer["method"] == "gradcam"
    (entry,) = answer["explanations"]
    assert entry["instance"] == 0
    assert_is(entry, explained.explain(PICTURES / name, "gradcam"))


@pytest.mark.parametrize(
    ("model", "method", "target"),
    [
        ("efficientnet_lite0", "hirescam", "tripod"),
        ("digit_vit", "attention_rollout", "top1"),
        ("digit_vit", "occlusion", 3),
        ("digit_detector", "gradcam", "top1"),
    ],
)
def test_other_models_and_methods(model, method, target):
    file = MODELS / "detector_scenes" / "six_two.png" if "digit" in model else COFFEE
    instance = {"b64": base64.b64encode(file.read_bytes()).decode(), "target": target}
    with serving(engine_of(model, method)) as client:
        answer = client.post(EXPLAIN, {"instances": [instance]}).json
    expected = Explainer(MODELS / f"{model}.onnx", provider="cpu").explain(file, method, target)
    assert_is(answer["explanations"][0], expected)
    if model == "digit_detector":
        assert answer["explanations"][0]["box"]["confidence"] == pytest.approx(
            expected.target.boxes[0].confidence
        )


def test_a_tensor_is_explained_as_by_the_library(client, explained):
    x = np.random.default_rng(0).normal(size=(1, 3, 64, 80)).astype(np.float32)
    expected = explained.explain(x, "gradcam")
    instances = [x.tolist(), x[0].tolist(), {"data": x[0].tolist()}]
    for entry in client.post(EXPLAIN, {"instances": instances}).json["explanations"]:
        assert_is(entry, expected)


def test_targets_of_instances_replace_that_of_the_request(client, explained):
    instances = [picture("coffee.png"), {**picture("coffee.png"), "target": "tripod"}]
    instances.append({**picture("coffee.png"), "target": "top1 - 872"})
    found = client.post(EXPLAIN, {"instances": instances, "target": 504}).json["explanations"]
    for entry, target in zip(found, [504, "tripod", "top1 - 872"], strict=True):
        assert_is(entry, explained.explain(COFFEE, "gradcam", target))


def test_the_target_of_the_server_is_that_of_requests_that_name_none(squeezenet, explained):
    with serving(engine_of("squeezenet1_1", target="tripod")) as client:
        (entry,) = client.post(EXPLAIN, {"instances": [picture("coffee.png")]}).json["explanations"]
    assert_is(entry, explained.explain(COFFEE, "gradcam", "tripod"))


def test_npy_holds_all_digits(client, explained):
    content = {"instances": [picture("coffee.png")], "format": "npy"}
    (entry,) = client.post(EXPLAIN, content).json["explanations"]
    expected = explained.explain(COFFEE, "gradcam")
    for name in ("values", "heatmap"):
        array = np.load(io.BytesIO(base64.b64decode(entry[name]["b64"])))
        assert array.dtype == np.float32
        assert_allclose(array, getattr(expected, name), atol=1e-5 * abs(expected.values).max())


def test_png_is_the_drawing(client, explained):
    content = {"instances": [picture("coffee.png")], "format": "png"}
    (entry,) = client.post(EXPLAIN, content).json["explanations"]
    data = np.frombuffer(base64.b64decode(entry["picture"]["b64"]), np.uint8)
    drawn = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    expected = explained.explain(COFFEE, "gradcam").draw().astype(int)
    assert drawn.shape == expected.shape
    assert abs(drawn - expected).max() <= 2
    assert "values" not in entry


def test_an_instance_that_fails_does_not_fail_the_others(client, explained):
    good = picture("coffee.png")
    instances = [good, {"b64": "####"}, {**good, "target": "no such class"}, [[1.0]], good]
    answer = client.post(EXPLAIN, {"instances": instances})
    assert answer.status == 200
    found = answer.json["explanations"]
    assert [one["instance"] for one in found] == [0, 1, 2, 3, 4]
    expected = explained.explain(COFFEE, "gradcam")
    assert_is(found[0], expected)
    assert_is(found[4], expected)
    assert "is not base64" in found[1]["error"]
    assert "no such class" in found[2]["error"]
    assert "takes (N, 3, " in found[3]["error"]


def test_a_map_that_shows_nothing_is_an_error_with_the_reason(client, explained):
    """The layer has one cell for this size, so the map is the same everywhere."""
    x = np.random.default_rng(0).normal(size=(3, 17, 17)).astype(np.float32)
    with pytest.raises(MapError) as error:
        explained.explain(x[None], "gradcam")
    alone = client.post(EXPLAIN, {"instances": [x.tolist()]})
    assert (alone.status, alone.sentence) == (400, str(error.value))
    both = client.post(EXPLAIN, {"instances": [x.tolist(), 1]})
    assert (both.status, both.sentence) == (400, f"Instance 0: {error.value}")


def test_predictions_are_those_of_onnx_runtime(client, explained):
    session = ort.InferenceSession(MODELS / "squeezenet1_1.onnx")
    names = ["coffee.png", "rocket.jpg", "chelsea.png"]
    answer = client.post(PREDICT, {"instances": [picture(name) for name in names]}).json
    for found, name in zip(answer["predictions"], names, strict=True):
        (x,) = explained.samples([PICTURES / name])
        assert_allclose(found, session.run(None, {"data": x})[0][0], rtol=1e-4, atol=1e-9)


def test_predictions_of_several_outputs_have_names():
    file = MODELS / "detector_scenes" / "six_two.png"
    instance = {"b64": base64.b64encode(file.read_bytes()).decode()}
    engine = engine_of("digit_detector")
    with serving(engine) as client:
        predictions = client.post(PREDICT, {"instances": [instance] * 2}).json["predictions"]
    session = ort.InferenceSession(MODELS / "digit_detector.onnx")
    (x,) = engine.explainer.samples([file])
    (spec,) = session.get_inputs()
    for found in predictions:
        values = session.run(None, {spec.name: x})
        if len(values) == 1:
            assert_allclose(found, values[0][0], rtol=1e-4, atol=1e-4)
            continue
        assert list(found) == [output.name for output in session.get_outputs()]
        for own, expected in zip(found.values(), values, strict=True):
            assert_allclose(own, expected[0], rtol=1e-4, atol=1e-4)


def test_one_instance_that_cannot_be_read_refuses_a_prediction(client):
    answer = client.post(PREDICT, {"instances": [picture("coffee.png"), "x"]})
    assert answer.status == 400
    assert answer.sentence.startswith("Instance 1: It is neither a tensor")


def test_a_large_map_is_refused_as_lists_and_given_as_npy(client, explained):
    large = cv2.resize(cv2.imread(str(COFFEE)), (1300, 1000))
    data = cv2.imencode(".jpg", large)[1].tobytes()
    instance = {"b64": base64.b64encode(data).decode()}
    refused = client.post(EXPLAIN, {"instances": [instance]})
    assert (refused.status, '"format": "npy"' in refused.sentence) == (400, True)
    (entry,) = client.post(EXPLAIN, {"instances": [instance], "format": "npy"}).json["explanations"]
    heatmap = np.load(io.BytesIO(base64.b64decode(entry["heatmap"]["b64"])))
    expected = explained.explain(data, "gradcam").heatmap
    assert_array_equal(heatmap.shape, expected.shape)
    assert_allclose(heatmap, expected, atol=1e-5)
