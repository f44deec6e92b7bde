"""A bad request is answered with 4xx and one sentence, and the next good one as always."""

import base64
import struct
import zlib

import cv2
import numpy as np
import pytest
from serve.conftest import EXPLAIN, EXPLAIN_V2, INFER, NAME, PREDICT, picture

from tools.serve_load.bad import bad_requests

GOOD = np.ones((3, 32, 32))
TENSOR = {"name": "data", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [0.5] * 3072}


def png(width, height):
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def file(data):
    return {"b64": base64.b64encode(data).decode()}


def with_value(value):
    """A tensor with one other value, as a request."""
    data = GOOD.tolist()
    data[1][2][3] = "HERE"
    return repr({"instances": [data]}).replace("'HERE'", value).replace("'", '"').encode()


def jpeg(size):
    return cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, size, np.uint8))[1]


JPEG = jpeg((40, 40, 3)).tobytes()

BODIES = {
    "empty": (b"", "is no JSON"),
    "no JSON": (b"{'instances': 1}", "is no JSON"),
    "cut short": (b'{"instances": [[1, 2', "is no JSON"),
    "not UTF-8": ('{"instances": ["é"]}'.encode("latin-1"), "not UTF-8"),
    "UTF-16": ('{"instances": []}'.encode("utf-16"), "not UTF-8"),
    "deep": (b'{"instances": [%s]}' % (b"[" * 100_000), "nested too deeply"),
    "deep and whole": (b'{"instances": [%s1%s]}' % (b"[" * 90, b"]" * 90), "too many levels"),
    "NaN": (with_value("NaN"), "holds NaN"),
    "infinity": (with_value("-Infinity"), "holds -Infinity"),
    "above float64": (with_value("1e999"), "not finite"),
    "above float32": (with_value("1e39"), "too large for FP32"),
    "integer above 64 bits": (with_value("1" + "0" * 30), "above 64 bits"),
    "integer of 5000 digits": (with_value("9" * 5000), "is no JSON"),
    "null": (with_value("null"), "no number"),
    "text among numbers": (with_value('"1"'), "no number"),
    "list among numbers": (with_value("[1]"), "lists of different lengths"),
    "a list": ([1], "no JSON object"),
    "no instances": ({}, 'no list "instances"'),
    "instances of TensorFlow's columns": ({"inputs": [1]}, "'inputs'"),
    "no list": ({"instances": 1}, 'no list "instances"'),
    "empty list": ({"instances": []}, "0 instances"),
    "too many": ({"instances": [1] * 129}, "1 to 128"),
    "unknown name": ({"instances": [1], "fromat": "png"}, "'fromat'"),
    "long unknown name": ({"instances": [1], "x" * 10**5: 1}, "xxx..."),
    "null instance": ({"instances": [None]}, "neither a tensor"),
    "text": ({"instances": ["cat.png"]}, "neither a tensor"),
    "truth": ({"instances": [True]}, "neither a tensor"),
    "truths": ({"instances": [(GOOD > 0).tolist()]}, "FP32 does not have"),
    "number": ({"instances": [1]}, "has the shape ()"),
    "too few axes": ({"instances": [[[1.0]]]}, "takes (N, 3, "),
    "two samples": ({"instances": [[GOOD.tolist()] * 2]}, "one instance"),
    "four channels": ({"instances": [np.ones((4, 32, 32)).tolist()]}, "(3, height, width)"),
    "too small": ({"instances": [np.ones((3, 8, 8)).tolist()]}, "is too small for this model"),
    "no rows": ({"instances": [[[], [], []]]}, "has the shape (3, 0)"),
    "empty object": ({"instances": [{}]}, "must hold either"),
    "both forms": ({"instances": [{"b64": "", "data": []}]}, "must hold either"),
    "another name": ({"instances": [{"image": "x"}]}, "'image'"),
    "base64 of nothing": ({"instances": [{"b64": ""}]}, "no whole JPEG or PNG"),
    "no base64": ({"instances": [{"b64": "####"}]}, "not base64"),
    "base64 not ASCII": ({"instances": [{"b64": "äöü"}]}, "not base64"),
    "half a surrogate": (b'{"instances": [{"b64": "\\ud800"}]}', "not base64"),
    "base64 of a number": ({"instances": [{"b64": 1}]}, "is no text"),
    "inner object": ({"instances": [{"data": {"b64": 1}}]}, "is no text"),
    "no picture": ({"instances": [file(b"GIF89a" * 9)]}, "no whole JPEG or PNG"),
    "start of a JPEG": ({"instances": [file(JPEG[:50])]}, "no whole JPEG or PNG"),
    "first half of a JPEG's head": ({"instances": [file(JPEG[:300])]}, "cut short"),
    "a bomb": ({"instances": [file(png(30_000, 30_000))]}, "the most is 16,777,216"),
    "no pixels in a PNG": ({"instances": [file(png(64, 64))]}, "cut short"),
    "a PNG without size": ({"instances": [file(png(0, 64))]}, "no whole JPEG or PNG"),
}

