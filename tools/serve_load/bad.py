"""Requests that a server must refuse, of many kinds, each made anew from random numbers."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Random = np.random.Generator


@dataclass(frozen=True)
class Bad:
    """A request as it is sent, and its kind."""

    kind: str
    raw: bytes


@dataclass(frozen=True)
class _Maker:
    """Makes bad requests for a model whose input takes (N, 3, rows, columns)."""

    model: str
    input: str
    random: Random

    def post(self, path: str, body: bytes, head: str = "") -> bytes:
        start = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}"
        return f"{start}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body

    def v1(self, body: bytes) -> bytes:
        verb = self.random.choice(["explain", "predict"])
        return self.post(f"/v1/models/{self.model}:{verb}", body)

    def v2(self, body: bytes) -> bytes:
        verb = self.random.choice(["infer", "explain"])
        return self.post(f"/v2/models/{self.model}/{verb}", body)

    def instances(self, *instances: Any, **more: Any) -> bytes:
        return json.dumps({"instances": instances, **more}).encode()

    def any(self, body: bytes) -> bytes:
        return self.v1(body) if self.random.random() < 0.5 else self.v2(body)

    def some(self, *choices: Any) -> Any:
        return choices[self.random.integers(len(choices))]

    def bytes(self, most: int = 2000) -> bytes:
        return self.random.bytes(int(self.random.integers(1, most)))

    def tensor(self, *shape: int) -> Any:
        return self.random.normal(size=shape).round(3).tolist()

    def side(self) -> int:
        return int(self.random.integers(1, 9))


def _no_json(m: _Maker) -> bytes:
    whole = m.instances({"b64": "AAAA"}, [1, 2, 3], target="top1").decode()
    cut = whole[: m.random.integers(1, len(whole) - 1)]
    return m.any(m.some(cut, f"{whole}]", "", "{'a': 1}", "instances=1", "[1,]").encode())


def _random_bytes(m: _Maker) -> bytes:
    return m.any(m.bytes())


def _no_utf8(m: _Maker) -> bytes:
    letters = "".join(map(chr, m.random.integers(160, 255, 20)))
    text = f'{{"instances": [{{"b64": "{letters}"}}]}}'
    return m.any(text.encode(m.some("latin-1", "utf-16", "utf-32")))


def _deep(m: _Maker) -> bytes:
    depth = int(m.some(40, 100, 1000, 50_000))
    lists = b"[" * depth + b"1" + b"]" * depth
    objects = b'{"a":' * depth + b"1" + b"}" * depth
    return m.any(b'{"instances": [%s]}' % m.some(lists, objects))


def _not_finite(m: _Maker) -> bytes:
    values: Any = np.ones((3, 8, 8)).tolist()
    values[1][2][3] = "HERE"
    number = m.some("NaN", "Infinity", "-Infinity", "1e999", "-1e400", "1e39")
    return m.v1(m.instances(values).replace(b'"HERE"', number.encode()))


def _huge_numbers(m: _Maker) -> bytes:
    number = m.some(10**30, 10**400, 2**64, -(10**50))
    place = m.some({"instances": [[[[number]]]]}, {"instances": [[1]], "target": number})
    return m.v1(_dumped(place))


def _digits(m: _Maker) -> bytes:
    return m.any(b'{"instances": [[%s]]}' % (b"9" * 5000))


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _shapes(m: _Maker) -> bytes:
    wrong = m.some(
        (m.side(),), (3, 8), (5, 8, 8), (2, 3, 8, 8), (1, 1, 3, 8, 8), (1, 4, 8, 8), (0,)
    )
    return m.v1(m.instances(m.tensor(*wrong)))


def _ragged(m: _Maker) -> bytes:
    values = m.tensor(3, 8, 8)
    del values[m.random.integers(3)][m.random.integers(8)][m.random.integers(8)]
    return m.v1(m.instances(values))


def _types(m: _Maker) -> bytes:
    wrong = m.some(None, True, "x", 1, {}, {"b64": 1}, {"b64": "A", m.input: []}, {"x y": 1}, "é\0")
    mixed = m.tensor(3, 8, 8)
    mixed[0][0][0] = m.some(None, "1", {}, [])
    return m.v1(m.instances(m.some(wrong, mixed, {m.input: wrong})))


def _bodies(m: _Maker) -> bytes:
    wrong = m.some(
        *([], 1, "x", None, {}, {"instances": None}, {"instances": []}, {"instances": {}}),
        *({"instances": [[1]] * 1000}, {"inputs": [1]}, {"instances": [[1]], "x": 1}),
        {"instances": [{"b64": "AAAA"}], "format": m.some("tiff", 1, None, "", [])},
    )
    return m.v1(_dumped(wrong))


def _base64(m: _Maker) -> bytes:
    text = m.some("", "A", "A===", "####", "ä", "\ud800", base64.b64encode(m.bytes()).decode())
    return m.v1(m.instances({"b64": text}))


def _png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def _broken_pictures(m: _Maker) -> bytes:
    side = m.side() * 4
    whole = _png(side, side, m.random.bytes(side * (1 + 3 * side)))
    head = whole[:33]
    wrong = m.some(
        *(whole[: m.random.integers(8, 40)], head + m.bytes(), b"\xff\xd8\xff" + m.bytes()),
        *(
            _png(100_000, 100_000, b""),
            _png(0, side, b""),
            _png(2**31, 1, b""),
            b"GIF89a" + m.bytes(),
        ),
    )
    return m.v1(m.instances({"b64": base64.b64encode(wrong).decode()}))


def _targets(m: _Maker) -> bytes:
    side = 16
    whole = _png(side, side, b"".join(b"\0" + m.random.bytes(3 * side) for _ in range(side)))
    letters = "".join(map(chr, m.random.integers(32, 0x2FF, 12)))
    wrong = m.some(
        *("similar:/etc/passwd", "0@/etc/passwd", "@mask.png", "not:similar:x", 10**6, -7, 1.5),
        *(
            [1],
            {},
            None,
            True,
            "",
            "no such class",
            "a" * 300,
            letters,
            "(" * 99,
            "0-" * 60,
            "top0",
        ),
        *("top99999", "0,1", "top5", "all", "p>0.5,p>0.1", "element:" + "1," * 80, "\ud800"),
    )
    file = {"b64": base64.b64encode(whole).decode()}
    body = m.instances(m.some({**file, "target": wrong}))
    return m.post(f"/v1/models/{m.model}:explain", body)


def _tensors(m: _Maker) -> bytes:
    good: dict[str, Any] = {
        **{"name": m.input, "shape": [1, 3, 8, 8], "datatype": "FP32"},
        "data": m.tensor(192),
    }
    name, value = m.some(
        *(("name", "y"), ("name", 1), ("shape", [1, 3, 8]), ("shape", [3, 8, 8]), ("shape", [-1])),
        *(("shape", [0, 3, 8, 8]), ("shape", "x"), ("shape", [2**70]), ("shape", [True, 192])),
        *(("datatype", "FP64"), ("datatype", "INT8"), ("datatype", None), ("data", None)),
        *(("data", [1]), ("data", {}), ("data", "1"), ("data", [[1, 2], [3]]), ("extra", 1)),
        *(("data", [None] * 192), ("data", [10**40] * 192), ("shape", [1] * 500)),
        *(("parameters", {"binary_data_size": 768}), ("parameters", [])),
    )
    return m.v2(_dumped({"inputs": [{**good, name: value}]}))


def _requests_of_v2(m: _Maker) -> bytes:
    good = {"name": m.input, "shape": [1, 3, 8, 8], "datatype": "FP32", "data": m.tensor(192)}
    aim = {
        "name": "target",
        "datatype": "INT64",
        "shape": [1],
        "data": [m.some(10**6, -2, -(2**62))],
    }
    wrong = m.some(
        *({}, {"inputs": []}, {"inputs": {}}, {"inputs": [1]}, {"inputs": [good, good]}),
        *({"inputs": [good], "outputs": [{"name": "nope"}]}, {"inputs": [good], "outputs": 1}),
        *({"inputs": [good], "outputs": [1]}, {"inputs": [good], "id": 1}, {"inputs": [aim]}),
        *({"inputs": [good, aim]}, {"inputs": [good], "parameters": {"target": "similar:x"}}),
        {"inputs": [good], "parameters": 1},
    )
    return m.v2(_dumped(wrong))


def _paths(m: _Maker) -> bytes:
    path = m.some(
        *("/", "/v1", "/v3/models", "/v1/models/other:explain", "/v2/models/other/infer"),
        *(f"/v1/models/{m.model}", f"/v1/models/{m.model}:x", f"/v2/models/{m.model}/versions/1"),
        *("/v2/models/../../etc/passwd/infer", "/v1/models/%00:explain", "/" + "a" * 5000),
        *("/v1/models/%ff%fe:explain", "//v2", f"/v2/models/{m.model}/infer/", "/docs", "/metrics"),
    )
    return m.post(path, b"{}")


def _heads(m: _Maker) -> bytes:
    path = f"/v1/models/{m.model}:explain"
    start = f"{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    wrong: str = m.some(
        *(f"FOO {start}\r\n", f"PUT {start}\r\n", f"DELETE {start}\r\n", "\r\n\r\n", "x\r\n\r\n"),
        *(f"POST {start}Content-Length: x\r\n\r\n", f"POST {start}Content-Length: -1\r\n\r\n"),
        *(f"POST {start}Content-Length: 99999999999\r\n\r\n", f"POST {path} HTTP/9.9\r\n\r\n"),
        *(f"POST {start}Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", "GET\r\n\r\n"),
        *(f"POST {start}Transfer-Encoding: chunked\r\n\r\nzz\r\n", f"POST {start}a\r\n\r\n"),
        *(f"POST {start}Inference-Header-Content-Length: 9\r\nContent-Length: 1\r\n\r\nx",),
        *(f"POST {start}X: {'y' * 100_000}\r\n\r\n", f"POST {start}\r\n"),
    )
    return wrong.encode("latin-1")


_KINDS: dict[str, Callable[[_Maker], bytes]] = {
    "no JSON": _no_json,
    "random bytes": _random_bytes,
    "no UTF-8": _no_utf8,
    "deep nesting": _deep,
    "not finite": _not_finite,
    "huge numbers": _huge_numbers,
    "thousands of digits": _digits,
    "wrong shapes": _shapes,
    "ragged lists": _ragged,
    "wrong types": _types,
    "wrong bodies": _bodies,
    "wrong base64": _base64,
    "broken pictures": _broken_pictures,
    "wrong targets": _targets,
    "V2: wrong tensors": _tensors,
    "V2: wrong requests": _requests_of_v2,
    "wrong addresses": _paths,
    "wrong heads": _heads,
}


def bad_requests(model: str, input_name: str, count: int, seed: int = 0) -> Iterator[Bad]:
    """So many bad requests, of each kind in turn; the same ones for the same seed."""
    maker = _Maker(model, input_name, np.random.default_rng(seed))
    kinds = list(_KINDS)
    for place in range(count):
        kind = kinds[place % len(kinds)]
        yield Bad(kind, _KINDS[kind](maker))
