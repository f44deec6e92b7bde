"""Concurrent requests run in one call, and each gets its own answer."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.testing import assert_allclose
from serve.conftest import EXPLAIN, EXPLAIN_V2, PICTURES, PREDICT, engine_of, picture, serving
from serve.test_limits import Gate, until

NAMES = ["coffee.png", "rocket.jpg", "chelsea.png", "camera.png"]
TARGETS = ["top1", 3, "tripod", "top1"]


def test_concurrent_requests_run_in_one_call_and_get_their_own_answers(squeezenet, explained):
    gate = Gate(squeezenet)
    asked = [(name, to) for to in TARGETS for name in NAMES]
    bodies = [
        {"instances": [{**picture(name), "target": to}], "format": "lists"} for name, to in asked
    ]
    bad = {"instances": [{**picture("coffee.png"), "target": "no such class"}]}
    with serving(gate) as client, ThreadPoolExecutor(len(bodies) + 2) as pool:
        first = pool.submit(client.post, EXPLAIN, bodies[0])
        assert gate.entered.acquire(timeout=30)
        found = [pool.submit(client.post, EXPLAIN, body) for body in [*bodies, bad]]
        until(lambda: client.service.metrics.waiting() == len(found))
        gate.open.set()
        *answers, refused = [one.result() for one in found]
        assert first.result().status == 200
        metrics = client.get("/metrics").body.decode()
    assert gate.sizes == [1, len(found)]
    assert 'onnxplain_batch_size_bucket{call="explain",le="1"} 1\n' in metrics
    assert f'onnxplain_batch_size_sum{{call="explain"}} {1 + len(found)}\n' in metrics
    assert refused.status == 400
    for answer, (name, to) in zip(answers, asked, strict=True):
        (entry,) = answer.json["explanations"]
        alone = explained.explain(PICTURES / name, "gradcam", to)
        assert entry["target"] == alone.target.name
        assert_allclose(entry["values"], alone.values, atol=1e-5 * abs(alone.values).max())


def test_predictions_of_concurrent_requests_run_in_one_call(squeezenet, explained):
    gate = Gate(squeezenet)
    x = np.random.default_rng(0).normal(size=(5, 3, 40, 40)).astype(np.float32)
    with serving(gate) as client, ThreadPoolExecutor(8) as pool:
        first = pool.submit(client.post, PREDICT, {"instances": [picture("coffee.png")]})
        assert gate.entered.acquire(timeout=30)
        found = []
        # In this order, so that explanations are between them.
        for path, one in (
            (PREDICT, x[0]),
            (EXPLAIN, x[1]),
            (PREDICT, x[2]),
            (PREDICT, x[3, :, 8:]),
        ):
            found.append(pool.submit(client.post, path, {"instances": [one.tolist()]}))
            until(lambda: client.service.metrics.waiting() == len(found))
        gate.open.set()
        answers = [one.result() for one in found]
        assert first.result().status == 200
    assert gate.sizes == [1, 3, 1]
    for place, sample in ((0, x[0]), (2, x[2]), (3, x[3, :, 8:])):
        scores = explained.attribute(sample[None], "gradcam", 7, score="probability").scores
        (prediction,) = answers[place].json["predictions"]
        assert_allclose(prediction[7], scores[0], rtol=1e-4)
    assert answers[1].json["explanations"][0]["target"]


def test_a_method_of_many_runs_explains_one_at_a_time(explained):
    """So that the first answer does not wait for the last."""
    gate = Gate(engine_of("squeezenet1_1", "occlusion", window=32, stride=32))
    x = np.random.default_rng(0).normal(size=(2, 3, 40, 40)).astype(np.float32)
    tensor = {
        "name": "data",
        "shape": [2, 3, 40, 40],
        "datatype": "FP32",
        "data": x.ravel().tolist(),
    }
    gate.open.set()
    with serving(gate) as client:
        outputs = client.post(EXPLAIN_V2, {"inputs": [tensor]}).json["outputs"]
    assert gate.sizes == [1, 1]
    values = np.array(outputs[0]["data"]).reshape(outputs[0]["shape"])
    for i in range(2):
        alone = explained.explain(x[i : i + 1], "occlusion", window=32, stride=32)
        assert_allclose(values[i], alone.values, atol=1e-5 * abs(alone.values).max())