TARGETS = {
    "a file": ("similar:/etc/passwd", "may read a file"),
    "a file, hidden": ("not: similar :x", "may read a file"),
    "a file, in capitals": ("SIMILAR:x", "may read a file"),
    "a mask": ("0@/etc/passwd", "After @"),
    "a mask after a place": ("0@1,2,1@x.png", "After @"),
    "a mask that begins as a place": ("0@all.png", "After @"),
    "no class": (1000, "There is no class 1000"),
    "below 0": (-1, "There is no class -1"),
    "a huge class": (10**18, "too large"),
    "no label": ("no such thing", "no such thing"),
    "several": ("top5", "only one is explained"),
    "all": ("all", "means 1,000 classes"),
    "a list": ("1,2", "only one is explained"),
    "empty": ("", "cannot be read"),
    "long": ("a" * 201, "longer than 200"),
    "half a surrogate": ("\ud800", "No class is called"),
    "a float": (1.5, "neither a class index"),
    "null": (None, "neither a class index"),
    "truth": (True, "neither a class index"),
    "lists": ([1], "neither a class index"),
}

TENSORS = {
    "no object": (1, "no JSON object"),
    "no name": ({"name": None}, "There is no input None"),
    "another name": ({"name": "x" * 1000}, "There is no input 'xxx"),
    "twice": ([TENSOR, TENSOR], "there twice"),
    "no datatype": ({"datatype": None}, "datatype None"),
    "another datatype": ({"datatype": "FP64"}, "must be FP32"),
    "no shape": ({"shape": None}, "no shape"),
    "shape of a text": ({"shape": "1"}, "no shape"),
    "negative": ({"shape": [-1, 3, 32, 32]}, "no shape"),
    "no sample": ({"shape": [0, 3, 32, 32], "data": []}, "no shape"),
    "huge shape": ({"shape": [2**70]}, "no shape"),
    "many axes": ({"shape": [1] * 1000}, "no shape"),
    "another number of data": ({"data": [1]}, "has 1 numbers"),
    "other axes": ({"shape": [3, 1024]}, "takes 4 axes"),
    "other channels": ({"shape": [3, 1, 32, 32]}, "of shape (3, height, width)"),
    "data is null": ({"data": None}, "no number"),
    "data is an object": ({"data": {}}, "no number"),
    "ragged": ({"data": [[1], [1, 2]]}, "different lengths"),
    "unknown key": ({"dtype": "FP32"}, "'dtype'"),
    "binary": ({"parameters": {"binary_data_size": 4}}, "binary data"),
}

REQUESTS = {
    "no inputs": ({}, 'no list "inputs"'),
    "empty inputs": ({"inputs": []}, "no input 'data'"),
    "id": ({"inputs": [TENSOR], "id": 1}, 'The "id"'),
    "outputs": ({"inputs": [TENSOR], "outputs": {}}, 'The "outputs"'),
    "an output": ({"inputs": [TENSOR], "outputs": [{"name": "nope"}]}, "there are prob, values"),
    "parameters": ({"inputs": [TENSOR], "parameters": []}, 'The "parameters"'),
    "target in words": ({"inputs": [TENSOR], "parameters": {"target": "0@x"}}, "After @"),
    "signature": ({"inputs": [TENSOR], "signature_name": "x"}, "'signature_name'"),
}


@pytest.fixture(autouse=True)
def still_serving(client):
    """The next good request is answered."""
    yield
    assert client.post(EXPLAIN, {"instances": [picture("coffee.png")]}).status == 200


@pytest.mark.parametrize("path", [EXPLAIN, PREDICT])
@pytest.mark.parametrize("case", BODIES)
def test_bodies_of_v1(client, case, path):
    body, words = BODIES[case]
    answer = client.post(path, body)
    assert answer.status == 400
    assert words in answer.sentence


@pytest.mark.parametrize("case", TARGETS)
def test_targets(client, case):
    target, words = TARGETS[case]
    for content in (
        {"instances": [{**picture("coffee.png"), "target": target}]},
        {"instances": [picture("coffee.png")], "target": target},
    ):
        answer = client.post(EXPLAIN, content)
        assert answer.status == 400
        assert words in answer.sentence


@pytest.mark.parametrize("path", [INFER, EXPLAIN_V2])
@pytest.mark.parametrize("case", TENSORS)
def test_tensors_of_v2(client, case, path):
    change, words = TENSORS[case]
    changed = {**TENSOR, **change} if isinstance(change, dict) else change
    answer = client.post(path, {"inputs": changed if isinstance(changed, list) else [changed]})
    assert answer.status == 400
    assert words in answer.sentence


@pytest.mark.parametrize("case", REQUESTS)
def test_requests_of_v2(client, case):
    content, words = REQUESTS[case]
    answer = client.post(INFER, content)
    assert answer.status == 400
    assert words in answer.sentence


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([1000], "There is no class 1000"),
        ([-2], "from 0, or -1"),
        ([1, 2], "has the shape (2,)"),
        ([1.5], "INT64 does not have"),
        ([2**63], "INT64 does not have"),
    ],
)
def test_targets_of_v2(client, classes, words):
    target = {"name": "target", "datatype": "INT64", "shape": [len(classes)], "data": classes}
    answer = client.post(INFER, {"inputs": [TENSOR, target]})
    assert answer.status == 400
    assert words in answer.sentence


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("POST", f"{INFER}/", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", f"/v2/models/{NAME}/versions/1", 404),
        ("POST", "/v1/models/other:explain", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v1/models/%ff%00:explain", 404),
        ("POST", f"/v1/models/{NAME}", 405),
        ("GET", EXPLAIN, 404),
        ("GET", INFER, 405),
        ("PUT", INFER, 405),
        ("FOO", INFER, 405),
        ("DELETE", "/v2", 405),
    ],
)
def test_addresses_and_methods(client, method, path, status):
    answer = client.send(method, path, b"{}")
    assert answer.status == status
    assert answer.sentence


@pytest.mark.parametrize(
    "headers", [{"Content-Encoding": "gzip"}, {"Inference-Header-Content-Length": "2"}]
)
def test_forms_of_bodies_that_are_not_known(client, headers):
    answer = client.post(INFER, b"{}", **headers)
    assert answer.status == 415
    assert answer.sentence


def test_random_bad_requests_of_many_kinds(client):
    """No fault inside, whatever is sent; a changed picture may still be one."""
    for bad in bad_requests(NAME, "data", 180, seed=1):
        answer = client.raw(bad.raw)
        assert 200 <= answer.status < 500, (bad.kind, bad.raw[:300], answer.body)
        if answer.status == 200:
            assert bad.kind in ("wrong targets", "V2: wrong requests", "V2: wrong tensors"), (
                bad.raw[:300]
            )
